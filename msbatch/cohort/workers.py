"""A function applied by several processes, a few items ahead, with results in the order of the items."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

from msbatch.errors import MsbatchError

CHUNK = 8  # items that travel together: one by one, a small image's way costs as much as its decoding
AHEAD_PER_WORKER = 2 * CHUNK

OrderedMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@contextmanager
def ordered_map(workers: int) -> Iterator[OrderedMap]:
    """Yield a `map` that runs in processes.

    Parameters
    ----------
    workers : int
        Number of processes; 1 works in this one.

    Yields
    ------
    callable
        As `map`, for a function that can be pickled. At most a few items per process are taken ahead of the result
        that is awaited, so memory does not grow with the number of items.

    Raises
    ------
    MsbatchError
        If a process dies.
    """
    if workers <= 1:
        yield map
        return
    # Forking a process that has threads can hang, and one that has an open HDF5 file can damage it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield lambda function, items: _look_ahead(pool, function, items, 2 * workers)
    except BrokenProcessPool:
        raise MsbatchError("A worker process died, perhaps for lack of memory.", "Try fewer --workers.") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _look_ahead(
    pool: ProcessPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any], ahead: int
) -> Iterator[Any]:
    pending: deque[Future[list[Any]]] = deque()
    for chunk in _chunks(iter(items)):
        pending.append(pool.submit(_apply, function, chunk))
        if len(pending) >= ahead:
            yield from pending.popleft().result()
    while pending:
        yield from pending.popleft().result()


def _chunks(items: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(items, CHUNK)):
        yield chunk


def _apply(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    return [function(item) for item in items]


def _start_worker() -> None:
    # The parent answers Ctrl-C, and a worker must not outlive a parent that was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # There is a process per core already; numpy, not imported yet, would start as many threads in each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""What a task, its launcher and Slurm wrote down: the end of it, and what is added while one looks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msbatch.cluster.launches import LaunchFolder
from msbatch.cluster.ledger import newest, read_ledger
from msbatch.layout import JobDir, RunDir
from msbatch.plan import Task
from msbatch.state import read_attempts

POLL_S = 1.0
ASK_EVERY_S = 10.0


def log_files(run: RunDir, task: Task) -> list[Path]:
    """Give a task's own log, then those of its launcher and of Slurm for its newest job; they need not exist yet."""
    folder = run.task(task.arm, task.fold)
    entry = newest(read_ledger(run), task.index)
    if entry is not None:
        return [folder.log, *LaunchFolder(JobDir(entry.folder)).logs(entry.element(task.index))]
    by_hand = [files.number for attempt in read_attempts(folder)[-1:] if (files := attempt.files)]
    return [folder.log, *(path for number in by_hand for path in LaunchFolder(run.by_hand).logs(number))]


class Tail:
    """A log that may grow.

    Parameters
    ----------
    path : Path
        The log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = 0

    def last(self, number: int) -> tuple[list[str], int]:
        """Give the last lines there are, and how many lie before them."""
        lines = self.more()
        return lines[max(0, len(lines) - number) :], max(0, len(lines) - number)

    def more(self) -> list[str]:
        """Give the lines that were added since the last call; one that is still being written comes later."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(self._place)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._place += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines() if newline else []


def follow(tails: Iterable[Tail], live: Callable[[], bool]) -> Iterator[tuple[Path, list[str]]]:
    """Give what is added to logs, until the task has ended.

    Parameters
    ----------
    tails : iterable of Tail
        The logs.
    live : callable
        Says whether more may come; asked every few seconds.

    Yields
    ------
    Path, list of str
        A log and its new lines.
    """
    on, asked = True, -math.inf
    while on:
        if time.monotonic() - asked >= ASK_EVERY_S:
            on, asked = live(), time.monotonic()
        for tail in tails:
            if lines := tail.more():
                yield tail.path, lines
        if on:
            time.sleep(POLL_S)

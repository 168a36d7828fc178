"""One command at a time works on a run."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msbatch.access import file_mode
from msbatch.errors import MsbatchError

BEAT_S = 10.0
STALE_S = 120.0


@contextmanager
def run_lock(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, by exclusive creation, and touch it every few seconds for as long as it is held.

    A lock is taken over when its process is gone from this machine, or when nobody, here or on another
    machine, has touched it for two minutes.

    Parameters
    ----------
    path : Path
        The lock file, in a folder that exists.
    wait_s : float
        How long to wait for another holder.

    Raises
    ------
    MsbatchError
        If another live process holds it.
    """
    _take(path, time.monotonic() + wait_s)
    released = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, released), daemon=True)
    beat.start()
    try:
        yield
    finally:
        released.set()
        beat.join()
        if _holder(path)["pid"] == os.getpid():  # unless it was taken over while this machine slept
            path.unlink(missing_ok=True)


def check_free(path: Path) -> None:
    """Refuse to go on while another live process holds a lock file.

    Raises
    ------
    MsbatchError
        If one does.
    """
    holder = _holder(path)
    if path.exists() and not _is_stale(path, holder):
        raise _refusal(path, holder)


def is_left_behind(path: Path) -> bool:
    """Say whether the process that made a lock file, or a file beside one, is gone; by this machine's clock.

    Unlike taking the lock this writes nothing.
    """
    holder = _holder(path)
    if holder["host"] == socket.gethostname():
        return not is_alive(holder["pid"])
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > STALE_S
    return False


def is_alive(pid: int) -> bool:
    """Say whether a process of this machine runs; one that ended and was not yet collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def _take(path: Path, deadline: float) -> None:
    mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, file_mode())
        except FileExistsError:
            _remove_if_stale(path, time.monotonic() >= deadline)
        else:
            _sign(path, handle, mine)
            return


def _sign(path: Path, handle: int, text: str) -> None:
    try:
        with open(handle, "w") as out:
            out.write(text)
    except OSError:  # a lock that nobody signed would keep everybody waiting
        path.unlink(missing_ok=True)
        raise


def _remove_if_stale(path: Path, refuse: bool) -> None:
    holder = _holder(path)
    if _is_stale(path, holder):
        _break(path, holder)
    elif refuse:
        raise _refusal(path, holder)
    else:
        time.sleep(0.2)


def _is_stale(path: Path, holder: dict[str, Any]) -> bool:
    # A number can come again after a restart: this process does not hold what it asks for.
    gone = holder["pid"] == os.getpid() or not is_alive(holder["pid"])
    return (holder["host"] == socket.gethostname() and gone) or _silent_s(path) > STALE_S


def _refusal(path: Path, holder: dict[str, Any]) -> MsbatchError:
    return MsbatchError(
        f"{path.parent} is being worked on by process {holder['pid']} on {holder['host']}.",
        f"Wait for it, or stop it; if it is gone, delete {path}.",
    )


def _break(path: Path, holder: dict[str, Any]) -> None:
    """Remove a stale lock, but not the one that somebody quicker has put in its place."""
    aside = path.with_name(f"{path.name}.stale.{socket.gethostname()}.{os.getpid()}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _holder(aside) != holder:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _holder(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        match json.loads(path.read_text()):
            case {"host": str(host), "pid": int(pid)}:
                return {"host": host, "pid": pid}
    return {"host": "a machine that has not said its name", "pid": 0}


def _silent_s(path: Path) -> float:
    probe = path.with_name(f"{path.name}.now.{socket.gethostname()}.{os.getpid()}")
    probe.touch()  # the file server's clock, not this machine's
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink()


def _beat(path: Path, released: threading.Event) -> None:
    while not released.wait(BEAT_S):
        with suppress(OSError):  # a file server that is away for a moment
            os.utime(path)

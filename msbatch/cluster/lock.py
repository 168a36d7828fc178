"""One submission at a time works on a run."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msbatch.errors import MsbatchError


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold a lock file, by exclusive creation; one whose process is gone from this machine is taken over.

    Raises
    ------
    MsbatchError
        If another live process holds it, or one on another machine.
    """
    _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Say whether a process of this machine runs; one that ended and was not yet collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def _take(path: Path) -> None:
    mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid()})
    for _ in range(2):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            _remove_if_stale(path)
        else:
            with open(handle, "w") as out:  # noqa: PTH123
                out.write(mine)
            return
    raise MsbatchError(f"{path.parent} was taken by another submission just now.", "Look at: msbatch status")


def _remove_if_stale(path: Path) -> None:
    try:
        holder = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        holder = {"host": "?", "pid": 0}
    # A number can come again after a restart: this process does not hold what it asks for.
    gone = holder["pid"] == os.getpid() or not is_alive(holder["pid"])
    if holder["host"] == socket.gethostname() and gone:
        path.unlink(missing_ok=True)
        return
    raise MsbatchError(
        f"{path.parent} is being worked on by process {holder['pid']} on {holder['host']}.",
        f"Wait for it, or stop it; if it is gone, delete {path}.",
    )

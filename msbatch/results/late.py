"""Files of tasks on other nodes, which a shared file system may show late."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from msbatch.errors import MsbatchError
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import load_plan
from msbatch.state import read_state

POLL_S = 0.5


def wait_for_late(run: RunDir, wait_s: float) -> None:
    """Wait for the outcome of every task that began and did not fail, for so many seconds at most.

    Raises
    ------
    MsbatchError
        If the plan cannot be read.
    """
    tasks = [run.task(task.arm, task.fold) for task in load_plan(run.plan).tasks]
    until = time.monotonic() + wait_s
    while any(_may_come(task) for task in tasks) and time.monotonic() < until:
        time.sleep(POLL_S)


def _may_come(task: TaskDir) -> bool:
    try:
        _look_again(task.root)
        return not task.done and read_state(task).phase in ("running", "done")
    except MsbatchError:  # what is damaged is said by the reducer
        return False


def _look_again(folder: Path) -> None:
    """Read a folder anew: what NFS once said is not there, it goes on saying for half a minute otherwise."""
    with suppress(OSError), os.scandir(folder) as found:
        list(found)

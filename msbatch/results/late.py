"""Files of tasks on other nodes, which a shared file system may show late."""

from __future__ import annotations

import time

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
        return not task.done and read_state(task).phase in ("running", "done")
    except MsbatchError:  # what is damaged is said by the reducer
        return False

"""Chosen tasks once more: what they made is set aside, and put back where Slurm refuses."""

from __future__ import annotations

from collections.abc import Sequence

from msbatch.cluster.aside import put_back, set_aside
from msbatch.cluster.held import held
from msbatch.cluster.ledger import Submission
from msbatch.cluster.submit import Order, submit_all, submitting
from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import Task


def rerun(order: Order, tasks: Sequence[Task], fresh: bool) -> list[Submission]:
    """Submit exactly these tasks again, and a reducer behind them.

    Parameters
    ----------
    tasks : sequence of Task
        A finished one is trained anew; an unfinished one goes on from its checkpoint.
    fresh : bool
        Train all of them from the start. What they made so far stays in the task's `earlier/`.

    Raises
    ------
    MsbatchError
        If one of them is still queued or running, or Slurm refuses; then what it refused is as before.
    """
    with submitting(order.run):
        _refuse_live(order.run, tasks)
        try:
            set_aside(order.run, tasks, fresh)
            return submit_all(order, tasks)
        except BaseException:
            put_back(order.run)
            raise


def _refuse_live(run: RunDir, tasks: Sequence[Task]) -> None:
    busy = held(run).tasks
    for task in tasks:
        if task.index in busy:
            number = busy[task.index]
            raise MsbatchError(
                f"{task.arm} fold {task.fold:02d} is still queued or running, as {number}.",
                f"Wait for it, or stop it first with: scancel {number}",
            )

"""Chosen tasks once more: what they made is set aside, and put back where Slurm refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msbatch.cluster.held import held
from msbatch.cluster.ledger import Submission, read_ledger
from msbatch.cluster.status import is_done
from msbatch.cluster.submit import Order, submit_all, submitting
from msbatch.errors import MsbatchError
from msbatch.files import make_dir
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Task
from msbatch.state import newest_attempt

Moves = list[tuple[Path, Path]]


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
        before = len(read_ledger(order.run))
        moves = {task.index: _moves(order.run, task, fresh) for task in tasks}
        _carry_out([move for own in moves.values() for move in own])
        try:
            return submit_all(order, tasks)
        except BaseException:
            _undo(moves, read_ledger(order.run)[before:])
            raise


def _refuse_live(run: RunDir, tasks: Sequence[Task]) -> None:
    busy = held(run).tasks
    for task in tasks:
        if task.index in busy:
            number = busy[task.index]
            raise MsbatchError(
                f"{task.backbone} fold {task.fold:02d} is still queued or running, as {number}.",
                f"Wait for it, or stop it first with: scancel {number}",
            )


def _moves(run: RunDir, task: Task, fresh: bool) -> Moves:
    folder = run.task(task.backbone, task.fold)
    done = is_done(run, task)
    parts = [folder.manifest, folder.predictions, folder.weights, folder.tensorboard] if done or fresh else []
    parts += [folder.checkpoints] if fresh else []
    return [(part, _place(folder) / part.name) for part in parts if part.exists()]


def _undo(moves: dict[int, Moves], made: Sequence[Submission]) -> None:
    """Put back what belongs to tasks that Slurm does not have; of an unsettled submission nobody knows yet."""
    taken = {task for entry in made if not entry.refused for task in entry.tasks}
    back = [(target, source) for task, own in moves.items() if task not in taken for source, target in own]
    _carry_out(back)


def _place(folder: TaskDir) -> Path:
    number = newest_attempt(folder)
    place = folder.earlier / f"{number:04d}"
    while place.exists():
        number += 1
        place = folder.earlier / f"{number:04d}"
    return place


def _carry_out(moves: Moves) -> None:
    for source, target in moves:
        make_dir(target.parent)
        source.rename(target)

"""What finished tasks made is set aside when they run once more, and put back where Slurm has none of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msbatch.cluster.ledger import aside, record
from msbatch.cluster.status import is_done
from msbatch.files import make_dir
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Task, load_plan
from msbatch.state import newest_attempt


def set_aside(run: RunDir, tasks: Sequence[Task], fresh: bool) -> None:
    """Move what tasks made to their `earlier/`; the ledger says so before the first move.

    Parameters
    ----------
    tasks : sequence of Task
        Of finished ones their predictions, weights and event files; of others nothing, unless `fresh`.
    fresh : bool
        Their checkpoints as well.
    """
    moves = {task: _parts(run, task, fresh) for task in tasks}
    places = {task: _place(run.task(task.arm, task.fold)) for task, parts in moves.items() if parts}
    if not places:
        return
    record(run, "aside", places=[[task.index, place.name] for task, place in places.items()])
    for task, place in places.items():
        make_dir(place)
        for part in moves[task]:
            part.rename(place / part.name)


def put_back(run: RunDir) -> None:
    """Put back what was set aside of tasks that Slurm then did not take; a submission that is open decides later."""
    places = aside(run)
    if not places:
        return
    tasks = load_plan(run.plan).tasks
    for index, name in places.items():
        if index >= len(tasks):
            continue
        folder = run.task(tasks[index].arm, tasks[index].fold)
        for part in (folder.earlier / name).glob("*"):
            if not (folder.root / part.name).exists():
                part.rename(folder.root / part.name)
    record(run, "put back", tasks=list(places))


def _parts(run: RunDir, task: Task, fresh: bool) -> list[Path]:
    folder = run.task(task.arm, task.fold)
    made = [folder.manifest, folder.predictions, folder.weights, folder.tensorboard]
    made += [folder.embedding_manifest, folder.embedding]
    parts = (made if is_done(run, task) or fresh else []) + ([folder.checkpoints] if fresh else [])
    return [part for part in parts if part.exists()]


def _place(folder: TaskDir) -> Path:
    number = newest_attempt(folder)
    place = folder.earlier / f"{number:04d}"
    while place.exists():
        number += 1
        place = folder.earlier / f"{number:04d}"
    return place

"""How a part of a run that is damaged or gone is made anew, as a command."""

from __future__ import annotations

import shlex

from msbatch.layout import RunDir
from msbatch.plan import Task

RUN = "RUN"  # stands for the run where words must not depend on where it lies


def resume(run: RunDir, name: str) -> str:
    """Give the command that does all tasks of a run that are not done; a name stands for the run."""
    return f"msbatch submit --run {shlex.quote(name)}{'' if run.on_cluster else ' --local'}"


def do_again(run: RunDir, task: Task, name: str) -> str:
    """Give the command that does a finished task once more, from its start; a name stands for the run."""
    if run.on_cluster:
        words = f"--folds {task.fold} --backbones {shlex.quote(task.arm)}"
        return f"msbatch rerun {shlex.quote(name)} {words} --fresh"
    folder = run.task(task.arm, task.fold)
    made = folder.embedding_manifest if task.frozen else folder.manifest
    return f"rm {shlex.quote(f'{name}/{made.relative_to(run.root)}')} && {resume(run, name)}"

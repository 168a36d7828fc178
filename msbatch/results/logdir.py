"""The one folder that TensorBoard shows: links to the event files of a run, under names that read well."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from msbatch.files import make_dir
from msbatch.layout import RunDir
from msbatch.plan import Plan


def link_runs(run: RunDir, plan: Plan) -> Path:
    """Make the links that are lacking, and give their folder.

    TensorBoard names its runs by their path: here ``summary/resnet50`` and ``folds/resnet50/fold-03``. Showing the
    whole run instead would give ``tasks/resnet50/fold-03/tensorboard``, walk through checkpoints and code every few
    seconds, and show what lies in `earlier`; TensorBoard's own --logdir_spec breaks at a comma or colon in a path, and
    its fast loader does not know it. Folds that have not begun have links already, so that a TensorBoard that runs
    shows them once they begin. Links are relative: a run that is moved takes them along.

    Trainings under permuted labels are left out: they would bury the curves of the true ones.
    """
    _link(run.logdir / "summary", run.boards)
    for task in plan.tasks:
        if task.relabelling is None and not task.frozen:
            found = run.task(task.arm, task.fold)
            _link(run.logdir / "folds" / found.root.relative_to(run.tasks), found.tensorboard)
    return run.logdir


def _link(link: Path, target: Path) -> None:
    with suppress(FileExistsError):
        link.symlink_to(os.path.relpath(target, make_dir(link.parent)))

"""Every usable prediction of a run, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from msbatch.layout import RunDir
from msbatch.plan import Plan, Task
from msbatch.predictions import Predictions, PredictionsError, read_of_task
from msbatch.remedies import RUN, do_again
from msbatch.results.why import why_missing


@dataclass(frozen=True)
class Missing:
    """A fold of an arm that has no usable predictions, and why; the arm stands under `backbone`."""

    backbone: str
    fold: int
    patient: str
    reason: str


def collect(run: RunDir, plan: Plan) -> tuple[dict[Task, Predictions], list[Missing]]:
    """Read what trained backbones predict; what is damaged, of something else, or in contradiction is missing."""
    signature = plan.signature
    found: dict[Task, Predictions] = {}
    reasons: dict[Task, str] = {}
    trained = [task for task in plan.tasks if not task.frozen]
    for task in trained:
        try:
            found[task] = read_of_task(run, plan, task, signature)
        except PredictionsError as error:
            reasons[task] = _why(run, task, error)
    for task in _disagreeing(found):
        del found[task]
        reasons[task] = "The labels of this patient's cells differ between backbones."
    for task, reason in _started_otherwise(run, found).items():
        del found[task]
        reasons[task] = reason
    gaps = [(task, plan.folds[task.fold].held_out, reasons[task]) for task in trained if task in reasons]
    return found, [Missing(task.arm, task.fold, patient, reason) for task, patient, reason in gaps]


def of_arm(predictions: Mapping[Task, Predictions], arm: str) -> dict[Task, Predictions]:
    """Give the predictions of one arm, such as a backbone."""
    return {task: own for task, own in predictions.items() if task.arm == arm}


def _disagreeing(found: Mapping[Task, Predictions]) -> list[Task]:
    labels: dict[int, set[bytes]] = {}
    for task, predictions in found.items():
        labels.setdefault(task.fold, set()).add(predictions.labels.tobytes())
    return [task for task in found if len(labels[task.fold]) > 1]


def _started_otherwise(run: RunDir, found: Mapping[Task, Predictions]) -> dict[Task, str]:
    """Find the folds whose network started from other weights than others of its backbone, where both are recorded.

    Further seeds and permuted labels, of which there may be many more, are measured by the first training.
    """
    starts = {task: own.pretrained for task, own in found.items() if own.pretrained is not None}
    usual: dict[str, str] = {}
    for arm, backbone in dict.fromkeys((task.arm, task.backbone) for task in starts):
        counts = Counter(start for task, start in starts.items() if task.arm == arm)
        usual.setdefault(backbone, counts.most_common(1)[0][0])
    return {
        task: f"Fold {task.fold} started from other pretrained weights ({_short(start)}) than other folds of "
        f"{task.backbone} ({_short(usual[task.backbone])}). "
        f"With those in place, do it again with: {do_again(run, task, RUN)}"
        for task, start in starts.items()
        if start != usual[task.backbone]
    }


def _short(digest: str) -> str:
    return f"SHA-256 {digest[:8]}..." if digest else "none"


def _why(run: RunDir, task: Task, error: PredictionsError) -> str:
    folder = run.task(task.arm, task.fold)
    if folder.manifest.exists():
        return f"{error.problem.replace(f'{run.root}/', '')} Do it again with: {do_again(run, task, RUN)}"
    return why_missing(run, folder)

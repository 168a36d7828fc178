"""Whether fine-tuned backbones do better than the same, trained anew under permuted labels.

Tests on the held-out predictions of one study are not valid, since folds share their training patients; refits are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from msbatch.plan import Plan, Task
from msbatch.predictions import Predictions
from msbatch.relabelling import relabelled
from msbatch.results.metrics import Value
from msbatch.results.permutation import PermutationTest, p_value


def compare_refits(plan: Plan, predictions: Mapping[Task, Predictions]) -> dict[str, PermutationTest]:
    """Test each backbone that was trained under permuted labels as well, by its first seed.

    The statistic is that of `msbatch.results.permutation.association`, on mean logits in place of the head's scores.
    Trainings that lack a fold are left out.

    Parameters
    ----------
    plan : Plan
        Has the permuted labels.
    predictions : mapping of Task to Predictions
        With the true labels.
    """
    arms: dict[tuple[str, int | None], list[Task]] = {}
    for task in predictions:
        if task.repeat == 0:
            arms.setdefault((task.backbone, task.relabelling), []).append(task)
    whole = {arm: own for arm, own in arms.items() if len(own) == len(plan.folds)}
    return {backbone: _test(plan, predictions, whole, backbone) for backbone in plan.trained if plan.relabellings}


def _test(
    plan: Plan,
    predictions: Mapping[Task, Predictions],
    arms: Mapping[tuple[str, int | None], Sequence[Task]],
    backbone: str,
) -> PermutationTest:
    statistics = {
        number: _statistic(plan, {task: predictions[task] for task in own})
        for (name, number), own in arms.items()
        if name == backbone
    }
    observed = statistics.pop(None, math.nan)
    null = np.array([statistics[number] for number in sorted(statistics, key=lambda number: number or 0)])
    if math.isnan(observed) or not len(null):
        none = Value(None, "folds are missing" if math.isnan(observed) else "no refit under permuted labels is whole")
        return PermutationTest(none, none)
    p = Value(p_value(observed, null))
    return PermutationTest(Value(observed), p, 1 / (1 + len(null)), len(null))


def _statistic(plan: Plan, predictions: Mapping[Task, Predictions]) -> float:
    """Give the difference of the classes' mean logits over the mean absolute logit; within patients if cells differ."""
    pairs = [(_labels(plan, task, own), own.logits) for task, own in predictions.items()]
    if plan.level == "patient":
        pairs = [(np.array([own[0] for own, _ in pairs]), np.array([logits.mean() for _, logits in pairs]))]
    gaps = [_gap(labels, logits) for labels, logits in pairs if 0 < labels.mean() < 1]
    size = math.fsum(np.concatenate([np.abs(logits) for _, logits in pairs])) / sum(len(own) for own, _ in pairs)
    return math.fsum(gaps) / len(gaps) / size if gaps and size else 0.0


def _gap(labels: np.ndarray, logits: np.ndarray) -> float:
    return float(np.sort(logits[labels == 1]).mean() - np.sort(logits[labels == 0]).mean())


def _labels(plan: Plan, task: Task, predictions: Predictions) -> np.ndarray:
    relabelling = plan.relabelling_of(task)
    if relabelling is None:
        return predictions.labels
    return relabelled(relabelling, predictions.patient, predictions.labels)

"""Every usable prediction of a run, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from msbatch.layout import RunDir
from msbatch.plan import Plan, Task
from msbatch.predictions import Predictions, PredictionsError, read_predictions
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
            found[task] = _read(run, plan, task, signature)
        except PredictionsError as error:
            reasons[task] = _why(run, task, error)
    for task in _disagreeing(found):
        del found[task]
        reasons[task] = "The labels of this patient's cells differ between backbones."
    gaps = [(task, plan.folds[task.fold].held_out, reasons[task]) for task in trained if task in reasons]
    return found, [Missing(task.arm, task.fold, patient, reason) for task, patient, reason in gaps]


def of_arm(predictions: Mapping[Task, Predictions], arm: str) -> dict[Task, Predictions]:
    """Give the predictions of one arm, such as a backbone."""
    return {task: own for task, own in predictions.items() if task.arm == arm}


def _read(run: RunDir, plan: Plan, task: Task, signature: str) -> Predictions:
    fold = plan.folds[task.fold]
    predictions = read_predictions(run.task(task.arm, task.fold), plan.identity(task, signature))
    if predictions.patient != fold.held_out:
        raise PredictionsError(f"They are of patient {predictions.patient}, not of {fold.held_out}.")
    cells = np.bincount(predictions.labels, minlength=2).tolist()
    found = {name: {"patients": int(n > 0), "cells": n} for name, n in zip(plan.classes, cells, strict=True)}
    if found != fold.counts.get("held_out"):
        raise PredictionsError(f"They hold other cells than the plan counts for patient {fold.held_out}.")
    return predictions


def _disagreeing(found: Mapping[Task, Predictions]) -> list[Task]:
    labels: dict[int, set[bytes]] = {}
    for task, predictions in found.items():
        labels.setdefault(task.fold, set()).add(predictions.labels.tobytes())
    return [task for task in found if len(labels[task.fold]) > 1]


def _why(run: RunDir, task: Task, error: PredictionsError) -> str:
    folder = run.task(task.arm, task.fold)
    if folder.manifest.exists():
        return error.problem.replace(f"{run.root}/", "")
    return why_missing(run, folder)

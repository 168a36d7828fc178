"""The predictions of one task: one row per held-out cell, and what they belong to."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msbatch.errors import DiskError, MsbatchError, failing_disk_named
from msbatch.files import read_json, sha256, write_csv, write_json
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Plan, Task
from msbatch.text import as_written, safe

HEADER = ("patient", "cell", "label", "logit", "probability")
WEIGHTS = "weights_sha256"
PRETRAINED = "pretrained_sha256"


class PredictionsError(MsbatchError):
    """A predictions file is missing, damaged, or belongs to something else."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for the cells of one held-out patient.

    Attributes
    ----------
    patient : str
        The held-out patient.
    labels : ndarray of uint8, shape (n,)
        True class of each cell, in the order of the store; also of a task that was trained under permuted labels,
        since which those are stands in the plan.
    logits : ndarray of float64, shape (n,)
        Log odds of the positive class.
    pretrained : str, optional
        SHA-256 of the file of pretrained weights that the network started from; empty where it started from scratch,
        None where nothing was recorded or trained.
    """

    patient: str
    labels: NDArray[np.uint8]
    logits: NDArray[np.float64]
    pretrained: str | None = None

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of the positive class, shape (n,)."""
        return np.exp(-np.logaddexp(0.0, -self.logits))


def write_predictions(
    task: TaskDir, predictions: Predictions, identity: dict[str, Any], before_commit: Callable[[], None]
) -> None:
    """Write predictions and their manifest; the manifest comes last and makes them count.

    Parameters
    ----------
    task : TaskDir
        Where they go.
    predictions : Predictions
        Every held-out cell once.
    identity : dict
        Signature of the plan, arm and fold: what `read_predictions` will compare; and the hash of the weights, as
        `WEIGHTS`, where there are any.
    before_commit : callable
        Called before each file is moved into place; raising from it writes nothing.
    """
    columns = zip(
        predictions.labels.tolist(), predictions.logits.tolist(), predictions.probabilities.tolist(), strict=True
    )
    rows = [
        (safe(predictions.patient), cell, label, repr(logit), repr(probability))
        for cell, (label, logit, probability) in enumerate(columns)
    ]
    write_csv(task.predictions, HEADER, rows, before_commit)
    start = {} if predictions.pretrained is None else {PRETRAINED: predictions.pretrained or None}
    manifest = {**identity, **start, "cells": len(rows), "sha256": sha256(task.predictions)}
    write_json(task.manifest, manifest, before_commit)


def read_predictions(task: TaskDir, identity: dict[str, Any]) -> Predictions:
    """Read a task's predictions and check them.

    Raises
    ------
    PredictionsError
        If they are missing, were changed, belong to another plan, arm or fold, hold a cell twice
        or not at all, or hold a number that is not finite; the message names the file.
    DiskError
        If the disk fails, which says nothing of the predictions.
    """
    if not task.predictions.is_file() or not task.manifest.is_file():
        raise PredictionsError(f"{task.predictions} is missing.")
    manifest = _read_manifest(task)
    for key, wanted in identity.items():
        if manifest.get(key) != wanted:
            raise PredictionsError(f"{task.predictions} belongs to another {key}.")
    try:
        found = sha256(task.predictions)
    except OSError as error:
        raise PredictionsError(f"{task.predictions} cannot be read: {error.strerror}.") from None
    if found != manifest.get("sha256"):
        raise PredictionsError(f"{task.predictions} was changed after it was written.")
    return replace(_parse(task, manifest.get("cells")), pretrained=_start(task, manifest))


def _start(task: TaskDir, manifest: dict[str, Any]) -> str | None:
    match manifest.get(PRETRAINED, ""):
        case None:
            return ""
        case "":
            return None
        case str(digest) if re.fullmatch("[0-9a-f]{64}", digest):
            return digest
    raise PredictionsError(f"{task.manifest} does not say which weights its network started from.")


def read_of_task(run: RunDir, plan: Plan, task: Task, signature: str | None = None) -> Predictions:
    """Read the predictions of a task of a plan, and check that they are of its cells; see `read_predictions`.

    Parameters
    ----------
    signature : str, optional
        Of the plan; whoever reads many brings it along.

    Raises
    ------
    PredictionsError
        Also if they are of another patient, or of other cells than the plan counts.
    """
    fold = plan.folds[task.fold]
    predictions = read_predictions(run.task(task.arm, task.fold), plan.identity(task, signature))
    if predictions.patient != fold.held_out:
        raise PredictionsError(f"They are of patient {predictions.patient}, not of {fold.held_out}.")
    cells = np.bincount(predictions.labels, minlength=2).tolist()
    found = {name: {"patients": int(n > 0), "cells": n} for name, n in zip(plan.classes, cells, strict=True)}
    if found != fold.counts.get("held_out"):
        raise PredictionsError(f"They hold other cells than the plan counts for patient {fold.held_out}.")
    return predictions


def weights_hash(task: TaskDir) -> str | None:
    """Give the SHA-256 of the weights that made a task's predictions; None where it is not recorded.

    Raises
    ------
    PredictionsError
        If the manifest is damaged.
    """
    return _read_manifest(task).get(WEIGHTS)


def _read_manifest(task: TaskDir) -> dict[str, Any]:
    try:
        manifest = read_json(task.manifest)
    except DiskError:
        raise
    except MsbatchError as error:
        raise PredictionsError(error.problem) from None
    if not isinstance(manifest, dict):
        raise PredictionsError(f"{task.manifest} is damaged.")
    return manifest


def _parse(task: TaskDir, cells: int | None) -> Predictions:
    try:
        with failing_disk_named(task.predictions), task.predictions.open(encoding="utf-8", newline="") as handle:
            header, *rows = csv.reader(handle)
        patients, numbers, labels, logits, _ = zip(*rows, strict=True)
        values = np.array(logits, np.float64)
    except (csv.Error, ValueError) as error:
        raise PredictionsError(f"{task.predictions} is damaged: {error}.") from None
    if tuple(header) != HEADER or not set(labels) <= {"0", "1"} or not np.isfinite(values).all():
        raise PredictionsError(f"{task.predictions} holds a label that is not 0 or 1, or a number that is not finite.")
    if list(numbers) != [str(cell) for cell in range(len(rows))] or len(rows) != cells or len(set(patients)) != 1:
        raise PredictionsError(f"{task.predictions} does not hold each of {cells} cells of one patient once.")
    return Predictions(as_written(patients[0]), np.array(labels, np.uint8), values)

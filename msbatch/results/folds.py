"""What one fold says: the held-out patient's cells, called by one model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from msbatch.predictions import Predictions
from msbatch.results import metrics
from msbatch.results.metrics import Counts, Value


@dataclass(frozen=True)
class FoldResult:
    """One task's predictions, summed up.

    Attributes
    ----------
    fold : int
        Its number.
    patient : str
        The held-out patient.
    label : int or None
        The patient's class, None where cells differ.
    counts : Counts
        Cells, called positive where the logit exceeds 0.
    score : float
        Mean logit of the patient's cells.
    auc : Value
        Within the patient.
    """

    fold: int
    patient: str
    label: int | None
    counts: Counts
    score: float
    auc: Value

    @property
    def cells(self) -> int:
        """Cells of the patient."""
        return self.counts.positives + self.counts.negatives

    @property
    def call(self) -> int:
        """The patient's class by mean logit; a tie is negative."""
        return int(self.score > 0)

    @property
    def vote(self) -> int:
        """The patient's class by majority of cells; a tie is negative."""
        return int(2 * (self.counts.tp + self.counts.fp) > self.cells)

    @property
    def recall(self) -> Value:
        """Share of cells called correctly, where the patient has one class."""
        if self.label is None:
            return Value(None, "both classes")
        return metrics.sensitivity(self.counts) if self.label else metrics.specificity(self.counts)

    @property
    def f1(self) -> Value:
        """Ordinary F1 of the positive class, where the patient has both classes."""
        return metrics.f1_positive(self.counts) if self.label is None else Value(None, "one class only")


def call_counts(folds: Iterable[FoldResult], rule: str = "mean_logit") -> Counts:
    """Count calls of patients against truth; patients with both classes are left out.

    Parameters
    ----------
    folds : iterable of FoldResult
        Of one backbone.
    rule : str
        Of the call: ``majority_vote`` of the patient's cells, else their mean logit.
    """
    labelled = [fold for fold in folds if fold.label is not None]
    calls = [fold.vote if rule == "majority_vote" else fold.call for fold in labelled]
    truth = [fold.label for fold in labelled]
    return metrics.count(np.array(truth, np.uint8), np.array(calls, np.bool_))


def summarise(fold: int, predictions: Predictions) -> FoldResult:
    """Sum one fold's predictions up; the order of the cells does not matter."""
    labels, logits = predictions.labels, predictions.logits
    classes = np.unique(labels)
    return FoldResult(
        fold=fold,
        patient=predictions.patient,
        label=int(classes[0]) if len(classes) == 1 else None,
        counts=metrics.count(labels, logits > 0),
        score=math.fsum(logits) / len(logits),
        auc=metrics.auc(labels, logits),
    )

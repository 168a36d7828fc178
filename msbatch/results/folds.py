"""What one fold says: the held-out patient's cells, called by one model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from msbatch.plan import Task
from msbatch.predictions import Predictions
from msbatch.results import metrics
from msbatch.results.metrics import Counts, Value


@dataclass(frozen=True)
class FoldResult:
    """One task's predictions, summed up.

    Attributes
    ----------
    label : int or None
        The patient's class where all cells share it.
    counts : Counts
        Cells.
    score : float
        Mean logit of the patient's cells.
    votes : float
        Share of the patient's cells called positive.
    """

    task: Task
    patient: str
    label: int | None
    cells: int
    counts: Counts
    score: float
    votes: float
    auc: Value

    @property
    def call(self) -> bool:
        """The patient's call by mean logit; a tie is negative."""
        return self.score > 0

    @property
    def vote(self) -> bool:
        """The patient's call by majority of its cells; a tie is negative."""
        return self.votes > 0.5

    @property
    def recall(self) -> Value:
        """Share of cells called correctly, where the patient has one class."""
        if self.label is None:
            return Value(None, "cells of both classes")
        return metrics.sensitivity(self.counts) if self.label else metrics.specificity(self.counts)

    @property
    def f1(self) -> Value:
        """Ordinary F1 of the positive class, where the fold has both classes."""
        return metrics.f1_positive(self.counts) if self.label is None else Value(None, "one class only")


def summarise(task: Task, predictions: Predictions) -> FoldResult:
    """Sum one fold's predictions up; a cell is called positive where its logit exceeds 0."""
    calls = predictions.logits > 0
    classes = np.unique(predictions.labels)
    return FoldResult(
        task=task,
        patient=predictions.patient,
        label=int(classes[0]) if len(classes) == 1 else None,
        cells=len(calls),
        counts=metrics.count(predictions.labels, calls),
        score=float(predictions.logits.mean()),
        votes=float(calls.mean()),
        auc=metrics.auc(predictions.labels, predictions.logits),
    )

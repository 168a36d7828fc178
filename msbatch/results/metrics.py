"""What can be said of calls against truth, and why some of it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Value:
    """A number, or the reason why there is none."""

    number: float | None
    reason: str = ""

    def __str__(self) -> str:
        """Write the number in full, or n/a with its reason."""
        return f"n/a ({self.reason})" if self.number is None else repr(self.number)


@dataclass(frozen=True)
class Counts:
    """Calls against truth, pooled: true and false positives and negatives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Pool two sets of calls."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def positives(self) -> int:
        """Cases that are positive in truth."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """Cases that are negative in truth."""
        return self.tn + self.fp


def count(labels: NDArray[np.uint8], calls: NDArray[np.bool_]) -> Counts:
    """Count calls against truth.

    Parameters
    ----------
    labels : ndarray of uint8, shape (n,)
        True class, 0 or 1.
    calls : ndarray of bool, shape (n,)
        Whether each case is called positive.
    """
    truth = labels == 1
    tp, fp = int((truth & calls).sum()), int((~truth & calls).sum())
    return Counts(tp, fp, int(truth.sum()) - tp, int((~truth).sum()) - fp)


def sensitivity(counts: Counts) -> Value:
    """Share of positives called positive."""
    return _ratio(counts.tp, counts.positives, "no positive case")


def specificity(counts: Counts) -> Value:
    """Share of negatives called negative."""
    return _ratio(counts.tn, counts.negatives, "no negative case")


def balanced_accuracy(counts: Counts) -> Value:
    """Mean of sensitivity and specificity."""
    return _mean(sensitivity(counts), specificity(counts))


def f1_positive(counts: Counts) -> Value:
    """F1 of the positive class from pooled counts, 2TP / (2TP + FP + FN) (Forman & Scholz 2010).

    Undefined while one class only is there: such an F1 hangs on which class that is.
    """
    return _f1(counts.tp, counts)


def f1_negative(counts: Counts) -> Value:
    """F1 of the negative class from pooled counts, 2TN / (2TN + FP + FN)."""
    return _f1(counts.tn, counts)


def macro_f1(counts: Counts) -> Value:
    """Mean of both classes' F1."""
    return _mean(f1_positive(counts), f1_negative(counts))


def mcc(counts: Counts) -> Value:
    """Matthews correlation coefficient; undefined where truth or calls are all alike."""
    product = counts.positives * counts.negatives * (counts.tp + counts.fp) * (counts.tn + counts.fn)
    if not product:
        return _need_both(counts) or Value(None, "all calls alike")
    return Value((counts.tp * counts.tn - counts.fp * counts.fn) / math.sqrt(product))


def own_class_f1(recall: Value) -> Value:
    """F1 of a one-class fold for its own class, 2r / (1 + r), as published tables show it."""
    return recall if recall.number is None else Value(2 * recall.number / (1 + recall.number))


def auc(labels: NDArray[np.uint8], logits: NDArray[np.float64]) -> Value:
    """Area under the ROC curve of one model's logits.

    Parameters
    ----------
    labels : ndarray of uint8, shape (n,)
        True class, 0 or 1.
    logits : ndarray of float64, shape (n,)
        From one model: between models logits are not comparable.
    """
    if len(np.unique(labels)) < 2:
        return Value(None, "one class only")
    return Value(float(roc_auc_score(labels, logits)))


def mean(values: Iterable[Value]) -> tuple[Value, int]:
    """Mean over the values that are defined, in any order, and how many those are."""
    numbers = [value.number for value in values if value.number is not None]
    if not numbers:
        return Value(None, "no patient has one"), 0
    return Value(math.fsum(numbers) / len(numbers)), len(numbers)


def _f1(hits: int, counts: Counts) -> Value:
    return _need_both(counts) or Value(2 * hits / (2 * hits + counts.fp + counts.fn))


def _need_both(counts: Counts) -> Value | None:
    if not counts.positives:
        return Value(None, "no positive case")
    return None if counts.negatives else Value(None, "no negative case")


def _ratio(part: int, whole: int, reason: str) -> Value:
    return Value(part / whole) if whole else Value(None, reason)


def _mean(first: Value, second: Value) -> Value:
    if first.number is None:
        return first
    return second if second.number is None else Value((first.number + second.number) / 2)

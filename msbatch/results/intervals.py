"""How far a number may be off, with patients as the sample.

All of it is conditional on the fitted models: patients are drawn again, models are not fitted again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm, t

from msbatch.results import metrics
from msbatch.results.metrics import Counts, Value

Array = NDArray[np.float64]

REPLICATES = 10_000
CONFIDENCE = 0.95
FEW_PATIENTS = 6
FEWEST_PATIENTS = 3  # of two, resamples say nothing of how patients vary

EXACT = "Clopper-Pearson over patients"
BOOTSTRAP = "bootstrap over patients, expanded percentiles, conditional on the fitted models"


@dataclass(frozen=True)
class Interval:
    """Two ends, or the reason why there are none.

    Attributes
    ----------
    low, high : Value
        Both are numbers, or neither is.
    method : str
        How it was made.
    note : str
        What to bear in mind, such as "indicative only".
    """

    low: Value
    high: Value
    method: str
    note: str = ""


@dataclass(frozen=True)
class _Metric:
    """A metric of pooled counts: of one set with reasons, of many sets at once, and the classes it depends on."""

    one: Callable[[Counts], Value]
    many: Callable[[Array], Array]
    classes: tuple[int, ...] = (0, 1)


def clopper_pearson(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Give the exact interval of a proportion (Clopper & Pearson 1934): tails of the beta distribution.

    Parameters
    ----------
    hits, n : int
        The proportion is hits of n.
    confidence : float
        Coverage is at least this.
    """
    if not n:
        return _nothing("no case", EXACT)
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(Value(low), Value(high), EXACT)


def wilson(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Give the score interval of a proportion (Wilson 1927): the proportions that a normal test does not reject."""
    method = "Wilson over patients"
    if not n:
        return _nothing("no case", method)
    square = float(norm.ppf((1 + confidence) / 2)) ** 2
    centre = (hits + square / 2) / (n + square)
    half = math.sqrt(square * (hits * (n - hits) / n + square / 4)) / (n + square)
    low = centre - half if hits else 0.0  # rounding would leave 1e-17 in place of 0
    return Interval(Value(low), Value(centre + half if hits < n else 1.0), method)


def tail(patients: int) -> float:
    """Give the share of bootstrap replicates to cut off on each side (Hesterberg 2015): Phi(-sqrt(K/(K-1)) t).

    K is the number of patients and t the .975 quantile of Student's t with K - 1 degrees of freedom. It undoes that
    resampled means vary by (K-1)/K too little, and that K patients estimate their own spread.
    """
    quantile = t.ppf((1 + CONFIDENCE) / 2, patients - 1)
    return float(norm.cdf(-math.sqrt(patients / (patients - 1)) * quantile))


def bootstrap(
    counts: Sequence[Counts], *, by_class: bool, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Interval]:
    """Give an interval for every metric of the pooled counts, by resampling patients with all their cells.

    The tails are those of `tail`. Resampled within class, K is the number of patients of the smaller of the classes
    that the metric depends on, since the spread of that class is known least; sensitivity depends on one class only.
    Else K is the number of patients. Replicates in which a metric is undefined are left out and counted in the note;
    where most are, there is no interval. Where all replicates agree, patients say nothing of the spread, and the
    interval is the exact bound: a mean recall is at least the share of patients without a wrong cell, and at most
    the share with a right one. For metrics of two classes these bounds hold jointly (Bonferroni).

    Parameters
    ----------
    counts : sequence of Counts
        Of each patient; their order and names change nothing.
    by_class : bool
        Whether each patient has one class and is drawn among the patients of that class.
    replicates, seed : int
        How many are drawn, and what decides the draws.

    Returns
    -------
    dict of str to Interval
        By the names in `METRICS`.
    """
    table = _table(counts)
    drawn = _resample(_strata(table, by_class), replicates, np.random.default_rng(seed))
    return {name: _interval(metric, table, drawn, by_class) for name, metric in METRICS.items()}


def bootstrap_calls(calls: Counts, *, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Interval]:
    """Give intervals where a case is a patient: exact ones for the two proportions, else as `bootstrap` does.

    Parameters
    ----------
    calls : Counts
        Of patients called right and wrong.
    replicates, seed : int
        As for `bootstrap`.
    """
    cases = (
        [Counts(tp=1)] * calls.tp + [Counts(fp=1)] * calls.fp + [Counts(fn=1)] * calls.fn + [Counts(tn=1)] * calls.tn
    )
    exact = {
        "sensitivity": clopper_pearson(calls.tp, calls.positives),
        "specificity": clopper_pearson(calls.tn, calls.negatives),
    }
    return {**bootstrap(cases, by_class=True, replicates=replicates, seed=seed), **exact}


def bootstrap_mean(values: Sequence[Value], *, replicates: int = REPLICATES, seed: int = 0) -> Interval:
    """Give an interval for a mean over patients of a measure between 0 and 1, over those that define it.

    Parameters
    ----------
    values : sequence of Value
        Of each patient, such as the AUC within.
    replicates, seed : int
        As for `bootstrap`.
    """
    numbers = np.sort([value.number for value in values if value.number is not None])
    if len(numbers) < 2:
        return _nothing("fewer than two patients have one", BOOTSTRAP)
    if np.ptp(numbers) < 1e-12:
        if not np.isin(numbers[0], (0, 1)):
            return _nothing("all patients alike", BOOTSTRAP)
        return clopper_pearson(int(numbers.sum()), len(numbers))
    means = _resample([numbers[:, None]], replicates, np.random.default_rng(seed))[:, 0] / len(numbers)
    return _percentiles(means, len(numbers), _note([len(numbers)], 0, replicates))


def _table(counts: Sequence[Counts]) -> Array:
    table = np.array([(own.tp, own.fp, own.fn, own.tn) for own in counts], np.float64).reshape(-1, 4)
    if (table.sum(axis=1) == 0).any():
        raise ValueError("a patient has no cells")
    return table


def _strata(table: Array, by_class: bool) -> list[Array]:
    """Split patients into those that change places; sorted, so that draws do not depend on names or order."""
    ordered = table[np.lexsort(table.T)]
    positive = _cases(ordered, 1) > 0
    if not by_class:
        return [ordered] if len(ordered) else []
    if (positive & (_cases(ordered, 0) > 0)).any():
        raise ValueError("a patient has both classes, so patients cannot be resampled within class")
    return [own for own in (ordered[~positive], ordered[positive]) if len(own)]


def _resample(strata: Sequence[Array], replicates: int, rng: np.random.Generator) -> Array:
    """Give sums over resampled patients, shape (replicates, columns): how often each is drawn, times what they hold."""
    sums = np.zeros((replicates, strata[0].shape[1] if strata else 4))
    for own in strata:
        times = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=replicates)
        sums += times.astype(np.float64) @ own
    return sums


def _interval(metric: _Metric, table: Array, drawn: Array, by_class: bool) -> Interval:
    estimate = metric.one(Counts(*(int(total) for total in table.sum(axis=0))))
    if estimate.number is None:
        return _nothing(estimate.reason, BOOTSTRAP)
    sizes = [int((_cases(table, label) > 0).sum()) for label in (0, 1)] if by_class else [len(table)]
    patients = min(sizes[label] for label in metric.classes) if by_class else len(table)
    values = metric.many(drawn)
    values = values[~np.isnan(values)]
    undefined = len(drawn) - len(values)
    if undefined > len(drawn) / 2:
        return _nothing(f"undefined in {undefined} of {len(drawn)} resamples", BOOTSTRAP)
    note = _note(sizes, undefined, len(drawn))
    if np.ptp(values) < 1e-12:
        return _exact_bounds(metric, table, note)
    if patients < FEWEST_PATIENTS:
        return _nothing(f"fewer than {FEWEST_PATIENTS} patients in a class", BOOTSTRAP)
    return _percentiles(values, patients, note)


def _percentiles(values: Array, patients: int, note: str) -> Interval:
    cut = tail(patients)
    low, high = np.quantile(values, [cut, 1 - cut])
    low, high = (float(np.round(end, 12)) for end in (low, high))  # rounding would leave .9999999999999997 of 1
    return Interval(Value(low), Value(high), BOOTSTRAP, note)


def _note(sizes: Sequence[int], undefined: int, replicates: int) -> str:
    parts = [f"indicative only: {min(sizes)} patients in a class"] if 0 < min(sizes) < FEW_PATIENTS else []
    if undefined:
        parts.append(f"{undefined} of {replicates} resamples undefined and left out")
    return "; ".join(parts)


def _exact_bounds(metric: _Metric, table: Array, note: str) -> Interval:
    """Give the metric at the exact bounds of each class's recall, where patients are all right or all wrong."""
    recalls = {0: (1.0, 1.0), 1: (1.0, 1.0)}
    for label in metric.classes:
        own = table[_cases(table, label) > 0]
        right, wrong = (int((_cases(own, label) == own[:, column]).sum()) for column in ((3, 1), (0, 2))[label])
        if len(own) not in (right, wrong):
            return _nothing("all patients of a class alike", BOOTSTRAP, note)
        bounds = clopper_pearson(right, len(own), 1 - (1 - CONFIDENCE) / len(metric.classes))
        recalls[label] = (bounds.low.number or 0.0, bounds.high.number or 0.0)
    cells = [float(_cases(table, label).sum()) for label in (0, 1)]
    ends = [_counts_at(cells, recalls[0][end], recalls[1][end]) for end in (0, 1)]
    low, high = metric.many(np.array(ends)).tolist()
    return Interval(Value(low), Value(high), EXACT, note)


def _counts_at(cells: Sequence[float], specificity: float, sensitivity: float) -> tuple[float, ...]:
    negatives, positives = cells
    tp, tn = positives * sensitivity, negatives * specificity
    return tp, negatives - tn, positives - tp, tn


def _cases(table: Array, label: int) -> Array:
    return np.asarray(table[:, 0] + table[:, 2] if label else table[:, 1] + table[:, 3])


def _nothing(reason: str, method: str, note: str = "") -> Interval:
    return Interval(Value(None, reason), Value(None, reason), method, note)


def _divide(part: Array, whole: Array, defined: NDArray[np.bool_] | None = None) -> Array:
    """Divide, with NaN where the whole is 0 or the ratio undefined."""
    allowed = (whole > 0) if defined is None else (whole > 0) & defined
    quotient: Array = np.divide(part, whole, out=np.full(len(part), np.nan), where=allowed)
    return quotient


def _recall(table: Array, label: int) -> Array:
    return _divide(table[:, 0 if label else 3], _cases(table, label))


def _f1(table: Array, label: int) -> Array:
    hits, missed = table[:, 0 if label else 3], table[:, 1] + table[:, 2]
    return _divide(2 * hits, 2 * hits + missed, (_cases(table, 0) > 0) & (_cases(table, 1) > 0))


def _mcc(table: Array) -> Array:
    tp, fp, fn, tn = table.T
    product = np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tp + fp) * np.sqrt(tn + fn)
    return _divide(tp * tn - fp * fn, product)


METRICS = {
    "sensitivity": _Metric(metrics.sensitivity, lambda table: _recall(table, 1), (1,)),
    "specificity": _Metric(metrics.specificity, lambda table: _recall(table, 0), (0,)),
    "balanced_accuracy": _Metric(metrics.balanced_accuracy, lambda table: (_recall(table, 0) + _recall(table, 1)) / 2),
    "f1_positive": _Metric(metrics.f1_positive, lambda table: _f1(table, 1)),
    "f1_negative": _Metric(metrics.f1_negative, lambda table: _f1(table, 0)),
    "macro_f1": _Metric(metrics.macro_f1, lambda table: (_f1(table, 0) + _f1(table, 1)) / 2),
    "mcc": _Metric(metrics.mcc, _mcc),
}

"""Which held-out patient lies outside what chance and ordinary variation between patients explain.

In every cohort some fold is the worst. A fold is odd only if it is worse than the worst of a cohort would be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from msbatch.results.folds import FoldResult
from msbatch.results.intervals import METRICS
from msbatch.results.metrics import Counts, Value

Array = NDArray[np.float64]

ALPHA = 0.05  # of good cohorts have a fold that is called odd
FEWEST_OTHERS = 3

_BLOCK = 1_000_000  # probabilities held at once


@dataclass(frozen=True)
class OddFold:
    """Whether one fold is odd.

    Attributes
    ----------
    fold : int
        Its number.
    patient : str
        The held-out patient.
    recall : Value
        Share of the patient's cells called correctly.
    others : Value
        The recall that the other patients of the class let one expect.
    bound : Value
        The 5 % point of the lowest recall among as many draws as there are folds; below it a fold is odd.
    chance : Value
        That the lowest of as many draws is no higher than this recall.
    odd : bool
        False also where no claim can be made; the values then give the reason.
    """

    fold: int
    patient: str
    recall: Value
    others: Value
    bound: Value
    chance: Value
    odd: bool


def odd_folds(results: Sequence[FoldResult]) -> list[OddFold]:
    """Compare each fold with the worst that the other patients of its class let one expect of a whole cohort.

    Hits among a patient's cells are beta-binomial. With a dozen others, no single fit is good enough: the 0.2 %
    point that 24 folds call for, of a fit by maximum likelihood or by moments, flags a fold in one to three of ten
    good cohorts instead of in one of twenty. So every beta-binomial counts, by the likelihood that the others give
    it, with all means alike beforehand and all orders of magnitude of the spread alike, from next to none, which is
    binomial, to next to all (Aitchison & Dunsmore 1975, Statistical Prediction Analysis, on such densities).

    No claim is made of patients with both classes, with fewer than three others in their class, or where all others
    are perfect or all wrong, so that nothing tells how patients vary.

    Parameters
    ----------
    results : sequence of FoldResult
        Of one backbone. The answer has the same order.
    """
    labelled = [fold for fold in results if fold.label is not None]
    ordered = sorted(labelled, key=lambda fold: (fold.label, _hits(fold), fold.cells))
    own = {id(fold): answer for label in (0, 1) for fold, answer in _class_answers(ordered, label)}
    mixed = Value(None, "both classes")
    return [
        own.get(id(fold)) or OddFold(fold.fold, fold.patient, fold.recall, mixed, mixed, mixed, False)
        for fold in results
    ]


def influence(counts: Mapping[str, Counts]) -> dict[str, dict[str, Value]]:
    """Give what every summary would change by without each patient.

    Parameters
    ----------
    counts : mapping of str to Counts
        By patient: of cells, or of the one call of the patient.

    Returns
    -------
    dict of str to dict of str to Value
        By patient and the names in `msbatch.results.intervals.METRICS`: the metric without the patient less the
        metric of all.
    """
    total = sum(counts.values(), Counts())
    return {
        patient: {
            name: _change(metric.one(total), metric.one(_without(total, own))) for name, metric in METRICS.items()
        }
        for patient, own in counts.items()
    }


def _change(whole: Value, rest: Value) -> Value:
    if whole.number is None or rest.number is None:
        return Value(None, whole.reason if whole.number is None else f"without the patient: {rest.reason}")
    return Value(rest.number - whole.number)


def _without(total: Counts, own: Counts) -> Counts:
    return Counts(total.tp - own.tp, total.fp - own.fp, total.fn - own.fn, total.tn - own.tn)


def _hits(fold: FoldResult) -> int:
    return fold.counts.tp + fold.counts.tn


def _class_answers(folds: Sequence[FoldResult], label: int) -> Iterator[tuple[FoldResult, OddFold]]:
    own = [fold for fold in folds if fold.label == label]
    hits = np.array([_hits(fold) for fold in own], np.int64)
    cells = np.array([fold.cells for fold in own], np.int64)
    weights = _weights(hits, cells)
    expected = _expected(weights)
    for place, cumulative in _predict(weights, cells):
        fold = own[place]
        reason = _why_not(np.delete(hits, place), np.delete(cells, place))
        if reason:
            none = Value(None, reason)
            yield fold, OddFold(fold.fold, fold.patient, fold.recall, none, none, none, False)
        else:
            yield fold, _answer(fold, float(expected[place]), cumulative, len(folds))


def _why_not(hits: NDArray[np.int64], cells: NDArray[np.int64]) -> str:
    if len(hits) < FEWEST_OTHERS:
        return f"fewer than {FEWEST_OTHERS} other patients in the class"
    if (hits == cells).all():
        return "the other patients have no wrong cell, so nothing tells how patients vary"
    return "" if hits.any() else "the other patients have no right cell, so nothing tells how patients vary"


def _answer(fold: FoldResult, expected: float, cumulative: Array, draws: int) -> OddFold:
    """Judge a fold by how likely each number of hits, or fewer, is for one draw."""
    lowest = -np.expm1(draws * np.log1p(-np.minimum(cumulative, 1 - 1e-16)))
    bound = int(np.argmax(lowest >= ALPHA))
    return OddFold(
        fold=fold.fold,
        patient=fold.patient,
        recall=fold.recall,
        others=Value(expected),
        bound=Value(bound / fold.cells),
        chance=Value(float(lowest[_hits(fold)])),
        odd=_hits(fold) < bound,
    )


def _grid() -> tuple[Array, Array, Array]:
    """Give a and b of beta distributions, and the logarithm of what each counts beforehand.

    The mean m = a / (a + b) runs evenly over its logit, so it counts m (1 - m) to be even over m; the spread
    1 / (a + b + 1), the correlation of two cells of a patient, runs evenly over its logarithm.
    """
    means = 1 / (1 + np.exp(-np.linspace(-7, 7, 43)))
    mean, spread = (part.ravel() for part in np.meshgrid(means, np.geomspace(0.0005, 0.9, 16), indexing="ij"))
    size = 1 / spread - 1
    return mean * size, (1 - mean) * size, np.log(mean * (1 - mean))


_A, _B, _BEFOREHAND = _grid()


def _weights(hits: NDArray[np.int64], cells: NDArray[np.int64]) -> Array:
    """Give what each beta-binomial counts for each patient, by all patients but this one, shape (n, grid)."""
    own = betaln(hits[:, None] + _A, (cells - hits)[:, None] + _B) - betaln(_A, _B)
    logarithms = own.sum(axis=0) - own + _BEFOREHAND
    weights = np.exp(logarithms - logarithms.max(axis=1, keepdims=True, initial=-math.inf))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _expected(weights: Array) -> Array:
    return np.asarray(weights @ (_A / (_A + _B)))


def _predict(weights: Array, cells: NDArray[np.int64]) -> Iterator[tuple[int, Array]]:
    """Yield each patient's place, and how likely 0, 1, ... hits or fewer are, averaged over the beta-binomials."""
    for size in np.unique(cells).tolist():
        places = np.flatnonzero(cells == size)
        step = max(1, _BLOCK // (size + 1))
        likely = np.zeros((len(places), size + 1))
        for start in range(0, len(_A), step):
            part = slice(start, start + step)
            likely += weights[places, part] @ beta_binomial(size, _A[part], _B[part])
        yield from zip(places.tolist(), np.minimum(likely.cumsum(axis=1), 1.0), strict=True)


def beta_binomial(cells: int, a: Array, b: Array) -> Array:
    """Give the probability of every number of hits, shape (len(a), cells + 1), each from the one before.

    From k to k + 1 hits it is multiplied by (n - k) (k + a) / ((k + 1) (n - k - 1 + b)).

    Parameters
    ----------
    cells : int
        n.
    a, b : ndarray of float64, shape (g,)
        Of the beta distribution that a patient's recall is drawn from.
    """
    k = np.arange(cells)
    steps = np.log((cells - k) / (k + 1)) + np.log(k + a[:, None]) - np.log(cells - k - 1 + b[:, None])
    first = gammaln(cells + b) - gammaln(b) + gammaln(a + b) - gammaln(cells + a + b)
    return np.asarray(np.exp(np.cumsum(np.column_stack([first, steps]), axis=1)))

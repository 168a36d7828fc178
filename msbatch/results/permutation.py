"""Permutation tests of the exact head: of an association, and of one beyond nuisance.

Every permutation is a refit, since the head answers any labels without one. Where each patient has one label, patients
are permuted; where labels vary within patients, cells are permuted within their patient. Draws follow an order that
the features decide, so names and the order of rows change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msbatch.results.head import Array, Head, HeadError, fit_head
from msbatch.results.inner import InnerPenalty
from msbatch.results.matrix import StackedRows
from msbatch.results.metrics import Value

PERMUTATIONS = 10_000

_BLOCK = 2_000_000  # numbers in one array of permuted labels, so that memory does not grow with their number
_LEAST = 16  # permutations at once however many cells there are: each time all features are gone through

Strata = Sequence[NDArray[np.intp]]  # of rows that change places among themselves, in an order free of names


@dataclass(frozen=True)
class PermutationTest:
    """What a permutation test says.

    Attributes
    ----------
    statistic : Value
        Of the labels as they are.
    p : Value
        One-sided, or the reason why there is none.
    floor : float
        No p is below it: 1 over the number of arrangements of the labels. In classes of one size an arrangement and
        its mirror tie, and the smallest p is twice that.
    permutations : int
        Arrangements that were looked at beside the true one.
    exact : bool
        Whether there are no others.
    """

    statistic: Value
    p: Value
    floor: float = 1.0
    permutations: int = 0
    exact: bool = False


@dataclass(frozen=True)
class _Question:
    """A statistic of `base` + `moved`, the latter permuted within strata; each takes columns of arrangements."""

    statistic: Callable[[Array], Array]
    moved: Array
    strata: Strata
    arrangements: int
    base: Array | float = 0.0


def association(
    head: Head,
    labels: ArrayLike,
    *,
    inner: InnerPenalty | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    random_ties: bool = False,
) -> PermutationTest:
    """Test whether the head's scores go with the labels.

    Over patients the statistic is the difference of the classes' mean patient scores over the mean absolute score;
    all arrangements are looked at where they are no more than `permutations`. Within patients it is the mean, over
    patients with both classes, of the difference of their cells' mean scores, over the cells' mean absolute score.

    Parameters
    ----------
    head : Head
        From `fit_head`.
    labels : array_like, shape (n,)
        Of each cell, 0 or 1.
    inner : InnerPenalty, optional
        Of the same cohort: each patient's score is under the penalty that it chooses, for every permutation anew.
    permutations : int
        How many are drawn where not all are looked at.
    seed : int
        Decides the draws.
    random_ties : bool
        Break ties at random, which makes p uniform under the null, in place of counting them against the labels.

    Raises
    ------
    HeadError
        If there is an inner penalty, and labels vary within a patient.
    """
    own = np.asarray(labels, np.float64)
    reason = _why_not(own) or ("" if head.penalty else "the features do not vary")
    if reason:
        return PermutationTest(Value(None, reason), Value(None, reason))
    over = inner is not None or _by_patient(head, own)
    question = _over_patients(head, own, inner) if over else _within_patients(head, own)
    rng = np.random.default_rng(seed)
    exact = over and question.arrangements - 1 <= permutations
    draws = _all_others(question) if exact else _draws(question, permutations, rng)
    return _answer(question, draws, rng if random_ties else None, exact=exact)


def beyond_nuisance(
    features: ArrayLike | StackedRows,
    groups: ArrayLike,
    labels: ArrayLike,
    nuisance: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    penalty: float | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> PermutationTest:
    """Test whether features say more of the labels than nuisance columns do (Freedman & Lane 1983).

    Labels are fitted on the nuisance columns by least squares; the residuals change places, and with the fit added
    they are the labels under the null. The statistic is the share of the leave-one-patient-out squared error of a head
    with the nuisance columns alone that the features take away. Errors are of patients' mean predictions where each
    patient has one label, else of cells. It is a share because residuals are smaller than errors: the plain
    difference shrinks with every permutation, and its p is too small in small cohorts.

    Parameters
    ----------
    features, groups, weights, penalty
        As `fit_head` takes them.
    labels : array_like, shape (n,)
        Of each cell, 0 or 1.
    nuisance : array_like of float, shape (n, k)
        Columns without penalty, few of them: see `msbatch.results.nuisance.components`.
    permutations, seed : int
        As for `association`.
    """
    own, columns = np.asarray(labels, np.float64), np.asarray(nuisance, np.float64)
    reason = _why_not(own)
    if reason:
        return PermutationTest(Value(None, reason), Value(None, reason))
    try:
        full = fit_head(features, groups, weights=weights, nuisance=columns, penalty=penalty)
        reduced = fit_head(np.empty((len(own), 0)), groups, weights=weights, nuisance=columns)
    except HeadError as error:
        return PermutationTest(Value(None, error.problem), Value(None, error.problem))
    return _beyond(full, reduced, own, columns, permutations, seed)


def _beyond(full: Head, reduced: Head, labels: Array, nuisance: Array, permutations: int, seed: int) -> PermutationTest:
    if not full.penalty:
        reason = "the features add nothing to the nuisance columns"
        return PermutationTest(Value(None, reason), Value(None, reason))
    over = _by_patient(full, labels)
    truth, columns = (full.patient_means(part) if over else part for part in (labels, nuisance))
    design = np.column_stack([np.ones(len(truth)), columns])
    fitted = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    if np.abs(truth - fitted).max() < 1e-9:
        reason = "the nuisance columns explain the labels completely"
        return PermutationTest(Value(None, reason), Value(None, reason))
    strata = [_patient_order(full)] if over else _cell_orders(full)
    errors = [_patient_errors(head) if over else _cell_errors(head) for head in (reduced, full)]
    gain = _Question(
        lambda drawn: 1 - _squares(errors[1](drawn)) / _squares(errors[0](drawn)),
        truth - fitted,
        strata,
        _arrangements(truth, strata),
        fitted[:, None],
    )
    return _answer(gain, _draws(gain, permutations, np.random.default_rng(seed)))


def _over_patients(head: Head, labels: Array, inner: InnerPenalty | None) -> _Question:
    classes = inner.classes(labels) if inner else head.patient_means(labels)
    scored = inner.patient_scores if inner else partial(np.matmul, head.score_map())
    strata = [_patient_order(head)]
    return _Question(lambda drawn: _apart(scored(drawn), drawn), classes, strata, _arrangements(classes, strata))


def _within_patients(head: Head, labels: Array) -> _Question:
    def statistic(drawn: Array) -> Array:
        scores = head.cell_scores(drawn)
        positive = head.patient_means(drawn)[mixed]
        raised, overall = head.patient_means(scores * drawn)[mixed], head.patient_means(scores)[mixed]
        gaps = raised / positive - (overall - raised) / (1 - positive)
        return np.asarray(gaps.mean(axis=0) / np.abs(scores).mean(axis=0))

    shares, strata = head.patient_means(labels), _cell_orders(head)
    mixed = (shares > 0) & (shares < 1)
    return _Question(statistic, labels, strata, _arrangements(labels, strata))


def _apart(scores: Array, classes: Array) -> Array:
    """Give the difference of the classes' mean scores over the mean absolute score, column by column."""
    positive = (scores * classes).sum(axis=0) / classes.sum(axis=0)
    negative = (scores * (1 - classes)).sum(axis=0) / (1 - classes).sum(axis=0)
    return np.asarray((positive - negative) / np.abs(scores).mean(axis=0))


def _patient_errors(head: Head) -> Callable[[Array], Array]:
    missed = np.eye(len(head.patients)) - head.prediction_map()
    return lambda drawn: missed @ drawn


def _cell_errors(head: Head) -> Callable[[Array], Array]:
    return lambda drawn: drawn - head.predict(drawn)


def _squares(errors: Array) -> Array:
    return np.asarray((errors**2).sum(axis=0))


def _answer(
    question: _Question, draws: Iterator[Array], rng: np.random.Generator | None = None, *, exact: bool = False
) -> PermutationTest:
    observed = float(question.statistic(question.base + question.moved[:, None])[0])
    null = np.concatenate([question.statistic(question.base + drawn) for drawn in draws])
    floor = 1 / question.arrangements
    p = max(floor, p_value(observed, null, rng))
    return PermutationTest(Value(observed), Value(p), floor, len(null), exact)


def p_value(observed: float, null: Array, rng: np.random.Generator | None = None) -> float:
    """Give the rank of the observed statistic among its permutations, as a share.

    (1 + b) / (1 + B), where b of the B permutations are at least as large (Phipson & Smyth 2010). Statistics that
    agree but for rounding are ties.

    Parameters
    ----------
    observed : float
        Of the true labels.
    null : ndarray of float64, shape (B,)
        Of permuted ones.
    rng : Generator, optional
        Breaks ties at random; without it they count as larger.
    """
    tied = np.isclose(null, observed, rtol=1e-9, atol=1e-12)
    ties = int(tied.sum())
    larger = int(((null > observed) & ~tied).sum())
    return (1 + larger + (ties if rng is None else int(rng.integers(0, ties, endpoint=True)))) / (1 + len(null))


def _all_others(question: _Question) -> Iterator[Array]:
    """Yield every arrangement of patients' labels but the true one, once."""
    places = range(len(question.moved))
    true = frozenset(np.flatnonzero(question.moved).tolist())
    others = [chosen for chosen in combinations(places, len(true)) if true != set(chosen)]
    drawn = np.zeros((len(places), len(others)))
    drawn[np.array(others).T, np.arange(len(others))] = 1
    yield drawn


def _draws(question: _Question, permutations: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield random arrangements as columns, some at a time.

    Each stratum's values are sorted first, so that what is drawn does not depend on the true arrangement.
    """
    size = max(_LEAST, min(1000, _BLOCK // len(question.moved)))
    for start in range(0, permutations, size):
        drawn = np.empty((len(question.moved), min(size, permutations - start)))
        for rows in question.strata:
            values = np.broadcast_to(np.sort(question.moved[rows])[:, None], (len(rows), drawn.shape[1]))
            drawn[rows] = rng.permuted(values, axis=0)
        yield drawn


def _arrangements(labels: Array, strata: Strata) -> int:
    return math.prod(math.comb(len(rows), int(labels[rows].sum())) for rows in strata)


def _patient_order(head: Head) -> NDArray[np.intp]:
    return np.argsort(np.bincount(head.index, weights=head.leverage), kind="stable")


def _cell_orders(head: Head) -> list[NDArray[np.intp]]:
    by_leverage = np.argsort(head.leverage, kind="stable")
    return [by_leverage[head.index[by_leverage] == patient] for patient in _patient_order(head)]


def _by_patient(head: Head, labels: Array) -> bool:
    return bool(np.isin(head.patient_means(labels), (0, 1)).all())


def _why_not(labels: Array) -> str:
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return "one class only" if len(np.unique(labels)) < 2 else ""

"""Backbones against each other, patient by patient.

All of it is approximate, since folds share training patients, and one seed compares two runs, not two methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from msbatch.results.folds import FoldResult
from msbatch.results.metrics import Value

Array = NDArray[np.float64]

PERMUTATIONS = 10_000
EXACT_UP_TO = 20  # patients whose signs are flipped in every way: a million sums

_BLOCK = 2_000_000  # signs drawn at once


@dataclass(frozen=True)
class SignFlip:
    """What flipping the signs of paired differences says.

    Attributes
    ----------
    p : float
        Two-sided.
    floor : float
        No p is below it.
    exact : bool
        Whether all flips were looked at.
    """

    p: float
    floor: float
    exact: bool


@dataclass(frozen=True)
class Pair:
    """Two backbones on the same held-out patients.

    Attributes
    ----------
    first, second : str
        A positive difference favours the first.
    patients : int
        Who have a fold from both.
    differing : int
        Patients whose share of cells called correctly differs; no other can change a test.
    difference : Value
        Of that share, averaged within class, then over classes.
    p, p_holm : Value
        By sign flips: alone, and corrected for all pairs.
    wilcoxon, wilcoxon_holm : Value
        The same of the signed-rank test.
    floor : Value
        2 / 2**differing: no exact p is below it.
    exact : bool
        Whether all flips were looked at.
    """

    first: str
    second: str
    patients: int
    differing: int
    difference: Value
    p: Value
    p_holm: Value
    wilcoxon: Value
    wilcoxon_holm: Value
    floor: Value
    exact: bool


@dataclass(frozen=True)
class BestOf:
    """The best of several backbones on the same folds: optimistic for more than one, since it was chosen by them.

    Attributes
    ----------
    names : tuple of str
        Those that share the best score; sorted.
    score : Value
        Share of a patient's cells called correctly, averaged within class, then over classes.
    backbones : int
        How many it was chosen from.
    mean : Value
        Score of all of them on average: what one would get without choosing.
    patients : int
        Who have a fold from every backbone.
    """

    names: tuple[str, ...]
    score: Value
    backbones: int
    mean: Value
    patients: int

    @property
    def optimistic(self) -> bool:
        """Whether there was a choice."""
        return self.backbones > 1


def compare(
    results: Mapping[str, Sequence[FoldResult]], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> list[Pair]:
    """Compare every pair of backbones, in the order given.

    Where cells carry the labels, patients with both classes are a class of their own.

    Parameters
    ----------
    results : mapping of str to sequence of FoldResult
        By backbone; folds are paired by patient, and the order of folds changes nothing.
    permutations, seed : int
        As for `flip_signs`.
    """
    by_patient = {name: {fold.patient: fold for fold in own} for name, own in results.items()}
    pairs = [
        _pair((first, second), (by_patient[first], by_patient[second]), permutations, seed)
        for first, second in combinations(by_patient, 2)
    ]
    corrected = zip(holm([pair.p for pair in pairs]), holm([pair.wilcoxon for pair in pairs]), strict=True)
    return [
        replace(pair, p_holm=p, wilcoxon_holm=wilcoxon) for pair, (p, wilcoxon) in zip(pairs, corrected, strict=True)
    ]


def best_of(results: Mapping[str, Sequence[FoldResult]]) -> BestOf:
    """Say which backbone does best on the patients that all of them have, and out of how many.

    Parameters
    ----------
    results : mapping of str to sequence of FoldResult
        By backbone.
    """
    by_patient = {name: {fold.patient: fold for fold in own} for name, own in results.items()}
    shared = _shared(by_patient.values())
    reason = _why_not(own[patient] for own in by_patient.values() for patient in shared)
    if reason:
        return BestOf((), Value(None, reason), len(by_patient), Value(None, reason), len(shared))
    scores = {name: _balanced([own[patient] for patient in shared]) for name, own in by_patient.items()}
    best = max(scores.values())
    names = tuple(sorted(name for name, score in scores.items() if np.isclose(score, best, rtol=0, atol=1e-12)))
    mean = float(np.mean(sorted(scores.values())))
    return BestOf(names, Value(best), len(by_patient), Value(mean), len(shared))


def flip_signs(differences: ArrayLike, *, permutations: int = PERMUTATIONS, seed: int = 0) -> SignFlip:
    """Test whether a sum of paired differences is further from 0 than chance puts it.

    If two backbones do equally well on a patient, the sign of the difference is a coin's. All 2**n combinations of
    signs are looked at for up to `EXACT_UP_TO` differences other than 0; else p = (1 + b) / (1 + B), where b of B
    drawn combinations reach the sum (Phipson & Smyth 2010). Ranks in place of differences give Wilcoxon's test.

    Parameters
    ----------
    differences : array_like of float, shape (n,)
        Each already times its weight; order changes nothing.
    permutations : int
        How many combinations are drawn where not all are looked at.
    seed : int
        Decides the draws.
    """
    given = np.asarray(differences, np.float64)
    sizes = np.sort(np.abs(given[given != 0]))
    reach = abs(float(given[np.argsort(np.abs(given), kind="stable")].sum())) - 1e-9 * float(sizes.sum())
    if len(sizes) <= EXACT_UP_TO:
        sums = _all_sums(sizes)
        return SignFlip(float((np.abs(sums) >= reach).mean()), min(1.0, 2 / 2 ** len(sizes)), True)
    reached = sum(int((np.abs(sums) >= reach).sum()) for sums in _drawn_sums(sizes, permutations, seed))
    return SignFlip((1 + reached) / (1 + permutations), 1 / (1 + permutations), False)


def holm(values: Sequence[Value]) -> list[Value]:
    """Correct p-values for their number (Holm 1979); those that are undefined stay so and do not count.

    The i-th smallest of m is multiplied by m - i + 1, is at least as large as the one before it, and at most 1.
    """
    ordered = sorted((value.number, place) for place, value in enumerate(values) if value.number is not None)
    corrected, largest = list(values), 0.0
    for rank, (number, place) in enumerate(ordered):
        largest = max(largest, min(1.0, number * (len(ordered) - rank)))
        corrected[place] = Value(largest)
    return corrected


def _pair(
    names: tuple[str, str],
    folds: tuple[Mapping[str, FoldResult], Mapping[str, FoldResult]],
    permutations: int,
    seed: int,
) -> Pair:
    shared = _shared(folds)
    reason = _why_not(own[patient] for own in folds for patient in shared)
    if reason:
        none = Value(None, reason)
        return Pair(*names, len(shared), 0, none, none, none, none, none, none, False)
    first, second = ([own[patient] for patient in shared] for own in folds)
    gaps = np.array([_share(one) - _share(other) for one, other in zip(first, second, strict=True)])
    weighted = gaps * _weights(first)
    signs = flip_signs(weighted, permutations=permutations, seed=seed)
    ranks = flip_signs(_signed_ranks(gaps), permutations=permutations, seed=seed)
    differing = int(np.count_nonzero(gaps))
    return Pair(
        *names,
        patients=len(shared),
        differing=differing,
        difference=Value(_sum(weighted)),
        p=Value(signs.p),
        p_holm=Value(signs.p),
        wilcoxon=Value(ranks.p),
        wilcoxon_holm=Value(ranks.p),
        floor=Value(min(1.0, 2.0 ** (1 - differing))),
        exact=signs.exact,
    )


def _shared(folds: Iterable[Mapping[str, FoldResult]]) -> list[str]:
    return sorted(set.intersection(*(set(own) for own in folds)))


def _why_not(folds: Iterable[FoldResult]) -> str:
    labels = {fold.label for fold in folds}
    if not labels:
        return "no patient in common"
    return "one class only" if labels in ({0}, {1}) else ""


def _share(fold: FoldResult) -> float:
    return (fold.counts.tp + fold.counts.tn) / fold.cells


def _weights(folds: Sequence[FoldResult]) -> Array:
    """Give what makes a sum over patients a mean within class, then over classes."""
    labels = [-1 if fold.label is None else fold.label for fold in folds]
    _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(sizes) * sizes[index]))


def _balanced(folds: Sequence[FoldResult]) -> float:
    return _sum(np.array([_share(fold) for fold in folds]) * _weights(folds))


def _sum(values: Array) -> float:
    return float(np.sort(values).sum())


def _signed_ranks(gaps: Array) -> Array:
    """Rank differences other than 0 by size, as Wilcoxon (1945) does; those of one size share their mean rank."""
    real = gaps[gaps != 0]
    return np.asarray(np.sign(real) * rankdata(np.round(np.abs(real), 12)))


def _all_sums(sizes: Array) -> Array:
    """Give the sum under every combination of signs; the first sign stays, as its mirror image sums to the same."""
    sums = sizes[:1].copy() if len(sizes) else np.zeros(1)
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _drawn_sums(sizes: Array, permutations: int, seed: int) -> Iterable[Array]:
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(sizes))
    for start in range(0, permutations, step):
        signs = rng.integers(0, 2, size=(min(step, permutations - start), len(sizes)))
        yield (2.0 * signs - 1) @ sizes

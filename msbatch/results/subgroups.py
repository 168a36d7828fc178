"""Whether patients of one sex, batch or site are called better than those of another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from msbatch.results.folds import FoldResult
from msbatch.results.intervals import Interval, clopper_pearson
from msbatch.results.metrics import Value

Array = NDArray[np.float64]

PERMUTATIONS = 10_000
EXACT_TABLES = 100_000  # of one association that are looked at, each one

_BLOCK = 2_000_000  # numbers in one array of permuted values
_UNIQUE = "a value of its own for every patient"


@dataclass(frozen=True)
class Level:
    """The patients with one value of a covariate.

    Attributes
    ----------
    name : str
        The value, as the cohort's table has it.
    positives, negatives : int
        Patients of each class.
    sensitivity, specificity : Value
        Share of them called correctly, by mean logit.
    sensitivity_interval, specificity_interval : Interval
        Exact.
    """

    name: str
    positives: int
    negatives: int
    sensitivity: Value
    sensitivity_interval: Interval
    specificity: Value
    specificity_interval: Interval


@dataclass(frozen=True)
class Outcome:
    """What comparing an arrangement with all others, or with some, says.

    Attributes
    ----------
    statistic, p : Value
        Of the data as they are, and how often others reach it.
    arrangements : int
        How many were looked at.
    exact : bool
        Whether there are no others.
    """

    statistic: Value
    p: Value
    arrangements: int = 0
    exact: bool = False


@dataclass(frozen=True)
class Subgroups:
    """What a categorical covariate has to do with calls.

    Attributes
    ----------
    covariate : str
        Its name.
    levels : tuple of Level
        Sorted by name; none where the covariate tells every patient apart.
    missing : int
        Patients without a value; they are in no level and no test.
    gaps : dict of str to Outcome
        Highest less lowest level: ``sensitivity`` and ``specificity`` over patients, ``cells_positive`` and
        ``cells_negative`` of the mean share of a patient's cells called correctly.
    """

    covariate: str
    levels: tuple[Level, ...]
    missing: int
    gaps: dict[str, Outcome]


_GAPS = {"sensitivity": 1, "specificity": 0, "cells_positive": 1, "cells_negative": 0}


def subgroups(
    results: Sequence[FoldResult],
    covariate: str,
    values: Mapping[str, str],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Subgroups:
    """Compare the levels of a covariate, label by level first: an empty cell of that table means no claim of a gap.

    Parameters
    ----------
    results : sequence of FoldResult
        Of one backbone; order changes nothing.
    covariate : str
        Its name.
    values : mapping of str to str
        By patient; an empty one is missing.
    permutations, seed : int
        Arrangements that are drawn where there are more, and what decides the draws.
    """
    known = [fold for fold in results if values.get(fold.patient, "").strip()]
    groups: dict[str, list[FoldResult]] = {name: [] for name in sorted({values[fold.patient] for fold in known})}
    for fold in known:
        groups[values[fold.patient]].append(fold)
    missing, reason = len(results) - len(known), _why_not(groups)
    if any(fold.label is None for fold in results):
        reason, groups = "cells carry the labels", {}
    levels = () if reason == _UNIQUE else tuple(_level(name, own) for name, own in groups.items())
    if reason:
        none = Outcome(Value(None, reason), Value(None, reason))
        return Subgroups(covariate, levels, missing, dict.fromkeys(_GAPS, none))
    return Subgroups(covariate, levels, missing, _gaps(levels, groups, permutations, seed))


def fisher(table: ArrayLike, *, draws: int = PERMUTATIONS, seed: int = 0) -> Outcome:
    """Give Fisher's exact test of levels by class (Freeman & Halton 1951 for more than two levels).

    p is the probability, with both margins as they are, of all tables that are no more likely than this one. Where
    there are more than `EXACT_TABLES`, tables are drawn, and p = (1 + b) / (1 + B).

    Parameters
    ----------
    table : array_like of int, shape (levels, 2)
        Patients; the order of levels changes nothing.
    draws, seed : int
        Tables that are drawn where there are more, and what decides the draws.
    """
    counts = np.asarray(table, np.int64)
    if (counts.sum(axis=1) > 0).sum() < 2 or (counts.sum(axis=0) == 0).any():
        reason = "one class only" if (counts.sum(axis=0) == 0).any() else "one level only"
        return Outcome(Value(None, reason), Value(None, reason))
    counts = counts[np.lexsort((counts[:, 0], counts.sum(axis=1)))]
    sizes, chosen = counts.sum(axis=1), int(counts[:, 0].sum())
    observed = float(_log_table(sizes, counts[:, 0]))
    exact = math.prod((sizes + 1).tolist()) <= EXACT_TABLES
    rng = np.random.default_rng(seed)
    tables = _all_tables(sizes, chosen) if exact else rng.multivariate_hypergeometric(sizes, chosen, draws, "marginals")
    logarithms = _log_table(sizes, tables)
    rare = logarithms <= observed + 1e-7
    p = np.exp(np.sort(logarithms[rare])).sum() if exact else (1 + rare.sum()) / (1 + draws)
    return Outcome(Value(math.exp(observed)), Value(min(1.0, float(p))), len(tables), exact)


def gap(groups: Sequence[ArrayLike], *, permutations: int = PERMUTATIONS, seed: int = 0) -> Outcome:
    """Test the highest less the lowest mean of groups, against values that change places between them.

    All arrangements are looked at where they are no more than `permutations`; else p = (1 + b) / (1 + B), where b
    of B drawn ones have a gap at least as large.

    Parameters
    ----------
    groups : sequence of array_like of float
        Values of each group; the order of groups and of values changes nothing.
    permutations, seed : int
        As above.
    """
    sizes = np.sort([len(np.asarray(own)) for own in groups])
    if len(sizes) < 2 or not sizes[0]:
        reason = "an empty group" if len(sizes) > 1 else "one level only"
        return Outcome(Value(None, reason), Value(None, reason))
    means = [float(np.sort(np.asarray(own, np.float64)).mean()) for own in groups]
    observed = max(means) - min(means)
    values = np.sort(np.concatenate([np.asarray(own, np.float64) for own in groups]))
    exact = _arrangements(sizes.tolist()) <= permutations
    drawn = _all_arrangements(values, sizes.tolist()) if exact else _draws(values, permutations, seed)
    null = np.concatenate([_spread(part, sizes) for part in drawn])
    reached = int((null >= observed - 1e-9).sum())
    p = reached / len(null) if exact else (1 + reached) / (1 + len(null))
    return Outcome(Value(observed), Value(p), len(null), exact)


def _why_not(groups: Mapping[str, Sequence[FoldResult]]) -> str:
    if not groups:
        return "no patient has a value"
    if len(groups) == 1:
        return "one level only"
    return _UNIQUE if all(len(own) == 1 for own in groups.values()) else ""


def _level(name: str, folds: Sequence[FoldResult]) -> Level:
    positive = [fold.call for fold in folds if fold.label == 1]
    negative = [1 - fold.call for fold in folds if fold.label == 0]
    shares = [_proportion(positive, "no positive patient"), _proportion(negative, "no negative patient")]
    return Level(name, len(positive), len(negative), *shares[0], *shares[1])


def _proportion(right: Sequence[int], reason: str) -> tuple[Value, Interval]:
    interval = clopper_pearson(sum(right), len(right))
    if not right:
        return Value(None, reason), Interval(Value(None, reason), Value(None, reason), interval.method)
    return Value(sum(right) / len(right)), interval


def _gaps(
    levels: Sequence[Level], groups: Mapping[str, Sequence[FoldResult]], permutations: int, seed: int
) -> dict[str, Outcome]:
    empty = [f"no positive patient with {level.name}" for level in levels if not level.positives]
    empty += [f"no negative patient with {level.name}" for level in levels if not level.negatives]
    if empty:
        none = Value(None, "; ".join(empty) if len(empty) <= 2 else f"{len(empty)} empty cells of label by level")
        return dict.fromkeys(_GAPS, Outcome(none, none))
    return {
        name: gap([_measured(name, label, own) for own in groups.values()], permutations=permutations, seed=seed)
        for name, label in _GAPS.items()
    }


def _measured(name: str, label: int, folds: Sequence[FoldResult]) -> list[float]:
    own = [fold for fold in folds if fold.label == label]
    if name.startswith("cells"):
        return [(fold.counts.tp + fold.counts.tn) / fold.cells for fold in own]
    return [float(fold.call == label) for fold in own]


def _log_table(sizes: NDArray[np.int64], positives: NDArray[np.int64]) -> Array:
    """Give the logarithm of a table's probability, for one table or many as rows."""
    ways = _log_choose(sizes, positives).sum(axis=-1)
    return np.asarray(ways - _log_choose(sizes.sum(), positives.sum(axis=-1)))


def _log_choose(n: ArrayLike, k: ArrayLike) -> Array:
    whole, part = np.asarray(n, np.float64), np.asarray(k, np.float64)
    return np.asarray(gammaln(whole + 1) - gammaln(part + 1) - gammaln(whole - part + 1))


def _all_tables(sizes: NDArray[np.int64], chosen: int) -> NDArray[np.int64]:
    tables = np.stack(np.meshgrid(*(np.arange(size + 1) for size in sizes), indexing="ij"), axis=-1)
    flat = tables.reshape(-1, len(sizes))
    return np.asarray(flat[flat.sum(axis=1) == chosen])


def _spread(values: Array, sizes: NDArray[np.int64]) -> Array:
    """Give the highest less the lowest mean of consecutive groups, row by row."""
    means = np.add.reduceat(values, np.cumsum(sizes) - sizes, axis=1) / sizes
    return np.asarray(np.ptp(means, axis=1))


def _arrangements(sizes: Sequence[int]) -> int:
    return math.prod(math.comb(sum(sizes[: place + 1]), size) for place, size in enumerate(sizes))


def _all_arrangements(values: Array, sizes: Sequence[int]) -> Iterator[Array]:
    yield values[np.array(list(_split(tuple(range(len(values))), sizes)))]


def _split(places: tuple[int, ...], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every way to split places into groups of these sizes, one group after the other."""
    if len(sizes) == 1:
        yield places
        return
    for first in combinations(places, sizes[0]):
        rest = tuple(place for place in places if place not in first)
        for others in _split(rest, sizes[1:]):
            yield first + others


def _draws(values: Array, permutations: int, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(values))
    for start in range(0, permutations, step):
        yield rng.permuted(np.broadcast_to(values, (min(step, permutations - start), len(values))), axis=1)

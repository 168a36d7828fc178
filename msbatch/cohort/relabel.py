"""Permuted labels, drawn once: each arrangement another one, and none of them the true one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count

import numpy as np

from msbatch.cohort.facts import Facts
from msbatch.errors import MsbatchError
from msbatch.files import sha256_json
from msbatch.plan import Fold, Relabelling
from msbatch.relabelling import Labels, permute_cells

DrawFolds = Callable[[Facts], tuple[Fold, ...]]


def relabel_patients(cohort: Facts, number: int, seed: int, draw: DrawFolds) -> list[Relabelling]:
    """Permute labels among patients, and draw the folds anew under each arrangement.

    An arrangement that the design cannot be drawn for is passed over: the true labels are of those that it can
    be drawn for, and among these every one is as likely.

    Parameters
    ----------
    cohort : mapping of str to PatientFacts
        Every patient has one class.
    number : int
        How many.
    seed : int
        Decides the lots, together with the identifiers.
    draw : callable
        Draws the folds of a cohort.

    Raises
    ------
    MsbatchError
        If there are not so many arrangements.
    """
    found: list[Relabelling] = []
    arrangements = _arrangements(cohort, seed)
    while len(found) < number:
        labels = next(arrangements, None)
        if labels is None:
            raise _too_few(len(found))
        with suppress(MsbatchError):
            folds = draw(_under(cohort, labels))
            found.append(Relabelling(number=len(found) + 1, labels=labels, seed=None, folds=folds))
    return found


def relabel_cells(labels: Mapping[str, Labels], number: int, seed: int) -> list[Relabelling]:
    """Permute labels among the cells of each patient; the folds stay, since they depend on counts alone.

    Parameters
    ----------
    labels : mapping of str to ndarray of uint8
        Of each patient's cells.
    number : int
        How many.
    seed : int
        Decides the lots, together with the identifiers.

    Raises
    ------
    MsbatchError
        If there are not so many arrangements.
    """
    total = math.prod(math.comb(len(own), int(own.sum())) for own in labels.values())
    if number >= total:
        raise _too_few(total - 1)
    seen = {_digest(labels)}
    seeds: list[int] = []
    for lot in count():
        if len(seeds) == number:
            break
        own_seed = int(sha256_json([seed, "cells", lot])[:8], 16)
        digest = _digest({patient: permute_cells(own, own_seed, patient) for patient, own in labels.items()})
        seeds += [] if digest in seen else [own_seed]
        seen.add(digest)
    return [Relabelling(number=place, labels={}, seed=own_seed, folds=()) for place, own_seed in enumerate(seeds, 1)]


def _arrangements(cohort: Facts, seed: int) -> Iterator[dict[str, int]]:
    """Yield every arrangement but the true one, each once, in an order that the seed decides."""
    negative = next(iter(next(iter(cohort.values())).cells))
    true = frozenset(patient for patient, facts in cohort.items() if not facts.cells[negative])
    total, seen = math.comb(len(cohort), len(true)), {true}
    for lot in count():
        if len(seen) == total:
            return
        lots = {patient: sha256_json([seed, "labels", lot, patient]) for patient in cohort}
        positive = frozenset(sorted(cohort, key=lots.__getitem__)[: len(true)])
        if positive not in seen:
            seen.add(positive)
            yield {patient: int(patient in positive) for patient in sorted(cohort)}


def _under(cohort: Facts, labels: Mapping[str, int]) -> Facts:
    """Give every patient all their cells in the class of these labels."""
    classes = list(next(iter(cohort.values())).cells)
    totals = {patient: sum(facts.cells.values()) for patient, facts in cohort.items()}
    cells = {p: {name: totals[p] * (labels[p] == place) for place, name in enumerate(classes)} for p in cohort}
    return {patient: replace(facts, cells=cells[patient]) for patient, facts in cohort.items()}


def _digest(labels: Mapping[str, Labels]) -> bytes:
    return hashlib.sha256(np.concatenate([labels[patient] for patient in sorted(labels)]).tobytes()).digest()


def _too_few(number: int) -> MsbatchError:
    return MsbatchError(
        f"The labels can be arranged in {number} other ways that can be planned, and no more.",
        f"Ask for at most --permute-labels {number}.",
    )

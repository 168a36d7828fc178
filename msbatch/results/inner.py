"""A penalty chosen from the training patients of each fold alone, for observed and permuted labels by one rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msbatch.results.decomposition import Decomposition
from msbatch.results.head import HeadError, head_at
from msbatch.results.matrix import Array
from msbatch.results.pairs import Pairs, classes_of, too_many

# Of the label-free penalty, the largest first. The error of ridge regression is flat about its least, so decades do.
MULTIPLES = (100.0, 10.0, 1.0, 0.1, 0.01)


@dataclass(frozen=True)
class InnerPenalty:
    """For each held-out patient, the penalty that predicts the others best when each of them is left out as well.

    Where penalties predict alike it is the larger one. The choice knows the held-out patient's label no more than the
    model does, and is made anew for other labels. Made by `inner_penalty`.

    Attributes
    ----------
    cohort : Decomposition
        Of the features.
    penalties : tuple of float
        To choose from, the largest first.
    """

    cohort: Decomposition = field(repr=False)
    penalties: tuple[float, ...]
    _misses: Array = field(repr=False)  # (L, P, P, P): by penalty and held-out patient, label less mean prediction
    _scores: Array = field(repr=False)  # (L, P, P)

    def choose(self, classes: ArrayLike) -> NDArray[np.intp]:
        """Give which penalty is chosen for each held-out patient.

        Parameters
        ----------
        classes : array_like of float, shape (P,) or (P, k)
            Of each patient; every column is a question of its own.

        Returns
        -------
        ndarray of int, of the same shape
            Places in `penalties`.
        """
        given = np.asarray(classes, np.float64)
        errors = np.stack([((self._misses[:, held] @ given) ** 2).sum(axis=1) for held in range(len(given))], axis=1)
        # What rounding leaves of no error at all, as where the others have one label, is no reason to shrink less.
        return np.asarray(np.argmax(errors <= (1 + 1e-9) * errors.min(axis=0) + 1e-20, axis=0))

    def patient_scores(self, classes: ArrayLike) -> Array:
        """Give patients' scores under the penalties that these labels choose, shape (P,) or (P, k)."""
        scores = self._scores @ np.asarray(classes, np.float64)
        return np.asarray(np.take_along_axis(scores, self.choose(classes)[None], axis=0)[0])

    def cell_scores(self, labels: ArrayLike) -> Array:
        """Give cells' scores likewise; see `msbatch.results.head.Head.cell_scores`.

        Parameters
        ----------
        labels : array_like of float, shape (n,)
            Of each cell, the same in all cells of a patient.

        Raises
        ------
        HeadError
            If labels vary within a patient.
        """
        given = np.asarray(labels, np.float64)
        chosen, scores = self.choose(self.classes(given))[self.cohort.index], np.empty_like(given)
        for place in np.unique(chosen):
            own = chosen == place
            scores[own] = head_at(self.cohort, self.penalties[place] or None).cell_scores(given)[own]
        return scores

    def classes(self, labels: ArrayLike) -> Array:
        """Give the label of each patient, shape (P,), from those of cells; raise HeadError where a patient has two."""
        found = classes_of(self.cohort, labels)
        if found is None:
            raise HeadError("--lambda inner needs one label per patient, and labels vary within patients.")
        return found


def inner_penalty(cohort: Decomposition, multiples: Sequence[float] = MULTIPLES) -> InnerPenalty:
    """Leave out every pair of patients under every penalty; labels come later.

    Parameters
    ----------
    cohort : Decomposition
        From `msbatch.results.decomposition.decompose`.
    multiples : sequence of float
        Of the label-free penalty.

    Raises
    ------
    HeadError
        If there are fewer than three patients, or too many for their cells and columns, or some pair's absence leaves
        coefficients undecided.
    """
    patients = len(cohort.patients)
    penalties = tuple(sorted((multiple * cohort.penalty for multiple in multiples), reverse=True))
    every = list(combinations(range(patients), 2))
    reason = too_many(cohort, every, len(penalties)) if patients > 2 else f"{patients} are too few"
    if reason:
        raise HeadError(f"--lambda inner leaves out pairs of patients: {reason}.", "Use the label-free penalty.")
    misses, pairs = np.zeros((len(penalties), patients, patients, patients)), Pairs(cohort)
    for (first, second), (place, penalty) in product(every, enumerate(penalties)):
        of_first, of_second = pairs.maps(first, second, penalty)
        misses[place, first, second], misses[place, second, first] = -of_second, -of_first
        misses[place, first, second, second] = misses[place, second, first, first] = 1.0
    scores = np.stack([head_at(cohort, penalty or None).score_map() for penalty in penalties])
    return InnerPenalty(cohort, penalties, misses, scores)

"""Two patients left out at once, exactly, and the area under the ROC curve that follows.

What a model without the patients in S says of their rows follows from the same columns Q and diagonal C as one patient
left out (see `msbatch.results.head`). The mean prediction of one of them is a linear map of the other patients' labels:

    1'/n_h W^(-1/2) (I - H_SS)^-1 Q_S C (Q' D),  where D takes labels of patients to weighted rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msbatch.config import MOST_PAIRED
from msbatch.results.decomposition import Decomposition
from msbatch.results.head import Head, HeadError, factorise, solve
from msbatch.results.matrix import Array, space
from msbatch.results.metrics import Value

OPERATIONS = 1e12  # multiplications they may take: about a minute and a half on one core


class Pairs:
    """Patients' mean predictions by models that were fitted without two patients.

    Parameters
    ----------
    cohort : Decomposition
        Its labels come later, and every penalty is as good.
    """

    def __init__(self, cohort: Decomposition) -> None:
        self.cohort = cohort
        self._spread = cohort.spread()
        scale = np.sqrt(cohort.weights)
        self._dense = _by_columns(cohort)
        self._pulls = [1 / (len(scale[rows]) * scale[rows]) for rows in cohort.rows]
        self._means = np.column_stack(
            [pull @ cohort.basis[rows] for pull, rows in zip(self._pulls, cohort.rows, strict=True)]
        )
        self._grams = self._all_grams() if self._dense.any() else np.empty((0, 0, 0))

    def maps(self, first: int, second: int, penalty: float) -> Array:
        """Give two rows: what takes labels of patients to the mean prediction of the first, and of the second.

        Parameters
        ----------
        first, second : int
            Numbers of the two patients left out.
        penalty : float
            Lambda.

        Returns
        -------
        ndarray of float64, shape (2, P)
            0 for the two themselves.

        Raises
        ------
        HeadError
            If the other cells do not decide the coefficients of the nuisance columns.
        """
        shrinkage = self.cohort.shrinkage(penalty)
        names = f"patients {self.cohort.patients[first]} and {self.cohort.patients[second]}"
        way = self._by_columns if self._dense[first, second] else self._by_rows
        found = way(first, second, shrinkage, names).T @ self._spread
        found[:, [first, second]] = 0.0
        return np.asarray(found)

    def _by_columns(self, first: int, second: int, shrinkage: Array, names: str) -> Array:
        """Give C Q_S' (I - H_SS)^-1 of both means, shape (f + r, 2), by a factor of Q's columns."""
        root = np.sqrt(shrinkage)[:, None]
        factor = factorise(root * (self._grams[first] + self._grams[second]) * root[:, 0], names)
        return np.asarray(root * solve(factor, root * self._means[:, [first, second]]))

    def _by_rows(self, first: int, second: int, shrinkage: Array, names: str) -> Array:
        """Give the same by a factor of the rows left out."""
        left_out = np.vstack([self.cohort.basis[self.cohort.rows[own]] for own in (first, second)])
        factor = factorise((left_out * shrinkage) @ left_out.T, names)
        pulls = np.zeros((len(left_out), 2))
        split = len(self._pulls[first])
        pulls[:split, 0], pulls[split:, 1] = self._pulls[first], self._pulls[second]
        return np.asarray(shrinkage[:, None] * (left_out.T @ solve(factor, pulls)))

    def _all_grams(self) -> Array:
        columns = self.cohort.basis.shape[1]
        grams = space((len(self.cohort.rows), columns, columns), self.cohort.budget_bytes)
        for own, rows in zip(grams, self.cohort.rows, strict=True):
            np.matmul(self.cohort.basis[rows].T, self.cohort.basis[rows], out=own)
        return grams


def leave_pair_out_auc(head: Head, labels: ArrayLike) -> Value:
    """Give the share of pairs that the one model without both ranks right; ties count half (Airola et al. 2011).

    One model's predictions compare, whereas patients' scores of different models do not quite.

    Parameters
    ----------
    head : Head
        Its penalty is used.
    labels : array_like, shape (n,)
        Of each cell, 0 or 1.
    """
    classes = classes_of(head.cohort, labels)
    if classes is None:
        return Value(None, "labels vary within patients")
    positive, negative = np.flatnonzero(classes == 1).tolist(), np.flatnonzero(classes == 0).tolist()
    pairs = list(product(positive, negative))
    reason = _why_not(head, len(positive), len(negative)) or too_many(head.cohort, pairs, 1)
    if reason:
        return Value(None, reason)
    out = Pairs(head.cohort)
    try:
        apart = np.array([np.subtract(*(out.maps(*pair, head.penalty) @ classes)) for pair in pairs])
    except HeadError as error:
        return Value(None, error.problem)
    tied = np.abs(apart) < 1e-12
    return Value(float(np.mean(np.where(tied, 0.5, apart > 0))))


def classes_of(cohort: Decomposition, labels: ArrayLike) -> Array | None:
    """Give the label of each patient, shape (P,), from those of cells, shape (n,); None where it varies within one."""
    given = np.asarray(labels, np.float64)
    first = np.array([given[rows][0] for rows in cohort.rows])
    return first if (given == first[cohort.index]).all() else None


def too_many(cohort: Decomposition, pairs: Sequence[tuple[int, int]], penalties: int) -> str:
    """Say why leaving out all these pairs, under so many penalties, would take too long, or nothing."""
    patients, columns = len(cohort.patients), cohort.basis.shape[1]
    if patients > MOST_PAIRED:
        return f"{patients} patients are too many, it takes at most {MOST_PAIRED}"
    cheapest = np.minimum(*_ways(cohort))
    operations = penalties * sum(float(cheapest[pair]) for pair in pairs)
    if operations > OPERATIONS:
        return f"{patients} patients with {columns} columns would take {operations / OPERATIONS:.1f} times too long"
    return ""


def _why_not(head: Head, positive: int, negative: int) -> str:
    if not positive or not negative:
        return "one class only"
    if min(positive, negative) == 1:
        return "one patient only in a class"
    return "" if head.penalty else "the features do not vary"


def _by_columns(cohort: Decomposition) -> NDArray[np.bool_]:
    by_columns, by_rows = _ways(cohort)
    return np.asarray(by_columns < by_rows)


def _ways(cohort: Decomposition) -> tuple[Array, Array]:
    columns = float(cohort.basis.shape[1])
    left_out = np.add.outer(cohort.counts, cohort.counts).astype(np.float64)
    return np.full_like(left_out, columns**3 / 3), left_out**3 / 3 + columns * left_out**2

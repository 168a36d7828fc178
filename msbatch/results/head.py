"""The exact leave-one-patient-out ridge head: one decomposition in place of one refit per patient.

Ridge regression predicts H y, and H depends on the features alone. Writing I - H for the rows of one patient g in
blocks shows what a refit on the other rows would predict for them (An, Liu & Venkatesh 2007, Pattern Recognition 40):

    y_g - (I - H_gg)^-1 (y_g - (H y)_g)

The intercept and nuisance columns are part of H and carry no penalty. Weights enter as the square roots that rows are
multiplied by, the intercept's column among them. H is kept as Q C Q' with C a diagonal (see
`msbatch.results.decomposition`), so that only H_gg and products with H are ever formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dpotrf

from msbatch.errors import MsbatchError
from msbatch.results.decomposition import NEGLIGIBLE, Decomposition, decompose
from msbatch.results.matrix import BUDGET_BYTES, StackedRows, space
from msbatch.results.matrix import Array as Array


class HeadError(MsbatchError):
    """The head has no answer for a patient, because the other patients do not decide its coefficients."""


@dataclass(frozen=True)
class Head:
    """Predictions for every patient's cells from a model that was fitted without that patient.

    Made by `fit_head`, without labels; labels come with each question, one vector or many as columns.

    Attributes
    ----------
    cohort : Decomposition
        Of the features.
    penalty : float
        Lambda; 0 where no feature is left to penalise.
    """

    cohort: Decomposition = field(repr=False)
    penalty: float
    _factors: tuple[Array, ...] = field(repr=False)

    @property
    def patients(self) -> tuple[str, ...]:
        """Sorted."""
        return self.cohort.patients

    @property
    def index(self) -> NDArray[np.intp]:
        """Which of the patients each cell belongs to, shape (n,)."""
        return self.cohort.index

    @property
    def leverage(self) -> Array:
        """The diagonal of H, shape (n,); it tells cells apart without a look at names, order or labels."""
        basis, shrinkage = self.cohort.basis, self.cohort.shrinkage(self.penalty)
        diagonal: Array = np.einsum("ij,ij,j->i", basis, basis, shrinkage)
        return diagonal

    def predict(self, labels: ArrayLike) -> Array:
        """Predict each cell's label from the other patients.

        Parameters
        ----------
        labels : array_like of float, shape (n,) or (n, k)
            Of each cell; every column is a question of its own.

        Returns
        -------
        ndarray of float64, of the same shape
        """
        given = np.asarray(labels, np.float64)
        flat = given.reshape(len(given), -1)
        scale, basis = np.sqrt(self.cohort.weights)[:, None], self.cohort.basis
        scaled = scale * flat
        rest = scaled - basis @ (self.cohort.shrinkage(self.penalty)[:, None] * (basis.T @ scaled))
        for patient, rows in enumerate(self.cohort.rows):
            rest[rows] = self._solve(patient, rest[rows])
        return np.asarray((flat - rest / scale).reshape(given.shape))

    def training_means(self, labels: ArrayLike) -> Array:
        """Give the weighted mean label of the cells that each patient's model was fitted on, shape (P,) or (P, k)."""
        given = np.asarray(labels, np.float64)
        flat = given.reshape(len(given), -1)
        sums = self._sum(self.cohort.weights[:, None] * flat)
        mass = self._sum(self.cohort.weights[:, None])
        means: Array = (sums.sum(axis=0) - sums) / (mass.sum() - mass)
        return means.reshape((len(self.patients), *given.shape[1:]))

    def cell_scores(self, labels: ArrayLike) -> Array:
        """Give predictions less the mean label of their training cells, shape (n,) or (n, k).

        That mean leans against the held-out label, so scores of different patients compare only without it.
        """
        return self.predict(labels) - self.training_means(labels)[self.index]

    def patient_scores(self, labels: ArrayLike) -> Array:
        """Give each patient's mean of cell scores, shape (P,) or (P, k)."""
        return self.patient_means(self.cell_scores(labels))

    def patient_means(self, values: ArrayLike) -> Array:
        """Give plain means over each patient's cells, shape (P,) or (P, k)."""
        given = np.asarray(values, np.float64)
        return np.stack([given[rows].mean(axis=0) for rows in self.cohort.rows])

    def prediction_map(self) -> Array:
        """Give the matrix from labels of patients to patients' mean predictions, shape (P, P).

        Where all cells carry their patient's label, any number of label vectors needs no more than this.
        """
        scale, pulls, kept = np.sqrt(self.cohort.weights), [], []
        for patient, rows in enumerate(self.cohort.rows):
            pull = self._solve(patient, 1 / (len(scale[rows]) * scale[rows, None]))[:, 0]
            pulls.append(pull @ self.cohort.basis[rows])
            kept.append(1 - pull @ scale[rows])
        return np.diag(kept) + (np.stack(pulls) * self.cohort.shrinkage(self.penalty)) @ self.cohort.spread()

    def score_map(self) -> Array:
        """Give the matrix from labels of patients to patients' scores, shape (P, P)."""
        # The training means of a label that one patient alone has; spelt out, since cells by patients may not fit.
        mass = self._sum(self.cohort.weights)
        means = (mass - np.diag(mass)) / (mass.sum() - mass)[:, None]
        return np.asarray(self.prediction_map() - means)

    def _solve(self, patient: int, right: Array) -> Array:
        """Solve (I - H_gg) x = right, of shape (n_g, k)."""
        basis, factor = self.cohort.basis[self.cohort.rows[patient]], self._factors[patient]
        if len(factor) == len(basis):
            return solve(factor, right)
        root = np.sqrt(self.cohort.shrinkage(self.penalty))[:, None]
        return np.asarray(right + basis @ (root * solve(factor, root * (basis.T @ right))))

    def _sum(self, values: Array) -> Array:
        return np.stack([values[rows].sum(axis=0) for rows in self.cohort.rows])


def fit_head(
    features: ArrayLike | StackedRows,
    groups: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    nuisance: ArrayLike | None = None,
    penalty: float | None = None,
    budget_bytes: int = BUDGET_BYTES,
) -> Head:
    """Decompose the features of a cohort once, for every patient left out in turn.

    Parameters
    ----------
    features : array_like of float, or StackedRows, shape (n, d)
        Of each cell, as they come: nothing is scaled over all patients. d may be 0, above n or below.
    groups : array_like, shape (n,)
        The patient of each cell.
    weights : array_like of float, shape (n,), optional
        Above 0; they must not depend on labels, or permuted labels would need other weights.
    nuisance : array_like of float, shape (n, k), optional
        Columns that are fitted without penalty, beside the intercept.
    penalty : float, optional
        Lambda, above 0; by default the mean squared singular value, other than 0, of the features less what
        intercept and nuisance explain. It knows no labels. Rounding grows as the largest squared singular value
        over lambda.
    budget_bytes : int
        A matrix as large as the features in float64 lies in memory up to this size, else in a temporary file.

    Raises
    ------
    HeadError
        If without some patient the other cells do not decide the coefficients of the nuisance columns.
    ValueError
        If shapes disagree, a number is not finite, or there are fewer than two patients.
    OSError
        If there is no room for a temporary file.
    """
    cohort = decompose(features, groups, weights=weights, nuisance=nuisance, budget_bytes=budget_bytes)
    return head_at(cohort, penalty)


def head_at(cohort: Decomposition, penalty: float | None = None) -> Head:
    """Give the head of a cohort that is already decomposed, as `fit_head` does."""
    if penalty is not None and not 0 < penalty < np.inf:
        raise ValueError(f"the penalty must be a number above 0, not {penalty}")
    used = cohort.penalty if penalty is None or not len(cohort.squares) else penalty
    return Head(cohort, used, tuple(_factors(cohort, cohort.shrinkage(used))))


def factorise(block: Array, left_out: str, out: Array | None = None) -> Array:
    """Give the lower Cholesky factor of I - block, where block is H between the rows left out, or R'R of them.

    Raises
    ------
    HeadError
        If the rows that are left do not decide the coefficients of the columns without a penalty.
    """
    own = np.empty(block.shape, order="F") if out is None else out
    np.subtract(np.eye(len(block)), block, out=own)
    found, failed = dpotrf(own, lower=1, overwrite_a=1)
    if failed or np.diag(found).min() ** 2 < NEGLIGIBLE:
        raise HeadError(f"Without {left_out} the other cells do not decide the nuisance columns' coefficients.")
    return np.asarray(found)


def solve(factor: Array, right: Array) -> Array:
    """Solve (I - block) x = right with a factor of `factorise`."""
    return np.asarray(cho_solve((factor, True), right, check_finite=False))


def _factors(cohort: Decomposition, shrinkage: Array) -> Iterator[Array]:
    """Factorise I - H_gg for each patient g, or, with more cells than columns in Q, what is smaller.

    By Woodbury's identity its inverse is I + R (I - R'R)^-1 R', with R = Q C^(1/2) in the rows of g.
    """
    columns, root = cohort.basis.shape[1], np.sqrt(shrinkage)
    sizes = np.minimum(cohort.counts, columns)
    room = np.split(space((int((sizes**2).sum()),), cohort.budget_bytes), np.cumsum(sizes**2)[:-1])
    for name, rows, size, own in zip(cohort.patients, cohort.rows, sizes.tolist(), room, strict=True):
        basis = cohort.basis[rows]
        block = root[:, None] * (basis.T @ basis) * root if size < len(basis) else (basis * shrinkage) @ basis.T
        yield factorise(block, f"patient {name}", out=own.reshape((size, size), order="F"))

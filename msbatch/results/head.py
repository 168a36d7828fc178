"""The exact leave-one-patient-out ridge head: one decomposition in place of one refit per patient.

Ridge regression predicts H y, and H depends on the features alone. Writing I - H for the rows of one patient g in
blocks shows what a refit on the other rows would predict for them (An, Liu & Venkatesh 2007, Pattern Recognition 40):

    y_g - (I - H_gg)^-1 (y_g - (H y)_g)

The intercept and nuisance columns are part of H and carry no penalty. Weights enter as the square roots that rows are
multiplied by, the intercept's column among them. H is kept as a root B with H = B B', so that only H_gg and products
with H are ever formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from msbatch.errors import MsbatchError

Array = NDArray[np.float64]

_NEGLIGIBLE = 1e-10  # of a column's own length: what rounding leaves of a column that others explain


class HeadError(MsbatchError):
    """The head has no answer for a patient, because the other patients do not decide its coefficients."""


@dataclass(frozen=True)
class Head:
    """Predictions for every patient's cells from a model that was fitted without that patient.

    Made by `fit_head`, without labels; labels come with each question, one vector or many as columns.

    Attributes
    ----------
    patients : tuple of str
        Sorted.
    index : ndarray of int, shape (n,)
        Which of the patients each cell belongs to.
    weights : ndarray of float64, shape (n,)
        Of each cell.
    penalty : float
        Lambda; 0 where no feature is left to penalise.
    root : ndarray of float64, shape (n, r)
        B, with H = B B' between rows multiplied by the root of their weight.
    """

    patients: tuple[str, ...]
    index: NDArray[np.intp]
    weights: Array
    penalty: float
    root: Array = field(repr=False)
    _rows: tuple[NDArray[np.intp], ...] = field(repr=False)
    _solvers: tuple[_Block, ...] = field(repr=False)

    @property
    def leverage(self) -> Array:
        """The diagonal of H, shape (n,); it tells cells apart without a look at names, order or labels."""
        diagonal: Array = np.einsum("ij,ij->i", self.root, self.root)
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
        scale = np.sqrt(self.weights).reshape((-1,) + (1,) * (given.ndim - 1))
        scaled = scale * given
        rest = scaled - self.root @ (self.root.T @ scaled)
        for rows, block in self._blocks():
            rest[rows] = block.solve(rest[rows])
        return given - rest / scale

    def training_means(self, labels: ArrayLike) -> Array:
        """Give the weighted mean label of the cells that each patient's model was fitted on, shape (P,) or (P, k)."""
        given = np.asarray(labels, np.float64)
        flat = given.reshape(len(given), -1)
        sums = self._sum(self.weights[:, None] * flat)
        mass = self._sum(self.weights[:, None])
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
        return np.stack([given[rows].mean(axis=0) for rows in self._rows])

    def prediction_map(self) -> Array:
        """Give the matrix from labels of patients to patients' mean predictions, shape (P, P).

        Where all cells carry their patient's label, any number of label vectors needs no more than this.
        """
        scale = np.sqrt(self.weights)
        spread = self._sum(self.root * scale[:, None])
        pulls, kept = [], []
        for rows, block in self._blocks():
            pull = block.solve(1 / (len(rows) * scale[rows]))
            pulls.append(pull @ self.root[rows])
            kept.append(1 - pull @ scale[rows])
        return np.diag(kept) + np.stack(pulls) @ spread.T

    def score_map(self) -> Array:
        """Give the matrix from labels of patients to patients' scores, shape (P, P)."""
        # The training means of a label that one patient alone has; spelt out, since cells by patients may not fit.
        mass = self._sum(self.weights)
        means = (mass - np.diag(mass)) / (mass.sum() - mass)[:, None]
        return np.asarray(self.prediction_map() - means)

    def _blocks(self) -> Iterator[tuple[NDArray[np.intp], _Block]]:
        return zip(self._rows, self._solvers, strict=True)

    def _sum(self, values: Array) -> Array:
        return np.stack([values[rows].sum(axis=0) for rows in self._rows])


def fit_head(
    features: ArrayLike,
    groups: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    nuisance: ArrayLike | None = None,
    penalty: float | None = None,
) -> Head:
    """Decompose the features of a cohort once, for every patient left out in turn.

    Parameters
    ----------
    features : array_like of float, shape (n, d)
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

    Raises
    ------
    HeadError
        If without some patient the other cells do not decide the coefficients of the nuisance columns.
    ValueError
        If shapes disagree, a number is not finite, or there are fewer than two patients.
    """
    names, index = np.unique(np.asarray(groups).astype(np.str_), return_inverse=True)
    n = len(index)
    matrix, extra = _matrix(features, n, "features"), _matrix(np.empty((n, 0)) if nuisance is None else nuisance, n)
    own = _weights(weights, n)
    if len(names) < 2:
        raise ValueError("leaving a patient out needs at least two patients")
    scale = np.sqrt(own)[:, None]
    free = _free_columns(scale, scale * extra)
    penalised, used = _ridge_root(_without(scale * matrix, free), penalty)
    root = np.hstack([free, penalised])
    rows = _rows_of(index, len(names))
    solvers = tuple(_block(root[own_rows], str(name)) for name, own_rows in zip(names, rows, strict=True))
    return Head(tuple(names.tolist()), index, own, used, root, rows, solvers)


@dataclass(frozen=True)
class _Block:
    """(I - H_gg)^-1 for one patient, by the smaller of two factorisations.

    With more cells than columns of the root it follows from Woodbury's identity: I + B (I - B'B)^-1 B'.
    """

    root: Array
    factor: tuple[Array, bool]
    small: bool

    def solve(self, right: Array) -> Array:
        """Solve (I - H_gg) x = right, for one vector or many as columns."""
        inner = self.root.T @ right if self.small else right
        solved: Array = cho_solve(self.factor, inner, check_finite=False)
        return right + self.root @ solved if self.small else solved


def _block(root: Array, name: str) -> _Block:
    small = root.shape[1] < root.shape[0]
    gram = root.T @ root if small else root @ root.T
    try:
        factor = cho_factor(np.eye(len(gram)) - gram, lower=True)
    except LinAlgError:
        factor = (np.zeros((1, 1)), True)
    if np.diag(factor[0]).min() ** 2 < _NEGLIGIBLE:
        raise HeadError(f"Without patient {name} the other cells do not decide the nuisance columns' coefficients.")
    return _Block(root, factor, small)


def _free_columns(intercept: Array, extra: Array) -> Array:
    """Give an orthonormal basis of the intercept and the nuisance columns, shape (n, at most 1 + k)."""
    first = intercept / np.linalg.norm(intercept)
    rest = _without(extra, first)
    lengths = np.linalg.norm(rest, axis=0)
    basis, sizes, _ = np.linalg.svd(rest[:, lengths > 0] / lengths[lengths > 0], full_matrices=False)
    return np.hstack([first, basis[:, sizes > _NEGLIGIBLE * max(sizes, default=1.0)]])


def _without(columns: Array, basis: Array) -> Array:
    """Give the columns less their projection on a basis; of a column within it exactly nothing is left."""
    rest = columns - basis @ (basis.T @ columns)
    rest[:, np.linalg.norm(rest, axis=0) <= _NEGLIGIBLE * np.linalg.norm(columns, axis=0)] = 0.0
    return rest


def _ridge_root(rest: Array, penalty: float | None) -> tuple[Array, float]:
    """Give B with B B' = U diag(s^2 / (s^2 + lambda)) U', and lambda; from the smaller of the two Gram matrices."""
    if penalty is not None and not 0 < penalty < np.inf:
        raise ValueError(f"the penalty must be a number above 0, not {penalty}")
    wide = rest.shape[1] > rest.shape[0]
    squares, vectors = np.linalg.eigh(rest @ rest.T if wide else rest.T @ rest)
    real = squares > np.finfo(np.float64).eps * max(rest.shape) * max(squares, default=0.0)
    squares, vectors = squares[real], vectors[:, real]
    if not len(squares):
        return np.empty((len(rest), 0)), 0.0
    used = float(squares.mean()) if penalty is None else penalty
    if wide:
        return vectors * np.sqrt(squares / (squares + used)), used
    return (rest @ vectors) / np.sqrt(squares + used), used


def _rows_of(index: NDArray[np.intp], patients: int) -> tuple[NDArray[np.intp], ...]:
    order = np.argsort(index, kind="stable")
    return tuple(np.split(order, np.cumsum(np.bincount(index, minlength=patients))[:-1]))


def _matrix(values: ArrayLike, rows: int, name: str = "nuisance columns") -> Array:
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or len(matrix) != rows:
        raise ValueError(f"{name} must have shape ({rows}, columns), not {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite")
    return matrix


def _weights(weights: ArrayLike | None, rows: int) -> Array:
    given = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (rows,) or not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"weights must be {rows} numbers above 0")
    return given

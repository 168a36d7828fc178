"""What a cohort's features are without labels and without a penalty: their principal components, found once.

Features are read in blocks of rows, a few times over, and never held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msbatch.results.matrix import BUDGET_BYTES, Array, Floats, StackedRows, blocks, space

Rows = slice | NDArray[np.intp]

NEGLIGIBLE = 1e-10  # of a column's own length: what rounding leaves of a column that others explain


@dataclass(frozen=True)
class Decomposition:
    """Orthogonal columns Q such that ridge regression with any penalty lambda predicts H y.

    H = Q diag(shrinkage(lambda)) Q', between rows multiplied by the root of their weight.

    Attributes
    ----------
    patients : tuple of str
        Sorted.
    index : ndarray of int, shape (n,)
        Which of the patients each cell belongs to.
    weights : ndarray of float64, shape (n,)
        Of each cell.
    basis : ndarray of float64, shape (n, f + r)
        Q: f columns of length 1 that span intercept and nuisance columns, then the r principal components of what those
        leave of the features, each as long as its singular value.
    squares : ndarray of float64, shape (r,)
        Squared singular values, none of them 0.
    rows : tuple of slice or ndarray of int
        Of each patient.
    budget_bytes : int
        Above which a matrix made from this one lies in a file.
    """

    patients: tuple[str, ...]
    index: NDArray[np.intp]
    weights: Array
    basis: Array = field(repr=False)
    squares: Array = field(repr=False)
    rows: tuple[Rows, ...] = field(repr=False)
    budget_bytes: int = BUDGET_BYTES

    @property
    def penalty(self) -> float:
        """The mean squared singular value, which knows no labels; 0 where no feature is left to penalise."""
        return float(self.squares.mean()) if len(self.squares) else 0.0

    @property
    def counts(self) -> NDArray[np.intp]:
        """Cells of each patient, shape (P,)."""
        return np.bincount(self.index)

    def shrinkage(self, penalty: float) -> Array:
        """Give the diagonal between Q and Q', shape (f + r,): 1 for free columns, 1 / (s^2 + lambda) for the others."""
        free = self.basis.shape[1] - len(self.squares)
        return np.concatenate([np.ones(free), 1 / (self.squares + penalty)])

    def spread(self) -> Array:
        """Give Q' D, where D takes labels of patients to weighted rows, shape (f + r, P)."""
        scale = np.sqrt(self.weights)
        return np.column_stack([scale[rows] @ self.basis[rows] for rows in self.rows])


def decompose(
    features: ArrayLike | StackedRows,
    groups: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    nuisance: ArrayLike | None = None,
    budget_bytes: int = BUDGET_BYTES,
) -> Decomposition:
    """Decompose the features of a cohort.

    Parameters
    ----------
    features, groups, weights, nuisance, budget_bytes
        As `msbatch.results.head.fit_head` takes them.

    Raises
    ------
    ValueError
        If shapes disagree, a number is not finite, or there are fewer than two patients.
    OSError
        If there is no room for a temporary file.
    """
    names, index = np.unique(np.asarray(groups).astype(np.str_), return_inverse=True)
    n = len(index)
    given = features if isinstance(features, StackedRows) else np.asarray(features)
    extra = np.empty((n, 0)) if nuisance is None else np.asarray(nuisance, np.float64)
    _check_shape(given, n, "features")
    _check_shape(extra, n, "nuisance columns")
    if not np.isfinite(extra).all():
        raise ValueError("nuisance columns must be finite")
    own = _weights(weights, n)
    if len(names) < 2:
        raise ValueError("leaving a patient out needs at least two patients")
    scale = np.sqrt(own)[:, None]
    basis, squares = _components(_without(given, scale, _free_columns(scale, scale * extra)), budget_bytes)
    return Decomposition(tuple(names.tolist()), index, own, basis, squares, _rows_of(index), budget_bytes)


@dataclass(frozen=True)
class _Rest:
    """The weighted features less what free columns explain, block by block; of lost columns nothing is left."""

    features: Floats | StackedRows
    scale: Array
    free: Array
    pulls: Array
    lost: NDArray[np.bool_]

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        for rows, block in blocks(self.features):
            rest = self.scale[rows] * block
            rest -= self.free[rows] @ self.pulls
            rest[:, self.lost] = 0.0
            yield rows, rest

    def lengths(self) -> Array:
        squares = np.zeros(len(self.lost))
        for _, block in self.blocks():
            squares += (block**2).sum(axis=0)
        return np.sqrt(squares)


def _without(features: Floats | StackedRows, scale: Array, free: Array) -> _Rest:
    """Give the weighted features less their projection; of a column that free ones explain exactly nothing is left."""
    columns = features.shape[1]
    whole = _Rest(features, scale, free, np.zeros((free.shape[1], columns)), np.zeros(columns, np.bool_))
    pulls, squares = np.zeros_like(whole.pulls), np.zeros(columns)
    for rows, block in whole.blocks():
        pulls += free[rows].T @ block
        squares += (block**2).sum(axis=0)
    rest = replace(whole, pulls=pulls)
    return replace(rest, lost=rest.lengths() <= NEGLIGIBLE * np.sqrt(squares))


def _components(rest: _Rest, budget_bytes: int) -> tuple[Array, Array]:
    """Give Q, and the squared singular values, from the smaller of the two Gram matrices."""
    cells, columns = rest.features.shape
    wide = columns > cells
    squares, vectors = np.linalg.eigh(_gram_of_rows(rest) if wide else _gram_of_columns(rest))
    real = squares > np.finfo(np.float64).eps * max(cells, columns) * max(squares, default=0.0)
    squares, vectors, free = squares[real], vectors[:, real], rest.free.shape[1]
    basis = space((cells, free + len(squares)), budget_bytes)
    basis[:, :free] = rest.free
    if wide:
        np.multiply(vectors, np.sqrt(squares), out=basis[:, free:])
    elif len(squares):
        for rows, block in rest.blocks():
            basis[rows, free:] = block @ vectors
    return basis, squares


def _gram_of_columns(rest: _Rest) -> Array:
    columns = rest.features.shape[1]
    gram = np.zeros((columns, columns))
    for _, block in rest.blocks():
        gram += block.T @ block
    return gram


def _gram_of_rows(rest: _Rest) -> Array:
    """Give the lower triangle, which is all that its decomposition looks at."""
    cells = rest.features.shape[0]
    gram = np.zeros((cells, cells))
    for rows, block in rest.blocks():
        for others, other in rest.blocks():
            gram[rows, others] = block @ other.T
            if others == rows:
                break
    return gram


def _free_columns(intercept: Array, extra: Array) -> Array:
    """Give an orthonormal basis of the intercept and the nuisance columns, shape (n, at most 1 + k)."""
    first = intercept / np.linalg.norm(intercept)
    rest = extra - first @ (first.T @ extra)
    lengths = np.linalg.norm(rest, axis=0)
    kept = lengths > NEGLIGIBLE * np.linalg.norm(extra, axis=0)
    basis, sizes, _ = np.linalg.svd(rest[:, kept] / lengths[kept], full_matrices=False)
    return np.hstack([first, basis[:, sizes > NEGLIGIBLE * max(sizes, default=1.0)]])


def _rows_of(index: NDArray[np.intp]) -> tuple[Rows, ...]:
    """Give each patient's rows, as a slice where they stand together: slices are looked at without a copy."""
    order = np.argsort(index, kind="stable")
    found = np.split(order, np.cumsum(np.bincount(index))[:-1])
    return tuple(slice(int(own[0]), int(own[-1]) + 1) if np.ptp(own) + 1 == len(own) else own for own in found)


def _check_shape(matrix: Floats | StackedRows, rows: int, name: str) -> None:
    if matrix.ndim != 2 or len(matrix) != rows:
        raise ValueError(f"{name} must have shape ({rows}, columns), not {matrix.shape}")


def _weights(weights: ArrayLike | None, rows: int) -> Array:
    given = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (rows,) or not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"weights must be {rows} numbers above 0")
    return given

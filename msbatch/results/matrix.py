"""Matrices that may be larger than memory: read from files block by block, written to a file that nobody sees."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats = NDArray[np.floating]

BUDGET_BYTES = 1 << 30  # up to which a matrix lies in memory

_BLOCK = 1_000_000  # numbers in one block of rows


class StackedRows:
    """The rows of files, one file after another, as one matrix that is never in memory as a whole.

    Index it with a slice or an array of row numbers for a copy of these rows.

    Parameters
    ----------
    paths : sequence of Path
        Of .npy files of one shape (cells, d) each, float32 or float64, with the same d. They are opened whenever rows
        are read, so that their number may exceed that of files a process may hold open.

    Raises
    ------
    ValueError
        If there is no file, or one is no matrix of floats as wide as the first, or not whole.
    OSError
        If one cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise ValueError("there is no file to read rows from")
        self._paths = tuple(paths)
        self._width = _open(paths[0]).shape[1]
        parts = [_open(path, self._width) for path in self._paths]
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self._dtype = np.result_type(*{part.dtype for part in parts})
        self._chosen: NDArray[np.intp] = np.arange(self._starts[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self._chosen), self._width

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Floats:
        wanted = self._chosen[rows]
        found = np.empty((len(wanted), self._width), self._dtype)
        files = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(files):
            here = files == number
            found[here] = _open(self._paths[number], self._width)[wanted[here] - self._starts[number]]
        return found

    def subset(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> StackedRows:
        """Give some rows, by number or by mask, as a matrix of their own; nothing is read."""
        part = object.__new__(StackedRows)
        part.__dict__.update(vars(self))
        part._chosen = self._chosen[rows]
        return part


def blocks(features: Floats | StackedRows) -> Iterator[tuple[slice, Array]]:
    """Yield all rows in float64, some at a time, with where they are.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    size = max(1, _BLOCK // max(1, features.shape[1]))
    for start in range(0, len(features), size):
        rows = slice(start, min(start + size, len(features)))
        block = np.asarray(features[rows], np.float64)
        if not np.isfinite(block).all():
            raise ValueError("features must be finite")
        yield rows, block


def space(shape: tuple[int, ...], budget_bytes: int) -> Array:
    """Give an array to write to: in memory up to a budget, else in a file without a name, in the temporary folder.

    The file goes when the array does. All of it is reserved at once, so that a full disk is an error here and not a
    bus error later.

    Raises
    ------
    OSError
        If the disk has no room for it.
    """
    size_bytes = 8 * math.prod(shape)
    if size_bytes <= budget_bytes or not size_bytes:
        return np.empty(shape)
    with tempfile.TemporaryFile(prefix="msbatch-") as file:
        os.posix_fallocate(file.fileno(), 0, size_bytes)
        return np.asarray(np.memmap(file, np.float64, "r+", shape=shape))


def _open(path: Path, width: int | None = None) -> Floats:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, TokenError) as error:
        raise ValueError(f"{path} is not a whole .npy file of numbers: {error}") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != "f":
        raise ValueError(f"{path} is not a matrix of floats, one row a cell")
    if width not in (None, found.shape[1]):
        raise ValueError(f"{path} has {found.shape[1]} columns, where the first file has {width}")
    return found

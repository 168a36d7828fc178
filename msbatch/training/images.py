"""Images of cells: in memory, in memory that processes share, or left in the store."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msbatch.store import Store

Indices = Sequence[int] | NDArray[np.int64]


class SharedArray(np.ndarray[Any, np.dtype[np.uint8]]):
    """A uint8 array that processes started by this one hold in common: they are passed a handle, not a copy.

    Its memory has no name, so nothing stays behind, and no limit but that of the task's memory.
    """

    _handle: int

    def __new__(cls, shape: tuple[int, ...], handle: int | None = None) -> SharedArray:
        """Make an array of zeros, or show the one behind a handle."""
        size = max(1, int(np.prod(shape)))
        if handle is None:
            handle = os.memfd_create("msbatch")
            os.ftruncate(handle, size)
        array = super().__new__(cls, shape, np.uint8, mmap.mmap(handle, size))
        array._handle = handle
        weakref.finalize(array, os.close, handle)
        return array

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the handle; this can be done only while a process is started."""
        return _attach, (DupFd(self._handle), self.shape)


def _attach(handle: Any, shape: tuple[int, ...]) -> SharedArray:
    return SharedArray(shape, handle.detach())


class StoredImages:
    """Images of some patients that stay in the store; a contiguous dataset is mapped, any other read one by one.

    Parameters
    ----------
    store : Store
        Where they are; it may be closed afterwards.
    patients : sequence of str
        Whose images, one patient's after the other's.
    """

    def __init__(self, store: Store, patients: Sequence[str]) -> None:
        counts = [store.cells(patient) for patient in patients]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._starts = self._ends - counts
        self.shape = (sum(counts), store.size, store.size, 3)
        self._parts = [_part(store, patient, count) for patient, count in zip(patients, counts, strict=True)]

    def take(self, indices: Indices) -> NDArray[np.uint8]:
        """Read some images, shape (len(indices), S, S, 3)."""
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        parts = np.searchsorted(self._ends, indices, side="right")
        rows = np.asarray(indices, np.int64) - self._starts[parts]
        for place, (part, row) in enumerate(zip(parts.tolist(), rows.tolist(), strict=True)):
            images[place] = self._parts[part][row]
        return images


Images = NDArray[np.uint8] | StoredImages


class _Slices:
    """A patient's images, read through a handle that each process opens for itself: none survives a fork."""

    def __init__(self, path: Path, patient: str) -> None:
        self._path = path
        self._patient = patient
        self._opened: tuple[int, Store] | None = None

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), Store(self._path)
        images: NDArray[np.uint8] = self._opened[1].some_images(self._patient, [row])[0]
        return images


def _part(store: Store, patient: str, count: int) -> NDArray[np.uint8] | _Slices:
    offset = store.images_offset(patient)
    if offset is None:
        return _Slices(store.path, patient)
    return np.memmap(store.path, np.uint8, "r", offset, (count, store.size, store.size, 3))

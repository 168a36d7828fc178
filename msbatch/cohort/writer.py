"""The HDF5 file of a store, written patient by patient in a form that depends on its content alone."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from msbatch import __version__
from msbatch.cohort.features import FEATURES
from msbatch.schema import PATIENTS
from msbatch.store import FORMAT, VERSION, Store, StoreError

LIBRARIES = ("numpy", "pillow", "tifffile", "imagecodecs", "scikit-image", "h5py")
BLOCK = 8  # images copied at once


@dataclass(frozen=True)
class Cell:
    """What the store keeps of one image beside its canvas.

    Attributes
    ----------
    source : str
        Its file, relative to the folder of images.
    label : int
        0 negative, 1 positive.
    digest : str
        SHA-256 of the decoded pixels before fitting.
    extent : tuple of int
        Height and width in pixels before fitting.
    features : ndarray of float32, shape (k,)
    cropped : bool
        Whether a part fell outside the canvas.
    """

    source: str
    label: int
    digest: str
    extent: tuple[int, int]
    features: NDArray[np.float32]
    cropped: bool


Canvas = NDArray[np.uint8]


class _Disk(io.FileIO):
    """A file that keeps its first failure for `check`: HDF5 crashes the process where a write fails while it closes."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.failure is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.failure = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as error:
            self.failure = error
            return 0

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


class StoreWriter:
    """Writes patients into an open file; made by `create_store`."""

    def __init__(self, file: h5py.File, disk: _Disk, spool: IO[bytes], size_px: int, sources: bool) -> None:
        self._file = file
        self._disk = disk
        self._spool = spool
        self._size_px = size_px
        self._sources = sources
        file.create_group(PATIENTS)

    def add_patient(self, patient: str, attributes: Mapping[str, str], cells: Iterable[tuple[Cell, Canvas]]) -> int:
        """Write one patient and give the number of cells; writes nothing where there are none.

        Each canvas is uint8 of shape (S, S, 3).
        """
        kept = self._spool_images(cells)
        if not kept:
            return 0
        group = self._file[PATIENTS].create_group(patient)
        group.attrs["attributes"] = json.dumps(dict(attributes))
        self._copy_images(group, len(kept))
        group["labels"] = np.array([cell.label for cell in kept], np.uint8)
        group["digest"] = np.array([cell.digest for cell in kept], "S64")
        group["extent"] = np.array([cell.extent for cell in kept], np.uint16)
        group["features"] = np.stack([cell.features for cell in kept])
        if self._sources:
            group.create_dataset("source", data=[cell.source for cell in kept], dtype=h5py.string_dtype())
        self._disk.check()
        return len(kept)

    def describe(self, classes: tuple[str, str], settings: Mapping[str, Any]) -> None:
        """Write what holds for the whole store: it is readable from then on."""
        self._file.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "classes": json.dumps(classes),
                "positive": classes[1],
                "size": self._size_px,
                "settings": json.dumps(dict(settings), sort_keys=True),
                "features": json.dumps(FEATURES),
                "created_with": _versions(),
            }
        )

    def _spool_images(self, cells: Iterable[tuple[Cell, Canvas]]) -> list[Cell]:
        self._spool.seek(0)
        kept = []
        for cell, canvas in cells:
            self._spool.write(canvas.tobytes())
            kept.append(cell)
        return kept

    def _copy_images(self, group: h5py.Group, count: int) -> None:
        shape = (self._size_px, self._size_px, 3)
        images = group.create_dataset("images", (count, *shape), np.uint8)
        self._spool.seek(0)
        for start in range(0, count, BLOCK):
            rows = min(BLOCK, count - start)
            block = np.frombuffer(self._spool.read(rows * int(np.prod(shape))), np.uint8)
            images[start : start + rows] = block.reshape(rows, *shape)


@contextmanager
def create_store(path: Path, size_px: int, sources: bool = True) -> Iterator[StoreWriter]:
    """Create a store to be written in this block; the file is closed at its end.

    Images pass through an unnamed temporary file, since how many of a patient's files can be decoded is known only
    at the end, and a contiguous dataset needs its length at the start.

    Parameters
    ----------
    path : Path
        The file to write; its folder also holds the temporary file.
    size_px : int
        Side of the canvas.
    sources : bool
        Whether it says which file each cell came from: files are often named after patients.

    Yields
    ------
    StoreWriter

    Raises
    ------
    OSError
        As the file system gives it: no space left, ...; also when the file is closed.
    """
    with tempfile.TemporaryFile(dir=path.parent) as spool, _Disk(path, "w+b") as disk:
        with h5py.File(disk, "w", libver=("v110", "v110")) as file:
            yield StoreWriter(file, disk, spool, size_px, sources)
        disk.check()


def verify(path: Path, cells: Mapping[str, int]) -> None:
    """Check that a store that was just written opens and holds every cell.

    Parameters
    ----------
    path : Path
        The store.
    cells : mapping of str to int
        Cells per patient.

    Raises
    ------
    StoreError
        If it does not open or a count differs.
    """
    with Store(path) as store:
        found = {patient: store.cells(patient) for patient in store.patients}
    if found != dict(cells):
        raise StoreError("The store that was written does not hold what was packed.", "Check the disk and pack again.")


def _versions() -> str:
    return ", ".join([f"msbatch {__version__}", *(f"{name} {version(name)}" for name in LIBRARIES)])

"""The store: the format of a packed cohort, and how it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NoReturn

import h5py
import numpy as np
from numpy.typing import NDArray

from msbatch import schema
from msbatch.errors import DiskError, MsbatchError, disk_fails, explained
from msbatch.files import hash_beside, sha256
from msbatch.schema import PATIENTS, SchemaError
from msbatch.text import has_control

FORMAT = "msbatch-store"
VERSION = 1


class StoreError(MsbatchError):
    """A file is not a store that this version can read."""


class Store:
    """A packed cohort, opened for reading; use it as a context manager.

    Parameters
    ----------
    path : Path
        An HDF5 file written by ``msbatch pack``.

    Raises
    ------
    StoreError
        If the file is missing, truncated, of another format or of another version, or holds anything that
        `msbatch pack` does not write. The other methods raise it where a value is damaged.
    DiskError
        If the disk fails, also later.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        try:
            with self._explained():
                self._check()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def classes(self) -> tuple[str, str]:
        """The negative class, then the positive one."""
        with self._explained():
            names = schema.texts(self._file.id, "classes")
            if len(set(names)) != 2 or any(has_control(name) for name in names):
                raise SchemaError("its classes are not two names")
            return names[0], names[1]

    @property
    def size(self) -> int:
        """Height and width of a stored cell, in pixels."""
        return schema.number(self._file.id, "size")

    @property
    def settings(self) -> dict[str, Any]:
        """How the cohort was packed."""
        with self._explained():
            return dict(schema.parsed(self._file.id, "settings", dict))

    @property
    def key_fingerprint(self) -> str | None:
        """What tells the key of the patients' pseudonyms from another; None where they go by their own names."""
        found = self.settings.get("key_fingerprint")
        return found if isinstance(found, str) else None

    @property
    def patients(self) -> list[str]:
        """Identifiers of all patients, sorted."""
        return sorted(self._file[PATIENTS])

    @property
    def feature_names(self) -> list[str]:
        """Names of the columns of `features`."""
        return schema.texts(self._file.id, "features")

    @property
    def level(self) -> Literal["patient", "cell"]:
        """Whether every patient has one label, or cells are labelled one by one."""
        return "cell" if any(self.label(patient) is None for patient in self.patients) else "patient"

    def label(self, patient: str) -> int | None:
        """Give the class of all of a patient's cells: 0, 1, or None where they differ."""
        found = np.unique(self.labels(patient))
        return int(found[0]) if len(found) == 1 else None

    def attributes(self, patient: str) -> dict[str, str]:
        """Give a patient's further columns of the cohort table, such as sex and age; missing values are ''."""
        with self._explained():
            values: dict[str, str] = schema.parsed(self._file[PATIENTS][patient].id, "attributes", dict)
            if not all(isinstance(value, str) for value in values.values()):
                raise SchemaError(f"the attributes of patient {patient} are not all text")
            return values

    def cells(self, patient: str) -> int:
        """Count a patient's cells."""
        return int(self._dataset(patient, "labels").shape[0])

    def images(self, patient: str) -> NDArray[np.uint8]:
        """Read a patient's cells, shape (n, S, S, 3), in one sequential pass."""
        return np.asarray(self._values(patient, "images"), np.uint8)

    def images_offset(self, patient: str) -> int | None:
        """Give where in the file a patient's images begin, in bytes; None where they do not lie there in one piece."""
        offset: int | None = self._dataset(patient, "images").id.get_offset()
        return offset

    def some_images(self, patient: str, rows: Iterable[int]) -> NDArray[np.uint8]:
        """Read some of a patient's cells, one by one: indexing HDF5 by a list is far slower."""
        images = self._dataset(patient, "images")
        with self._explained():
            return np.stack([images[int(row)] for row in rows])

    def labels(self, patient: str) -> NDArray[np.uint8]:
        """Read the class of each cell, shape (n,): 0 negative, 1 positive."""
        labels = np.asarray(self._values(patient, "labels"), np.uint8)
        if labels.max() > 1:
            self._refuse(f"patient {patient} has a cell of neither class", "Pack the images again.")
        return labels

    def extents(self, patient: str) -> NDArray[np.uint16]:
        """Read height and width of each image before fitting, in pixels, shape (n, 2)."""
        return np.asarray(self._values(patient, "extent"), np.uint16)

    def features(self, patient: str) -> NDArray[np.float32]:
        """Read colour, size and shape of each cell, shape (n, k)."""
        features = np.asarray(self._values(patient, "features"), np.float32)
        if not np.isfinite(features).all():
            self._refuse(f"features of patient {patient} are not all finite", "Pack the images again.")
        return features

    def _dataset(self, patient: str, name: str) -> h5py.Dataset:
        with self._explained():
            if patient not in self._file[PATIENTS]:
                raise SchemaError(f"it has no patient {patient}")
            return self._file[PATIENTS][patient][name]

    def _values(self, patient: str, name: str) -> Any:
        with self._explained():
            return self._dataset(patient, name)[()]

    def _check(self) -> None:
        if self._stamp("format", schema.text) != FORMAT or PATIENTS not in self._file:
            self._refuse("it is not a store of msbatch", "Make one with: msbatch pack")
        version = self._stamp("version", schema.number)
        if version != VERSION:
            self._refuse(f"its version is {version}, this msbatch reads {VERSION}", "Pack the images again.")
        schema.check_schema(self._file)

    def _stamp(self, name: str, read: Any) -> Any:
        try:
            return read(self._file.id, name)
        except SchemaError:
            return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (StoreError, DiskError):
            raise
        except SchemaError as error:
            self._refuse(str(error), "Pack the images again.")
        except Exception as error:  # HDF5 has an error for everything, and none of its own
            _raise_if_disk_fails(self.path, error)
            self._refuse(f"it is damaged: {' '.join(str(error).split())}", "Pack the images again.")

    def _refuse(self, reason: str, hint: str) -> NoReturn:
        raise StoreError(f"{self.path}: {reason}.", hint) from None


def packed_sha256(path: Path) -> str:
    """Give the hash of a store, which must be the one that `msbatch pack` wrote beside it, if any.

    Raises
    ------
    StoreError
        If it is another one.
    """
    found, beside = sha256(path), hash_beside(path)
    if beside.is_file() and beside.read_text(errors="replace").split()[:1] != [found]:
        raise StoreError(f"{path} is not what was packed: its hash differs from {beside}.", "Pack the images again.")
    return found


def verify_store(path: Path, wanted_sha256: str) -> None:
    """Check that a store is the one a plan was drawn from.

    Raises
    ------
    StoreError
        If the file is missing or its bytes differ.
    MsbatchError
        If it cannot be read.
    """
    if not path.is_file():
        raise StoreError(f"{path} does not exist.", "The plan names it as its store: bring it back or draw a new plan.")
    facts = path.stat()
    try:
        found = _sha256(path, facts.st_mtime_ns, facts.st_size)
    except OSError as error:
        raise explained(error, path) from None
    if found != wanted_sha256:
        raise StoreError(f"{path} was changed since the plan was drawn.", "Draw a new plan with: msbatch plan")


@lru_cache(maxsize=4)  # a process that does several tasks hashes their store once
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    return sha256(path)


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise StoreError(
            f"{path} does not exist.", "Make a store with: msbatch pack IMAGES --table cohort.csv -o cohort.h5"
        )
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        _raise_if_disk_fails(path, error)
        raise StoreError(
            f"{path} cannot be opened as HDF5, perhaps it is truncated: {' '.join(str(error).split())}.",
            "Pack the images again.",
        ) from None


def _raise_if_disk_fails(path: Path, error: Exception) -> None:
    """Tell a disk that fails from a file that is damaged: HDF5 says the system's error number among many words."""
    number = re.search(r"\berrno = (\d+)", str(error))
    if number and disk_fails(int(number[1])):
        raise explained(OSError(int(number[1]), os.strerror(int(number[1]))), path) from None

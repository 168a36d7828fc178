"""What the store says of a cohort's patients: labels, measurements, covariates and embeddings of cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from msbatch.results.head import Array
from msbatch.results.matrix import StackedRows
from msbatch.results.network import NETWORK, embed
from msbatch.results.nuisance import Cells, read_cells
from msbatch.store import Store

EMBEDDED = 4000  # cells that the small network looks at, in all: more say little more of as many patients
FEWEST = 8  # but so many of each patient


@dataclass(frozen=True)
class Embedding:
    """Embeddings of some or all cells.

    Attributes
    ----------
    rows : ndarray of int, shape (m,)
        Which cells.
    values : ndarray of float64 or StackedRows, shape (m, d)
        Of each.
    inner : bool
        Whether the penalty of a head on these is chosen by leaving out further patients.
    """

    rows: NDArray[np.intp]
    values: Array | StackedRows
    inner: bool = False

    def of(self, chosen: NDArray[np.bool_]) -> Embedding:
        """Give the embeddings of some of these cells."""
        values = self.values.subset(chosen) if isinstance(self.values, StackedRows) else self.values[chosen]
        return Embedding(self.rows[chosen], values)


@dataclass(frozen=True)
class Subjects:
    """A cohort's patients.

    Attributes
    ----------
    classes : tuple of str
        The negative class, then the positive one.
    cells : Cells
        Labels and measurements of all cells.
    attributes : dict of str to dict of str to str
        Covariates, by patient and heading.
    embeddings : dict of str to Embedding
        By what made them.
    """

    classes: tuple[str, str]
    cells: Cells
    attributes: dict[str, dict[str, str]]
    embeddings: dict[str, Embedding] = field(default_factory=dict)

    @cached_property
    def labels(self) -> dict[str, int]:
        """The class of every patient whose cells have one class."""
        names, index = np.unique(self.cells.groups, return_inverse=True)
        shares = np.bincount(index, self.cells.labels) / np.bincount(index)
        return {
            name: int(share) for name, share in zip(names.tolist(), shares.tolist(), strict=True) if share in (0, 1)
        }

    @property
    def by_patient(self) -> bool:
        """Whether every patient has one class."""
        return len(self.labels) == len(self.attributes)

    @property
    def per_class(self) -> dict[str, int]:
        """Patients who have cells of each class."""
        pairs = zip(self.classes, (0, 1), strict=True)
        groups, labels = self.cells.groups, self.cells.labels
        return {name: len(np.unique(groups[labels == label])) for name, label in pairs}


def read_subjects(store: Store, further: Mapping[str, Embedding] | None = None) -> Subjects:
    """Read a cohort, and embed some cells of each patient with the small network.

    Parameters
    ----------
    store : Store
        Open.
    further : mapping of str to Embedding, optional
        Embeddings that were made elsewhere.
    """
    attributes = {patient: store.attributes(patient) for patient in store.patients}
    embeddings = {NETWORK: _embed_some(store), **(further or {})}
    return Subjects(store.classes, read_cells(store), attributes, embeddings)


def _embed_some(store: Store) -> Embedding:
    counts = [store.cells(patient) for patient in store.patients]
    most = max(FEWEST, EMBEDDED // len(counts))
    chosen = [np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp)) for count in counts]
    parts = [embed(store.some_images(patient, own)) for patient, own in zip(store.patients, chosen, strict=True)]
    starts = np.cumsum(counts) - counts
    rows = [start + own for start, own in zip(starts, chosen, strict=True)]
    return Embedding(np.concatenate(rows), np.concatenate(parts))

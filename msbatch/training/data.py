"""Cells in memory, and the order in which training sees them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from msbatch.plan import Relabelling
from msbatch.relabelling import relabelled
from msbatch.store import Store

Batches = Generator[tuple[torch.Tensor, torch.Tensor]]
Augment = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Cells:
    """The cells of some patients.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, S, S, 3)
    labels : ndarray of uint8, shape (n,)
        0 for the negative class, 1 for the positive one.
    patients : ndarray of int64, shape (n,)
        Position of each cell's patient among those asked for.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    patients: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def load_cells(store: Store, patients: Sequence[str], relabelling: Relabelling | None = None) -> Cells:
    """Read the cells of some patients, each patient in one sequential pass; under permuted labels where given."""
    counts = np.array([store.cells(patient) for patient in patients], np.int64)
    images = np.empty((counts.sum(), store.size, store.size, 3), np.uint8)
    ends = np.cumsum(counts)
    for patient, end, count in zip(patients, ends, counts, strict=True):
        images[end - count : end] = store.images(patient)
    labels = [store.labels(patient) for patient in patients]
    if relabelling is not None:
        labels = [relabelled(relabelling, *own) for own in zip(patients, labels, strict=True)]
    none = np.empty(0, np.uint8)  # a fold may have no validation patient
    return Cells(images, np.concatenate([none, *labels]), np.repeat(np.arange(len(patients)), counts))


class BalancedOrder:
    """An endless order of training cells, balanced over classes, over strata within class, and over patients in these.

    Classes alternate; within a class its strata take turns, within a stratum patients do so in a shuffled order, and
    each patient's cells come once before any comes again. Every position is a function of the seed and the
    position alone, so a resumed task, or one with other numbers of processes or workers, sees the same cells.

    Parameters
    ----------
    labels, patients : ndarray, shape (n,)
        Class and patient of each cell.
    seed : sequence of int
        Mixed into every shuffle.
    strata : ndarray of int, shape (n,), optional
        Of each cell, such as one for each sex; by default one for all.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        patients: NDArray[np.int64],
        seed: Sequence[int],
        strata: NDArray[np.int64] | None = None,
    ) -> None:
        self._seed = tuple(seed)
        strata = np.zeros_like(patients) if strata is None else strata
        self._classes = [_by_stratum(labels == label, strata, patients) for label in np.unique(labels)]
        self._shuffled = lru_cache(maxsize=4096)(self._shuffle)

    def __getitem__(self, position: int) -> int:
        """Give the index of the cell at a position, counted from 0."""
        within_class, label = divmod(position, len(self._classes))
        within, stratum = divmod(within_class, len(self._classes[label]))
        groups = self._classes[label][stratum]
        key = label + len(self._classes) * stratum
        turn, place = divmod(within, len(groups))
        group = self._shuffled(len(groups), key, 0, turn)[place]
        cells = groups[group]
        cycle, nth = divmod(turn, len(cells))
        return int(cells[self._shuffled(len(cells), key, 1 + int(group), cycle)[nth]])

    def _shuffle(self, length: int, *key: int) -> NDArray[np.int64]:
        return np.random.default_rng([*self._seed, *key]).permutation(length)


def _by_stratum(
    chosen: NDArray[np.bool_], strata: NDArray[np.int64], patients: NDArray[np.int64]
) -> list[list[NDArray[np.int64]]]:
    """Give the chosen cells of each patient of each stratum that has any."""
    return [_by_patient(chosen & (strata == stratum), patients) for stratum in np.unique(strata[chosen])]


def _by_patient(chosen: NDArray[np.bool_], patients: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(chosen & (patients == patient)) for patient in np.unique(patients[chosen])]


class TrainingCells(Dataset[tuple[torch.Tensor, float]]):
    """Augmented training cells by position in a balanced order.

    Parameters
    ----------
    cells : Cells
        Training cells only.
    order : BalancedOrder
        Which cell stands at which position.
    augment : callable
        Takes an image and its position; the position seeds the change.
    """

    def __init__(self, cells: Cells, order: BalancedOrder, augment: Augment) -> None:
        self._cells = cells
        self._order = order
        self._augment = augment

    def __getitem__(self, position: int) -> tuple[torch.Tensor, float]:
        index = self._order[position]
        image = self._augment(self._cells.images[index], position)
        return torch.from_numpy(np.ascontiguousarray(image)), float(self._cells.labels[index])


def training_batches(
    dataset: TrainingCells, steps: range, batch_size: int, rank: int, world_size: int, workers: int
) -> Batches:
    """Yield this process's share of the global batch of every step.

    Parameters
    ----------
    steps : range
        Numbers of the optimiser steps; step t takes positions t·batch_size to (t+1)·batch_size.
    batch_size : int
        Images per step over all processes; a multiple of `world_size`.
    workers : int
        Loader processes; what is yielded does not depend on it.

    Yields
    ------
    images : uint8 tensor, shape (batch_size / world_size, S, S, 3)
    labels : float64 tensor, shape (batch_size / world_size,)
    """
    share = batch_size // world_size
    starts = (step * batch_size + rank * share for step in steps)
    batches = [list(range(start, start + share)) for start in starts]
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        collate_fn=_collate,
        worker_init_fn=_keep_ignoring,
        multiprocessing_context="fork" if workers else None,  # one of several processes would spawn, and copy all cells
    )
    yield from loader


def _collate(samples: list[tuple[torch.Tensor, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*samples, strict=True)
    return torch.stack(images), torch.tensor(labels, dtype=torch.float64)


def _keep_ignoring(_worker: int) -> None:
    # torch makes loader processes end at this signal, also where the task leaves it to the launcher.
    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

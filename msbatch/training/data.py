"""Cells in memory, and the order in which training sees them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from msbatch.errors import MsbatchError
from msbatch.plan import Relabelling
from msbatch.relabelling import relabelled
from msbatch.store import Store
from msbatch.training.images import Images, Indices, SharedArray, StoredImages

Batch = tuple[torch.Tensor, torch.Tensor]
Batches = Generator[Batch]
Augment = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]

TURNS = 64  # that are drawn at once: a generator costs more than what it draws


@dataclass(frozen=True)
class Cells:
    """The cells of some patients.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, S, S, 3), or StoredImages of that shape
    labels : ndarray of uint8, shape (n,)
        0 for the negative class, 1 for the positive one.
    patients : ndarray of int64, shape (n,)
        Position of each cell's patient among those asked for.
    """

    images: Images
    labels: NDArray[np.uint8]
    patients: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices) -> NDArray[np.uint8]:
        """Give a copy of some images, shape (len(indices), S, S, 3)."""
        if isinstance(self.images, StoredImages):
            return self.images.take(indices)
        out = np.empty((len(indices), *self.images.shape[1:]), np.uint8)
        # Raising on a wrong index, as by default, means a second copy: it takes several times as long.
        return np.take(self.images, indices, axis=0, out=out, mode="clip")


def read_images(store: Store, patients: Sequence[str], shared: bool = False) -> NDArray[np.uint8]:
    """Read the images of some patients into memory, each patient's in one sequential pass."""
    counts = [store.cells(patient) for patient in patients]
    shape = (sum(counts), store.size, store.size, 3)
    images = SharedArray(shape) if shared else np.empty(shape, np.uint8)
    for patient, end, count in zip(patients, np.cumsum(counts), counts, strict=True):
        images[end - count : end] = store.images(patient)
    return images


def load_cells(
    store: Store,
    patients: Sequence[str],
    images: Images,
    relabelling: Relabelling | None = None,
) -> Cells:
    """Put together the cells of some patients, whose images were read or stay in the store.

    Their labels are permuted where a relabelling is given.
    """
    labels = [store.labels(patient) for patient in patients]
    if relabelling is not None:
        labels = [relabelled(relabelling, *own) for own in zip(patients, labels, strict=True)]
    none = np.empty(0, np.uint8)  # a fold may have no validation patient
    owners = np.repeat(np.arange(len(patients)), [len(own) for own in labels])
    return Cells(images, np.concatenate([none, *labels]), owners)


def fits(store: Store, patients: Sequence[str], budget_gb: float) -> bool:
    """Say whether the images of some patients fit into a budget of memory; what does not is left in the store.

    Raises
    ------
    MsbatchError
        If not even one patient fits: each is to be read in one pass.
    """
    cell_gb = 3 * store.size**2 / 1e9
    counts = [store.cells(patient) for patient in patients]
    if cell_gb * max(counts, default=0) > budget_gb:
        raise MsbatchError(
            f"A memory budget of {budget_gb:g} GB is less than one patient needs, {cell_gb * max(counts):.2g} GB.",
            "Raise compute.memory_budget_gb (--memory-budget); what exceeds it as a whole is mapped from the store.",
        )
    return cell_gb * sum(counts) <= budget_gb


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
        self._turns = lru_cache(maxsize=256)(self._take_turns)

    def __getitem__(self, position: int) -> int:
        """Give the index of the cell at a position, counted from 0."""
        within_class, label = divmod(position, len(self._classes))
        within, stratum = divmod(within_class, len(self._classes[label]))
        turn, place = divmod(within, len(self._classes[label][stratum]))
        block, nth = divmod(turn, TURNS)
        return self._turns(label, stratum, block)[nth][place]

    def _take_turns(self, label: int, stratum: int, block: int) -> list[list[int]]:
        """Give the next cells of each patient of a stratum, turn by turn, in the order in which patients come then."""
        groups = self._classes[label][stratum]
        key = label + len(self._classes) * stratum
        turns = np.arange(block * TURNS, (block + 1) * TURNS)
        cells = [self._next_cells(group, turns, (key, number)) for number, group in enumerate(groups, start=1)]
        places = np.broadcast_to(np.arange(len(groups)), (TURNS, len(groups)))
        order = self._generator(key, 0, block).permuted(places, axis=1)
        turn_by_turn: list[list[int]] = np.take_along_axis(np.stack(cells, axis=1), order, axis=1).tolist()
        return turn_by_turn

    def _next_cells(
        self, group: NDArray[np.int64], turns: NDArray[np.int64], key: tuple[int, int]
    ) -> NDArray[np.int64]:
        cycles, nth = np.divmod(turns, len(group))
        drawn = [self._shuffled(len(group), *key, cycle)[nth[cycles == cycle]] for cycle in np.unique(cycles).tolist()]
        return np.asarray(group[np.concatenate(drawn)])

    def _shuffle(self, length: int, *key: int) -> NDArray[np.int64]:
        return self._generator(*key).permutation(length)

    def _generator(self, *key: int) -> np.random.Generator:
        words = np.array([*self._seed, *key], np.uint32)  # seeds alike from plain numbers, in half the time
        return np.random.default_rng(words)


def _by_stratum(
    chosen: NDArray[np.bool_], strata: NDArray[np.int64], patients: NDArray[np.int64]
) -> list[list[NDArray[np.int64]]]:
    """Give the chosen cells of each patient of each stratum that has any."""
    return [_by_patient(chosen & (strata == stratum), patients) for stratum in np.unique(strata[chosen])]


def _by_patient(chosen: NDArray[np.bool_], patients: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(chosen & (patients == patient)) for patient in np.unique(patients[chosen])]


class TrainingCells(Dataset[Batch]):
    """Training cells by position in a balanced order, augmented.

    Parameters
    ----------
    cells : Cells
        Training cells only.
    order : BalancedOrder
        Which cell stands at which position.
    augment : callable, optional
        Takes an image and its position; the position seeds the change.
    """

    def __init__(self, cells: Cells, order: BalancedOrder, augment: Augment | None = None) -> None:
        self._cells = cells
        self._order = order
        self._augment = augment

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """Give the images and labels at some positions; the loader asks for a whole batch at once."""
        indices = [self._order[position] for position in positions]
        images = self._cells.take(indices)
        if self._augment is not None:
            for place, position in enumerate(positions):
                images[place] = self._augment(images[place], position)
        return torch.from_numpy(images), torch.from_numpy(self._cells.labels[indices].astype(np.float64))


def shares_of(steps: range, batch_size: int, rank: int, world_size: int) -> list[list[int]]:
    """Give the positions of this process's share of the global batch of every step.

    Parameters
    ----------
    steps : range
        Numbers of the optimiser steps; step t takes positions t·batch_size to (t+1)·batch_size.
    batch_size : int
        Images per step over all processes; a multiple of `world_size`.
    """
    share = batch_size // world_size
    starts = (step * batch_size + rank * share for step in steps)
    return [list(range(start, start + share)) for start in starts]


def training_batches(dataset: TrainingCells, shares: list[list[int]], workers: int) -> Batches:
    """Yield a batch for the positions of every step.

    Parameters
    ----------
    workers : int
        Loader processes; what is yielded does not depend on it.

    Yields
    ------
    images : uint8 tensor, shape (len(share), S, S, 3)
    labels : float64 tensor, shape (len(share),)
    """
    loader = DataLoader(
        dataset,
        batch_sampler=shares,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        collate_fn=_as_it_is,
        worker_init_fn=_keep_ignoring,
        multiprocessing_context="fork" if workers else None,  # one of several processes would spawn, and copy all cells
    )
    yield from loader


def _as_it_is(batch: Any) -> Any:
    return batch


def _keep_ignoring(_worker: int) -> None:
    # torch makes loader processes end at this signal, also where the task leaves it to the launcher.
    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

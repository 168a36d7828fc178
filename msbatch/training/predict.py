"""Logits for cells, each exactly once however many processes share the work."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from msbatch.training.data import Cells
from msbatch.training.ddp import World
from msbatch.training.precision import Precision
from msbatch.training.prefetch import to_device

BATCH = 64


@torch.inference_mode()
def predict(
    model: nn.Module, cells: Cells, world: World, precision: Precision, tta: bool = False
) -> NDArray[np.float64]:
    """Give the logit of every cell, in every process.

    Parameters
    ----------
    model : nn.Module
        Takes uint8 cells of shape (n, S, S, 3), gives logits of shape (n,).
    cells : Cells
        All cells; each process takes every `world.size`-th.
    tta : bool
        Take the mean logit over the 8 flips and quarter turns of each cell.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    model.eval()
    mine = np.arange(world.rank, len(cells), world.size)
    logits = [torch.empty(0, dtype=torch.float64, device=world.device)]
    for (images,) in to_device(_blocks(cells, mine), world.device):
        world.beat()
        logits.append(_logits(model, images, precision, tta))
    return world.gather(torch.cat(logits).cpu(), len(cells)).numpy()


def _blocks(cells: Cells, indices: NDArray[np.int64]) -> Iterator[tuple[torch.Tensor]]:
    """Take cells a few at a time: a patient may have more than memory holds."""
    for start in range(0, len(indices), BATCH):
        yield (torch.from_numpy(cells.take(indices[start : start + BATCH])),)


def balanced_loss(logits: NDArray[np.float64], cells: Cells) -> float:
    """Mean log loss over classes, within class over patients, within patient over cells.

    Every class weighs the same, and every patient within it, whatever their numbers of cells.
    """
    signs = np.where(cells.labels == 1, 1.0, -1.0)
    losses = np.logaddexp(0.0, -signs * logits)
    per_class = []
    for label in np.unique(cells.labels):
        chosen = cells.labels == label
        patients = np.unique(cells.patients[chosen])
        per_class.append(np.mean([losses[chosen & (cells.patients == patient)].mean() for patient in patients]))
    return float(np.mean(per_class))


def balanced_accuracy(logits: NDArray[np.float64], cells: Cells) -> float:
    """Mean over classes of the share of cells called correctly; a logit of 0 is negative."""
    correct = (logits > 0) == (cells.labels == 1)
    return float(np.mean([correct[cells.labels == label].mean() for label in np.unique(cells.labels)]))


def _logits(model: nn.Module, images: torch.Tensor, precision: Precision, tta: bool) -> torch.Tensor:
    views = _orientations(images) if tta else [images]
    total = torch.zeros(len(images), dtype=torch.float64, device=images.device)
    for view in views:
        with precision.autocast():
            total += model(view).double()
    return total / len(views)


def _orientations(images: torch.Tensor) -> list[torch.Tensor]:
    turns = [torch.rot90(images, k, (1, 2)) for k in range(4)]
    return turns + [turn.flip(2) for turn in turns]

"""Training cells that stay on the device, where nothing on the CPU changes them."""

from __future__ import annotations

import numpy as np
import torch

from msbatch.training.data import BalancedOrder, Batches, Cells

BLOCK = 1024


def resident_batches(cells: Cells, order: BalancedOrder, shares: list[list[int]], device: torch.device) -> Batches:
    """Yield the batches that a loader without augmentation would, gathered on the device.

    Parameters
    ----------
    cells : Cells
        All training cells: they are copied to the device as uint8.
    order : BalancedOrder
        Which cell stands at which position.
    shares : list of lists of int
        The positions of each step.

    Yields
    ------
    images : uint8 tensor, shape (len(share), S, S, 3)
    labels : float64 tensor, shape (len(share),)
    """
    images = torch.empty(cells.images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(cells), BLOCK):
        rows = range(start, min(start + BLOCK, len(cells)))
        images[rows.start : rows.stop] = torch.from_numpy(cells.take(rows))
    labels = torch.from_numpy(cells.labels.astype(np.float64)).to(device)
    for share in shares:
        indices = torch.tensor([order[position] for position in share])
        indices = indices.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else indices
        yield images.index_select(0, indices), labels.index_select(0, indices)

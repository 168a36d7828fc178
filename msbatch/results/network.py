"""A small fixed network: two layers of random convolutions, the same for every cohort, so that it cannot leak.

It needs no weights and no torch, so every study has the exact head's answer on at least these embeddings. Random
filters see texture and outline well (Saxe et al. 2011, ICML, on random weights); pretrained ones see more.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]

NETWORK = "small fixed network"
SIDE_PX = 64  # larger images are averaged down to at least this

_BLOCK = 64  # images at once


def embed(images: NDArray[np.uint8]) -> Array:
    """Give means and spreads over the image of all channels of both layers.

    They are scaled by constants that were fixed on cells of no cohort, as batch normalisation does once trained. All
    in double precision: in single precision a cell's numbers depend on those beside it from the fifth digit on.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, S, S, 3)

    Returns
    -------
    ndarray of float64, shape (n, 96)
    """
    mean, spread = _constants()
    parts = [_raw(images[start : start + _BLOCK]) for start in range(0, len(images), _BLOCK)]
    return np.asarray((np.concatenate(parts) - mean) / spread)


def _raw(images: NDArray[np.uint8]) -> Array:
    first, second = _filters()
    one = _layer((_average_down(images) - 200) / 50, first)
    two = _layer(one, second)
    pooled = [part for layer in (one, two) for part in (layer.mean(axis=(1, 2)), layer.std(axis=(1, 2)))]
    return np.concatenate(pooled, axis=1)


def _average_down(images: NDArray[np.uint8]) -> Array:
    """Average blocks of pixels, as large as leaves at least `SIDE_PX` of them; a rest at the edge is cut off."""
    side = images.shape[1]
    step = max(1, side // SIDE_PX)
    kept = side // step * step
    total = np.zeros((len(images), kept // step, kept // step, 3))
    for row, column in product(range(step), repeat=2):  # far faster than a mean over axes of blocks
        total += images[:, row:kept:step, column:kept:step]
    return np.asarray(total / step**2)


def _layer(images: Array, filters: Array) -> Array:
    """Convolve with a stride of 2 and cut off at 0; images of shape (n, h, w, c), filters (s, s, c, d)."""
    side = filters.shape[0]
    windows = sliding_window_view(images, (side, side), axis=(1, 2))[:, ::2, ::2]
    n, h, w = windows.shape[:3]
    flat = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * h * w, -1) @ filters.reshape(-1, filters.shape[3])
    return np.asarray(np.maximum(flat, 0).reshape(n, h, w, -1))


@cache
def _filters() -> tuple[Array, Array]:
    """Of the first layer 12 filters see differences of brightness alone, fine or coarse; the other 4 see colour."""
    rng = np.random.default_rng(2026)
    first = rng.normal(0, 1 / np.sqrt(75), (5, 5, 3, 16))
    brightness = first[:, :, :1, :12]
    brightness[..., 6:] = gaussian_filter(brightness[..., 6:], (1, 1, 0, 0))
    brightness -= brightness.mean(axis=(0, 1), keepdims=True)
    first[..., :12] = 2 * brightness / np.linalg.norm(brightness, axis=(0, 1), keepdims=True) / 3
    second = rng.normal(0, 1 / np.sqrt(144), (3, 3, 16, 32))
    return first, second


@cache
def _constants() -> tuple[Array, Array]:
    raw = _raw(_reference_cells(np.random.default_rng(7), count=256))
    return raw.mean(axis=0), raw.std(axis=0) + 1e-6


def _reference_cells(rng: np.random.Generator, count: int, side: int = 32) -> NDArray[np.uint8]:
    """Draw plain discs with pale centres and granules, each of a colour and size of its own."""
    grid = np.arange(side) - (side - 1) / 2
    distance = np.hypot(*np.meshgrid(grid, grid))[None] / rng.uniform(9, 11.5, (count, 1, 1))
    weight = (distance < 1) * (1 - rng.normal(0.55, 0.08, (count, 1, 1)) * np.exp(-((distance / 0.45) ** 2)))
    darker = rng.normal((-35, -85, -70), 6, (count, 1, 1, 3))
    grain = gaussian_filter(rng.normal(size=(count, side, side)), (0, 1, 1))
    noise = rng.normal(0, 3, (count, side, side, 3))
    bright = 230 + darker * weight[..., None] + (30 * (distance < 1) * grain)[..., None] + noise
    return np.asarray(np.clip(np.rint(bright), 0, 255), np.uint8)

"""A small fixed network: two layers of random convolutions in numpy, the same for every cohort and seed."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from planted import Traits, draw_cells
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]


def embed(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Give means and spreads over the image of all channels of both layers, shape (n, 96).

    They are scaled by constants that were fixed on cells of no cohort, as batch normalisation does once trained.
    """
    mean, spread = _constants()
    return (_raw(images) - mean) / spread


def _raw(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    first, second = _filters()
    one = _layer((images.astype(np.float32) - 200) / 50, first)
    two = _layer(one, second)
    pooled = [part for layer in (one, two) for part in (layer.mean(axis=(1, 2)), layer.std(axis=(1, 2)))]
    return np.concatenate(pooled, axis=1).astype(np.float64)


def _layer(images: Array, filters: Array) -> Array:
    """Convolve with a stride of 2 and cut off at 0; images of shape (n, h, w, c), filters (s, s, c, d)."""
    side = filters.shape[0]
    windows = sliding_window_view(images, (side, side), axis=(1, 2))[:, ::2, ::2]
    n, h, w = windows.shape[:3]
    flat = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * h * w, -1) @ filters.reshape(-1, filters.shape[3])
    return np.maximum(flat, 0).reshape(n, h, w, -1)


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
    return first.astype(np.float32), second.astype(np.float32)


@cache
def _constants() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(7)
    cells = [
        draw_cells(rng, 10, Traits(rng.normal(0, 5, 3), rng.uniform(9.5, 11), 0.55, 0.02, rng.uniform(0.2, 0.6)))
        for _ in range(40)
    ]
    raw = _raw(np.concatenate(cells))
    return raw.mean(axis=0), raw.std(axis=0) + 1e-6

"""How an image of any size meets the square canvas of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fit = Literal["pad", "crop", "resize"]

PERCENTILE = 99


def common_scale(long_sides_px: Sequence[int], size_px: int, mode: Fit) -> float:
    """Choose the one scale of a cohort, since size carries signal in cells.

    Parameters
    ----------
    long_sides_px : sequence of int
        The longer side of each image.
    size_px : int
        Side of the canvas.
    mode : {"pad", "crop", "resize"}
        Only "pad" ever shrinks the cohort.

    Returns
    -------
    float
        1, unless the 99th percentile of the long sides exceeds the canvas; then what makes it fit.
    """
    typical = float(np.percentile(long_sides_px, PERCENTILE))
    return min(1.0, size_px / typical) if mode == "pad" else 1.0


def fit(image: NDArray[np.uint8], size_px: int, scale: float, mode: Fit) -> tuple[NDArray[np.uint8], bool]:
    """Lay an image on the middle of a square canvas.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w, 3)
    size_px : int
        Side S of the canvas.
    scale : float
        The cohort's scale, from `common_scale`.
    mode : {"pad", "crop", "resize"}
        "pad" and "crop": scale, then pad short sides with the colour of the image's border and crop long ones.
        "resize": scale each image until its longer side fills the canvas, which gives up size but not shape.

    Returns
    -------
    canvas : ndarray of uint8, shape (S, S, 3)
    cropped : bool
        Whether a part of the image fell outside the canvas.
    """
    factor = size_px / max(image.shape[:2]) if mode == "resize" else scale
    scaled = _rescale(image, factor)
    if scaled.shape[:2] == (size_px, size_px):
        return scaled, False
    canvas = _blank(size_px, border_colour(image))
    rows, source_rows = _overlap(scaled.shape[0], size_px)
    columns, source_columns = _overlap(scaled.shape[1], size_px)
    canvas[rows, columns] = scaled[source_rows, source_columns]
    return canvas, max(scaled.shape[:2]) > size_px


def border_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Estimate the background as the median of the outermost pixels, shape (3,)."""
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    return np.asarray(np.round(np.median(np.concatenate(edges), axis=0)), np.uint8)


def _rescale(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _blank(size_px: int, colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = np.empty((size_px, 3 * size_px), np.uint8)
    rows[:] = np.tile(colour, size_px)  # whole rows are written many times faster than pixels
    return rows.reshape(size_px, size_px, 3)


def _overlap(length: int, size: int) -> tuple[slice, slice]:
    shared = min(length, size)
    on_canvas, on_image = (size - shared) // 2, (length - shared) // 2
    return slice(on_canvas, on_canvas + shared), slice(on_image, on_image + shared)

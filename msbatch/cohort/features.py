"""Colour, size and shape of one cell, over its own pixels: what staining or size alone could explain."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from msbatch.cohort.fit import border_colour
from msbatch.cohort.outline import axes, hull_area, perimeter

COLOUR = ("red_mean", "green_mean", "blue_mean", "red_sd", "green_sd", "blue_sd")
SIZE = ("area", "width", "height")
SHAPE = (
    "perimeter",
    "circularity",
    "elongation",
    "eccentricity",
    "equivalent_diameter",
    "solidity",
    "pallor_fraction",
    "pallor_contrast",
)
FEATURES = (*COLOUR, *SIZE, *SHAPE)

OTSU_BINS = 256

Box = tuple[slice, slice]


def measure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure the cell in an image, in pixels of the image as it was decoded.

    The numbers are those of scikit-image's `regionprops`, in a tenth of its time.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w, 3)

    Returns
    -------
    ndarray of float32, shape (len(FEATURES),)
        In the order of `FEATURES`, always finite. Colours are grey levels from 0 to 255, lengths pixels, areas
        pixels squared, the rest ratios. A ratio without a denominator is 0.
    """
    box, mask = _find_cell(image)
    pixels = image[box].reshape(-1, 3)[np.flatnonzero(mask)]
    values = [*_colour(pixels), *_outline(mask), *_pallor(pixels, mask)]
    return np.array(values, np.float32)


def cell_mask(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find the cell's own pixels.

    Otsu's threshold on each pixel's distance from the colour of the border, so that a cell may be darker or
    brighter than its background; of what exceeds it the largest connected part, with its holes filled.

    Returns
    -------
    ndarray of bool, shape (h, w)
        Never empty: where nothing stands out, the whole image counts as the cell.
    """
    whole = np.zeros(image.shape[:2], np.bool_)
    box, mask = _find_cell(image)
    whole[box] = mask
    return whole


def _find_cell(image: NDArray[np.uint8]) -> tuple[Box, NDArray[np.bool_]]:
    """Give the box that the cell fills, and its pixels therein."""
    squares = _squared_distance(image, border_colour(image))
    parts, number = ndimage.label(_above_otsu(squares, np.sqrt), np.ones((3, 3)))
    if number == 0:
        return np.s_[:, :], np.ones(image.shape[:2], np.bool_)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    chosen = parts == largest
    box = _filled(chosen.any(axis=1)), _filled(chosen.any(axis=0))
    outside, _ = ndimage.label(np.pad(~chosen[box], 1, constant_values=True))
    return box, (outside != outside[0, 0])[1:-1, 1:-1]


def _filled(present: NDArray[np.bool_]) -> slice:
    return slice(int(np.argmax(present)), len(present) - int(np.argmax(present[::-1])))


def _squared_distance(image: NDArray[np.uint8], colour: NDArray[np.uint8]) -> NDArray[np.int32]:
    tables = (np.arange(256, dtype=np.int32)[:, None] - colour) ** 2
    first, second, third = (tables[:, channel].take(image[..., channel]) for channel in range(3))
    return np.asarray(first + second + third)


def _above_otsu(
    levels: NDArray[np.integer], meaning: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Say which levels mean more than Otsu's threshold on what all of them mean.

    `meaning` grows with the level, so all pixels of one level are handled at once.
    """
    counts = np.bincount(levels.ravel())
    found = np.flatnonzero(counts > 0)
    values = meaning(found)
    if len(found) == 1:
        return np.asarray(levels > found[0])
    edges = np.linspace(values[0], values[-1], OTSU_BINS + 1)
    ends = np.append(np.searchsorted(values, edges[:-1]), len(values))
    histogram = np.diff(np.append(0, np.cumsum(counts[found]))[ends])
    threshold = threshold_otsu(hist=(histogram, (edges[:-1] + edges[1:]) / 2))
    return np.asarray(levels >= found[np.searchsorted(values, threshold, side="right")])


def _colour(pixels: NDArray[np.uint8]) -> list[float]:
    values, count = pixels.T.astype(np.float64), len(pixels)
    # Sums of integers that these products give exactly, in a fraction of the time of sums of integers.
    total, squares = (sums.astype(np.int64) for sums in (values @ np.ones(count), np.diag(values @ values.T)))
    return [*(total / count), *(np.sqrt(count * squares - total**2) / count)]


def _outline(mask: NDArray[np.bool_]) -> list[float]:
    area, length = np.count_nonzero(mask), perimeter(mask)
    height, width = mask.shape
    long_axis, short_axis = axes(mask)
    share = _ratio(short_axis, long_axis)
    return [
        area,
        width,
        height,
        length,
        _ratio(4 * math.pi * area, length**2),
        1 - share if long_axis else 0.0,
        math.sqrt(1 - share**2) if long_axis else 0.0,
        math.sqrt(4 * area / math.pi),
        area / hull_area(mask),
    ]


def _pallor(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    """Share of the cell's pixels that are pale and central, and how much paler the centre is than the rim (-1 to 1).

    The centre is at least half as deep inside the outline as the deepest pixel; pale is above Otsu's threshold
    within the cell.
    """
    depth = _squared_depth(mask)
    centre = 4 * depth >= depth.max()
    grey = pixels[:, 0].astype(np.int64) + pixels[:, 1] + pixels[:, 2]
    pale = _above_otsu(grey, lambda levels: levels / 3)
    within, central = int(grey[centre].sum()), np.count_nonzero(centre)
    around, outer = int(grey.sum()) - within, len(grey) - central
    contrast = (within / central - around / outer) / (3 * 255) if outer else 0.0
    return [np.count_nonzero(pale & centre) / len(grey), contrast]


def _squared_depth(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give the squared distance of each of a mask's pixels from what is outside, in their order.

    That of scipy.ndimage.distance_transform_edt, exactly: first to the nearest outside in its own row, then in any row.
    """
    padded = np.pad(mask, 1)
    columns = np.arange(padded.shape[1], dtype=np.uint16 if max(mask.shape) < 360 else np.uint32)  # squares must fit
    before = np.maximum.accumulate(np.where(padded, 0, columns), axis=1)
    behind = np.minimum.accumulate(np.where(padded, columns[-1], columns)[:, ::-1], axis=1)[:, ::-1]
    across = np.minimum(columns - before, behind - columns)
    squares = across * across
    nearest, farther = squares.copy(), np.empty_like(squares)
    for rows in range(1, min(int(across.max()), len(mask) // 2 + 2)):
        np.add(squares, rows * rows, out=farther)
        np.minimum(nearest[:-rows], farther[rows:], out=nearest[:-rows])
        np.minimum(nearest[rows:], farther[:-rows], out=nearest[rows:])
    return np.asarray(nearest[padded], np.int64)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0

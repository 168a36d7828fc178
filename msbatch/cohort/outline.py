"""Lengths and areas of one outline: the numbers of scikit-image, by counting whole rows and columns."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# What a pixel of the border adds to the perimeter, by itself, its border neighbours (2 each) and diagonal ones (10):
# Benkrid and Crookes, Design and FPGA implementation of a perimeter estimator, 2000; as skimage.measure.perimeter.
STEPS = np.zeros(50)
STEPS[[5, 7, 15, 17, 25, 27]] = 1
STEPS[[21, 33]] = math.sqrt(2)
STEPS[[13, 23]] = (1 + math.sqrt(2)) / 2

TOLERANCE = 1e-9  # pixels; crossings of the hull's edges with rows are fractions of far smaller denominators


def perimeter(mask: NDArray[np.bool_]) -> float:
    """Estimate the length of an outline, as skimage.measure.perimeter does with 4 neighbours."""
    border = np.zeros(tuple(side + 2 for side in mask.shape), np.uint8)
    border[1:-1, 1:-1] = mask
    inner = np.logical_and.reduce([mask, *_beside(border)])
    border[1:-1, 1:-1] = mask & ~inner
    codes = border[1:-1, 1:-1] + 2 * sum(_beside(border)) + 10 * sum(_across(border))
    return float(np.bincount(codes.ravel(), minlength=len(STEPS)) @ STEPS)


def axes(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Give the long and the short axis of the ellipse with the same second moments, in pixels.

    As axis_major_length and axis_minor_length of skimage.measure.regionprops; sums are of integers, so exact.
    """
    # Products of floats, which are fast, and exact for integers of this size.
    cells = mask.astype(np.float64)
    rows, columns = (np.arange(side, dtype=np.float64) for side in mask.shape)
    by_row, by_column = cells @ np.ones(len(columns)), np.ones(len(rows)) @ cells
    count, row, column = int(by_row.sum()), int(by_row @ rows), int(by_column @ columns)
    tall = count * int(by_row @ rows**2) - row**2
    wide = count * int(by_column @ columns**2) - column**2
    skew = count * int(rows @ (cells @ columns)) - row * column
    spread = math.hypot(tall - wide, 2 * skew)
    # The product of both, exact, over the larger one: their difference would cancel where a shape is narrow.
    long = (tall + wide + spread) / 2
    short = (tall * wide - skew**2) / long if long else 0.0
    return 4 * math.sqrt(long) / count, 4 * math.sqrt(short) / count


def hull_area(mask: NDArray[np.bool_]) -> int:
    """Count the pixels of the convex hull of a mask that fills its box.

    As area_convex of skimage.measure.regionprops: the hull is that of the middles of all pixels' edges, and a pixel
    counts if its middle is in it or on it. A region of one row or column is its own hull.
    """
    if min(mask.shape) == 1:
        return int(mask.sum())
    left = np.argmax(mask, axis=1)
    right = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    begins = np.ceil(_envelope(left) - TOLERANCE)
    ends = np.floor(-_envelope(-right) + TOLERANCE)
    return int((ends - begins + 1).sum())


def _envelope(firsts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give where the hull begins in every row, from where the first pixel of each row is."""
    heights = np.arange(-0.5, len(firsts), 0.5)  # the upper edge, the middle and the lower edge of every row
    starts = np.empty(len(heights))
    starts[1::2] = firsts - 0.5
    starts[2:-1:2] = np.minimum(firsts[1:], firsts[:-1])
    starts[0], starts[-1] = firsts[0], firsts[-1]
    kept = np.arange(len(heights))
    while True:
        # What lies beyond the line between its neighbours is no corner of the hull.
        y, x = heights[kept], starts[kept]
        corner = (x[1:-1] - x[:-2]) * (y[2:] - y[:-2]) < (x[2:] - x[:-2]) * (y[1:-1] - y[:-2])
        if corner.all():
            return np.asarray(np.interp(heights[1::2], y, x))
        kept = kept[np.concatenate([[True], corner, [True]])]


def _beside(padded: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def _across(padded: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [padded[:-2, :-2], padded[:-2, 2:], padded[2:, :-2], padded[2:, 2:]]

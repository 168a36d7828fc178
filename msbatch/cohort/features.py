"""Colour, size and shape of one cell, over its own pixels: what staining or size alone could explain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from msbatch.cohort.fit import border_colour

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


def measure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure the cell in an image, in pixels of the image as it was decoded.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w, 3)

    Returns
    -------
    ndarray of float32, shape (len(FEATURES),)
        In the order of `FEATURES`, always finite. Colours are grey levels from 0 to 255, lengths pixels, areas
        pixels squared, the rest ratios. A ratio without a denominator is 0.
    """
    mask = cell_mask(image)
    values = [*_colour(image, mask), *_outline(mask), *_pallor(image, mask)]
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
    distance = np.linalg.norm(image.astype(np.float64) - border_colour(image), axis=2)
    parts = label(distance > threshold_otsu(distance), connectivity=2)
    sizes = np.bincount(parts.ravel())
    if len(sizes) < 2:
        return np.ones(image.shape[:2], np.bool_)
    largest = 1 + int(np.argmax(sizes[1:]))
    return np.asarray(ndimage.binary_fill_holes(parts == largest), np.bool_)


def _colour(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    pixels = image[mask].astype(np.float64)
    return [*pixels.mean(axis=0), *pixels.std(axis=0)]


def _outline(mask: NDArray[np.bool_]) -> list[float]:
    region: Any = regionprops(mask.astype(np.uint8))[0]
    area, perimeter = float(region.area), float(region.perimeter)
    top, left, bottom, right = region.bbox
    long_axis, short_axis = region.axis_major_length, region.axis_minor_length
    return [
        area,
        right - left,
        bottom - top,
        perimeter,
        _ratio(4 * math.pi * area, perimeter**2),
        1 - _ratio(short_axis, long_axis) if long_axis else 0.0,
        region.eccentricity,
        math.sqrt(4 * area / math.pi),
        _solidity(region),
    ]


def _solidity(region: Any) -> float:
    # A region of one row or column has no hull to compute and is its own.
    return float(region.solidity) if min(region.image.shape) > 1 else 1.0


def _pallor(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[float]:
    """Share of the cell's pixels that are pale and central, and how much paler the centre is than the rim (-1 to 1).

    The centre is at least half as deep inside the outline as the deepest pixel; pale is above Otsu's threshold
    within the cell.
    """
    grey = image.mean(axis=2)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    centre = mask & (depth >= depth.max() / 2)
    rim = mask & ~centre
    pale = centre & (grey > threshold_otsu(grey[mask]))
    contrast = (grey[centre].mean() - grey[rim].mean()) / 255 if rim.any() else 0.0
    return [pale.sum() / mask.sum(), contrast]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0

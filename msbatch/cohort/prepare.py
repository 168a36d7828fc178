"""One image file made ready for the store: what a worker process does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msbatch.cohort.features import measure
from msbatch.cohort.fit import Fit, fit
from msbatch.cohort.images import FieldOfViewError, ImageError, decode, read_extent
from msbatch.cohort.table import CellFile
from msbatch.cohort.writer import Canvas, Cell

FIELD_OF_VIEW_CANVASES = 2


@dataclass(frozen=True)
class Refusal:
    """Why a file cannot be used."""

    reason: str
    field_of_view: bool = False


@dataclass(frozen=True)
class Preparation:
    """What is done to every image of a cohort; it travels to the worker processes.

    Attributes
    ----------
    images : Path
        The folder that paths are relative to.
    size_px : int
        Side of the canvas; an image with a side above twice this is no single cell.
    mode : {"pad", "crop", "resize"}
        How images meet the canvas.
    scale : float
        The cohort's common scale.
    """

    images: Path
    size_px: int
    mode: Fit
    scale: float = 1.0

    @property
    def max_side_px(self) -> int:
        """Longest side that a single cell may have."""
        return FIELD_OF_VIEW_CANVASES * self.size_px

    def extent(self, file: CellFile) -> tuple[int, int] | Refusal:
        """Read height and width in pixels from the header."""
        try:
            return read_extent(self.images / file.path, self.max_side_px)
        except ImageError as error:
            return Refusal(error.reason, isinstance(error, FieldOfViewError))

    def cell(self, file: CellFile) -> tuple[Cell, Canvas] | Refusal:
        """Decode, measure and fit one image."""
        try:
            image = decode(self.images / file.path, self.max_side_px)
        except ImageError as error:
            return Refusal(error.reason)
        canvas, cropped = fit(image, self.size_px, self.scale, self.mode)
        height, width = image.shape[:2]
        return Cell(file.path, file.label, digest(image), (height, width), measure(image), cropped), canvas


def digest(image: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's shape and pixels, as 64 hexadecimal digits."""
    height, width = image.shape[:2]
    return hashlib.sha256(f"{height}x{width}:".encode() + image.tobytes()).hexdigest()

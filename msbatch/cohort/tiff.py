"""TIFF files, read by tifffile."""

from __future__ import annotations

import logging
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import EXTRASAMPLE, PHOTOMETRIC, TiffFile, TiffPage

from msbatch.cohort.pixels import PixelError, orient, to_8bit, to_rgb

# What tifffile logs about a damaged file reaches the user as the reason of its refusal.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

COLOURS = (
    PHOTOMETRIC.MINISBLACK,
    PHOTOMETRIC.MINISWHITE,
    PHOTOMETRIC.RGB,
    PHOTOMETRIC.PALETTE,
    PHOTOMETRIC.SEPARATED,
)


def tiff_extent(file: BinaryIO) -> tuple[int, int]:
    """Read height and width in pixels from the first page, before any turn that its tag asks for.

    Raises
    ------
    PixelError
        If the file holds several pages or planes.
    Exception
        Whatever the decoder raises on a damaged header.
    """
    with TiffFile(file) as tiff:
        page = _only_page(tiff)
        return page.imagelength, page.imagewidth


def tiff_pixels(file: BinaryIO) -> NDArray[np.uint8]:
    """Decode to 8-bit RGB, upright, shape (h, w, 3); samples are scaled by the declared bits per sample.

    Raises
    ------
    PixelError
        If the samples have no defined meaning, such as floating point, or a part of the data is missing.
    Exception
        Whatever the decoder raises on damaged data.
    """
    with TiffFile(file) as tiff:
        page = _only_page(tiff)
        _check(page)
        image = _rgb(page)
        orientation = page.tags.valueof("Orientation", default=1)
    return orient(image, orientation)


def _only_page(file: TiffFile) -> TiffPage:
    if not file.pages:
        raise PixelError("it cannot be decoded: it holds no page")
    if len(file.pages) != 1 or file.series[0].shape != file.pages[0].shape:
        raise PixelError("it holds several pages or planes")
    return file.pages[0]


def _check(page: TiffPage) -> None:
    if page.dtype is None or page.dtype.kind not in "ub" or page.bitspersample > 16:
        raise PixelError(f"its samples are {page.dtype}, not unsigned integers of at most 16 bits")
    jpeg = page.photometric == PHOTOMETRIC.YCBCR and page.compression in (6, 7)
    if page.photometric not in COLOURS and not jpeg:
        raise PixelError(
            f"its colours are of the kind {getattr(page.photometric, 'name', page.photometric)}, which is not supported"
        )
    if any(kind != EXTRASAMPLE.UNASSALPHA for kind in page.extrasamples):
        raise PixelError("it has an extra channel that is not plain transparency")
    if 0 in page.databytecounts:
        raise PixelError("a part of its data is missing")


def _rgb(page: TiffPage) -> NDArray[np.uint8]:
    samples = page.asarray()
    if page.axes.startswith("S"):
        samples = np.moveaxis(samples, 0, -1)
    if page.photometric == PHOTOMETRIC.PALETTE:
        # Writers widen an 8-bit colour by 256 or by 257: its upper byte is what they meant.
        return np.asarray(np.moveaxis(page.colormap[:, samples], 0, -1) >> 8, np.uint8)
    samples = to_8bit(samples, page.bitspersample)
    if page.photometric == PHOTOMETRIC.SEPARATED:
        return _from_cmyk(samples)
    return to_rgb(255 - samples if page.photometric == PHOTOMETRIC.MINISWHITE else samples)


def _from_cmyk(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if samples.shape[2:] != (4,):
        raise PixelError("its inks are not cyan, magenta, yellow and black")
    return np.asarray(Image.frombytes("CMYK", samples.shape[1::-1], samples.tobytes()).convert("RGB"))

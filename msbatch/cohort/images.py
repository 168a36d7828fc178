"""One image file of a single cell, decoded safely: what is too large or damaged is refused with its reason."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from msbatch.cohort.pixels import PixelError
from msbatch.cohort.raster import raster_extent, raster_pixels
from msbatch.cohort.tiff import tiff_extent, tiff_pixels
from msbatch.errors import MsbatchError, disk_error, disk_fails, explained
from msbatch.files import open_regular

MAX_FILE_MIB = 64
FIELD_OF_VIEW = "probably a whole field of view, not a single cell"

RASTER_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DICOM_MARK, DICOM_MARK_AT = b"DICM", 128
SLIDES = (".bif", ".czi", ".isyntax", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".vms", ".vmu", ".vsi", ".zvi")
HTML_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head")


class ImageError(MsbatchError):
    """An image file cannot be used.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        Why, as a clause that begins with "it".
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path}: {reason}.")


class FieldOfViewError(ImageError):
    """An image is far too large to show one cell."""


def read_extent(path: Path, max_side_px: int) -> tuple[int, int]:
    """Read height and width in pixels from a file's header, decoding nothing.

    Raises
    ------
    FieldOfViewError
        If a side is longer than `max_side_px`.
    ImageError
        If the file is missing, empty, no PNG, JPEG, TIFF or BMP, damaged, or holds several images.
    """
    with _opened(path) as file:
        return _checked_extent(path, file, max_side_px)


def decode(path: Path, max_side_px: int) -> NDArray[np.uint8]:
    """Decode one file to 8-bit RGB.

    Grey is replicated; samples of another depth are scaled by it, never by what an image holds; transparency is
    laid over white; palettes and CMYK become RGB; EXIF and TIFF orientation is applied; colour profiles are not.

    Parameters
    ----------
    path : Path
        A PNG, JPEG, TIFF or BMP file; its content counts, not its name.
    max_side_px : int
        Longest side that is decoded.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)

    Raises
    ------
    ImageError
        As `read_extent`, and if the data is truncated or its samples have no defined meaning.
    DiskError
        If the disk fails, which says nothing of the image.
    """
    with _opened(path) as file:
        _checked_extent(path, file, max_side_px)
        file.seek(0)
        return tiff_pixels(file) if _is_tiff(file) else raster_pixels(file)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with _explained(path), open_regular(path) as file:
        _check_bytes(path, file)
        yield file


def _checked_extent(path: Path, file: BinaryIO, max_side_px: int) -> tuple[int, int]:
    height, width = tiff_extent(file) if _is_tiff(file) else raster_extent(file)
    if min(height, width) < 1:
        raise ImageError(path, f"it has no pixels ({width} x {height})")
    if max(height, width) > max_side_px:
        raise FieldOfViewError(path, f"it is {width} x {height} px, with a side above {max_side_px}: {FIELD_OF_VIEW}")
    return height, width


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # Decoders warn of oddities that are harmless here, such as a damaged EXIF block.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise FieldOfViewError(path, f"it has far too many pixels: {FIELD_OF_VIEW}") from None
    except FileNotFoundError:
        raise ImageError(path, "it does not exist") from None
    except Exception as error:  # decoders raise whatever they like on damaged bytes, or on a disk that fails
        raise _refusal(path, error) from None


def _refusal(path: Path, error: Exception) -> MsbatchError:
    disk = disk_error(error)
    if disk is not None and disk_fails(disk.errno):
        # That says nothing of the image: leaving it out would make another cohort of the same files.
        return explained(disk, path)
    if isinstance(error, PixelError):
        return ImageError(path, str(error))
    if isinstance(error, UnidentifiedImageError):
        return ImageError(path, "it cannot be decoded: its header is damaged")
    said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return ImageError(path, f"it cannot be decoded: {said}")


def _check_bytes(path: Path, file: BinaryIO) -> None:
    if path.suffix.lower() in SLIDES:  # many are TIFF or JPEG at heart, with a photograph of the label inside
        raise ImageError(path, "it is a scanner's whole slide, which may name the patient: export single cells as PNG")
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise ImageError(path, "it is empty")
    if size > MAX_FILE_MIB << 20:
        raise FieldOfViewError(path, f"it has {size >> 20} MiB: {FIELD_OF_VIEW}")
    start = _start(file)
    if start[DICOM_MARK_AT:].startswith(DICOM_MARK):
        raise ImageError(path, "it is DICOM, which names the patient: export its pixels as PNG")
    if start.lstrip().lower().startswith(HTML_STARTS):
        raise ImageError(path, "it is a web page or XML, not an image; perhaps a download failed")
    if not start.startswith((*RASTER_STARTS, *TIFF_STARTS)):
        raise ImageError(path, "it is no PNG, JPEG, TIFF or BMP")


def _is_tiff(file: BinaryIO) -> bool:
    return _start(file).startswith(TIFF_STARTS)


def _start(file: BinaryIO) -> bytes:
    start = file.read(DICOM_MARK_AT + len(DICOM_MARK))
    file.seek(0)
    return start

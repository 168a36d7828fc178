"""PNG, JPEG and BMP files, read by Pillow; 16-bit PNG by imagecodecs."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from msbatch.cohort.pixels import PixelError, orient, to_8bit, to_rgb

FORMATS = ("PNG", "JPEG", "BMP")
MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
PNG_BIT_DEPTH = 24  # offset of the byte in the first chunk of a PNG


def raster_extent(path: Path) -> tuple[int, int]:
    """Read height and width in pixels from the header, before any turn that EXIF asks for.

    Raises
    ------
    PixelError
        If the file holds several images.
    Exception
        Whatever the decoder raises on a damaged header.
    """
    with Image.open(path, formats=FORMATS) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise PixelError("it holds several images or an animation")
        return image.height, image.width


def raster_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode to 8-bit RGB, upright, shape (h, w, 3).

    Palettes become their colours and CMYK becomes RGB as Pillow converts it, without colour profiles.

    Raises
    ------
    PixelError
        If the samples have no defined meaning.
    Exception
        Whatever the decoder raises on damaged data.
    """
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        samples = _deep_png(path) if _is_deep_png(path) else _samples(image)
    return orient(to_rgb(samples), orientation)


def _samples(image: Image.Image) -> NDArray[np.uint8]:
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    if image.mode not in MODES:
        raise PixelError(f"its pixels are of the kind {image.mode}, which is not supported")
    return np.asarray(image.convert("RGB"))


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as handle:
        start = handle.read(PNG_BIT_DEPTH + 1)
    return start.startswith(b"\x89PNG") and start[PNG_BIT_DEPTH] == 16


def _deep_png(path: Path) -> NDArray[np.uint8]:
    # Pillow keeps only the upper byte of 16-bit RGB and clips 16-bit grey.
    return to_8bit(imagecodecs.png_decode(path.read_bytes()), 16)

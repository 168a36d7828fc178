"""PNG, JPEG and BMP files, read by Pillow; PNG that are plain or of 16 bit by imagecodecs."""

from __future__ import annotations

import zlib
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from msbatch.cohort.pixels import PixelError, orient, to_8bit, to_rgb

FORMATS = ("PNG", "JPEG", "BMP")
MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
PNG = b"\x89PNG"
PNG_KIND = slice(24, 29)  # bit depth, colour type, compression, filter and interlace, in the first chunk of a PNG
PLAIN_KIND = bytes((8, 2, 0, 0, 0))  # 8-bit RGB
# What leaves pixels as they are. Others may bring transparency, orientation or an animation.
PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"iCCP", b"tIME"}


def raster_extent(file: BinaryIO) -> tuple[int, int]:
    """Read height and width in pixels from the header, before any turn that EXIF asks for.

    Raises
    ------
    PixelError
        If the file holds several images.
    Exception
        Whatever the decoder raises on a damaged header.
    """
    with Image.open(file, formats=FORMATS) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise PixelError("it holds several images or an animation")
        return image.height, image.width


def raster_pixels(file: BinaryIO) -> NDArray[np.uint8]:
    """Decode to 8-bit RGB, upright, shape (h, w, 3).

    Palettes become their colours and CMYK becomes RGB as Pillow converts it, without colour profiles.

    Raises
    ------
    PixelError
        If the samples have no defined meaning.
    Exception
        Whatever the decoder raises on damaged data.
    """
    data = file.read()
    if _is_plain_png(data):
        with suppress(Exception):  # Pillow says below what is damaged
            return np.asarray(imagecodecs.png_decode(data), np.uint8)  # in about half of Pillow's time
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        samples = _deep_png(data) if _is_deep_png(data) else _samples(image)
    return orient(to_rgb(samples), orientation)


def _samples(image: Image.Image) -> NDArray[np.uint8]:
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    if image.mode not in MODES:
        raise PixelError(f"its pixels are of the kind {image.mode}, which is not supported")
    return np.asarray(image.convert("RGB"))


def _is_plain_png(data: bytes) -> bool:
    """Whether these are 8-bit RGB pixels and nothing else, every chunk with the checksum that it says.

    What is damaged or holds more is for Pillow to judge.
    """
    if not (data.startswith(PNG) and data[PNG_KIND] == PLAIN_KIND):
        return False
    start, name = 8, b""
    while name != b"IEND" and start + 12 <= len(data):
        length, name = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        end = start + 8 + length
        checksum = zlib.crc32(data[start + 4 : end])
        if name not in PLAIN_CHUNKS or checksum != int.from_bytes(data[end : end + 4]):
            return False
        start = end + 4
    return name == b"IEND"


def _is_deep_png(data: bytes) -> bool:
    return data.startswith(PNG) and data[PNG_KIND][:1] == b"\x10"


def _deep_png(data: bytes) -> NDArray[np.uint8]:
    # Pillow keeps only the upper byte of 16-bit RGB and clips 16-bit grey.
    return to_8bit(imagecodecs.png_decode(data), 16)

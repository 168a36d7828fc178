"""Plain PNG files are decoded by another library than others: what Pillow makes of them holds, damaged or not."""

import io

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from msbatch.cohort.raster import raster_pixels


def plain_png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (9, 7, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def by_pillow(data: bytes) -> NDArray[np.uint8] | None:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:
        return None


def by_us(data: bytes) -> NDArray[np.uint8] | None:
    try:
        return raster_pixels(io.BytesIO(data))
    except Exception:
        return None


@given(
    st.integers(0, 99), st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=3), st.integers(0, 300)
)
@example(0, [], 0)
def test_a_damaged_file_is_refused_where_pillow_refuses_it(seed: int, bytes_: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(plain_png(seed))
    for place, value in bytes_:
        data[place % len(data)] = value
    own = bytes(data[: len(data) - cut] if cut < len(data) else data)
    wanted, found = by_pillow(own), by_us(own)
    assert (wanted is None) == (found is None)
    if wanted is not None and found is not None:
        assert np.array_equal(wanted, found)


def test_a_wrong_checksum_beside_the_pixels_is_refused_as_well() -> None:
    data = plain_png(0)
    pixels = data.index(b"IDAT") - 4
    resolution = b"\0\0\0\x09pHYs" + bytes(9) + b"\0\0\0\1"  # whole but for its checksum
    own = data[:pixels] + resolution + data[pixels:]
    assert by_pillow(own) is None
    assert by_us(own) is None
    assert by_us(data) is not None

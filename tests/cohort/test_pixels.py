"""Laws of depth, transparency and orientation."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from msbatch.cohort.pixels import PixelError, orient, to_8bit, to_rgb


@given(bits=st.integers(1, 16), data=st.data())
def test_scaling_keeps_order_ends_and_the_nearest_level(bits: int, data: st.DataObject) -> None:
    top = 2**bits - 1
    values = sorted(data.draw(st.lists(st.integers(0, top), min_size=1)))
    scaled = to_8bit(np.array([0, *values, top], np.uint16), bits)
    assert scaled[0] == 0
    assert scaled[-1] == 255
    assert (np.diff(scaled.astype(int)) >= 0).all()
    assert all(abs(got - value * 255 / top) <= 0.5 for got, value in zip(scaled[1:-1], values, strict=True))


def test_scaling_does_not_depend_on_what_else_an_image_holds() -> None:
    dim = np.array([0, 100, 200], np.uint16)
    assert to_8bit(dim, 16).tolist() == to_8bit(np.append(dim, 65535), 16)[:3].tolist() == [0, 0, 1]


@pytest.mark.parametrize(("alpha", "seen"), [(255, 100), (0, 255), (128, 177)])
def test_transparency_shows_white(alpha: int, seen: int) -> None:
    pixel = np.array([[[100, 100, 100, alpha]]], np.uint8)
    assert to_rgb(pixel).ravel().tolist() == [seen] * 3


def test_grey_and_grey_with_alpha_are_replicated() -> None:
    assert to_rgb(np.array([[7]], np.uint8)).ravel().tolist() == [7, 7, 7]
    assert to_rgb(np.array([[[7, 255]]], np.uint8)).ravel().tolist() == [7, 7, 7]


def test_five_channels_have_no_meaning() -> None:
    with pytest.raises(PixelError, match="5 channels"):
        to_rgb(np.zeros((2, 2, 5), np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_agrees_with_pillow(orientation: int, noise: Callable[..., np.ndarray]) -> None:
    image = Image.fromarray(noise((3, 5, 3)))
    image.getexif()[0x0112] = orientation
    assert (orient(np.asarray(image), orientation) == np.asarray(ImageOps.exif_transpose(image))).all()


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_a_nonsense_orientation_counts_as_upright(orientation: int, noise: Callable[..., np.ndarray]) -> None:
    image = noise((3, 5, 3))
    assert (orient(image, orientation) == image).all()

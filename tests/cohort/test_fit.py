"""Laws of the canvas: one scale for a cohort, nothing invented, what is cropped is told."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbatch.cohort.fit import border_colour, common_scale, fit

Noise = Callable[..., np.ndarray]
sides = st.integers(1, 60)


@given(sides=st.lists(st.integers(1, 128), min_size=1), mode=st.sampled_from(["pad", "crop", "resize"]))
def test_a_cohort_that_fits_is_never_scaled(sides: list[int], mode: str) -> None:
    assert common_scale(sides, 128, mode) == 1


def test_a_cohort_that_does_not_fit_is_scaled_by_its_99th_percentile() -> None:
    sides = [*range(1, 101), 200]  # the 99th percentile of these 101 numbers is exactly 100
    assert common_scale(sides, 50, "pad") == pytest.approx(0.5)
    assert common_scale(sides, 50, "crop") == 1


@given(height=sides, width=sides, mode=st.sampled_from(["pad", "crop", "resize"]))
def test_every_size_gives_a_canvas_and_tells_what_it_cropped(height: int, width: int, mode: str) -> None:
    image = np.full((height, width, 3), 9, np.uint8)
    canvas, cropped = fit(image, 32, 1.0, mode)
    assert canvas.shape == (32, 32, 3)
    assert canvas.dtype == np.uint8
    assert cropped == (mode != "resize" and max(height, width) > 32)


@pytest.mark.parametrize(("height", "width"), [(10, 7), (32, 32), (31, 2)])
def test_a_small_image_stands_in_the_middle_unchanged(noise: Noise, height: int, width: int) -> None:
    image = noise((height, width, 3))
    canvas, cropped = fit(image, 32, 1.0, "pad")
    top, left = (32 - height) // 2, (32 - width) // 2
    assert not cropped
    assert (canvas[top : top + height, left : left + width] == image).all()


def test_padding_takes_the_median_of_the_border() -> None:
    image = np.full((9, 9, 3), (10, 20, 30), np.uint8)
    image[2:7, 2:7] = 200
    image[0, :4] = 255  # an artefact that touches the border
    canvas, _ = fit(image, 20, 1.0, "pad")
    assert canvas[0, 0].tolist() == border_colour(image).tolist() == [10, 20, 30]


def test_a_large_image_loses_its_margin_on_both_sides(noise: Noise) -> None:
    image = noise((40, 20, 3))
    canvas, cropped = fit(image, 32, 1.0, "crop")
    assert cropped
    assert (canvas[:, 6:26] == image[4:36]).all()


def test_sizes_keep_their_ratio_under_the_common_scale() -> None:
    def dark_rows(side: int) -> int:
        image = np.full((60, 60, 3), 255, np.uint8)
        image[(60 - side) // 2 : (60 + side) // 2] = 0
        canvas, _ = fit(image, 30, 0.5, "pad")
        return int((canvas[:, 15, 0] < 128).sum())

    assert (dark_rows(40), dark_rows(20)) == (20, 10)


def test_resize_fills_the_canvas_and_keeps_the_shape() -> None:
    image = np.zeros((10, 5, 3), np.uint8)
    image[1:-1, 1:-1] = 255
    canvas, cropped = fit(image, 40, 1.0, "resize")
    rows, columns = (canvas[..., 0] > 128).any(axis=1).sum(), (canvas[..., 0] > 128).any(axis=0).sum()
    assert not cropped
    assert (rows, columns) == (32, 12)

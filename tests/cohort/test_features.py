"""Features against shapes whose colour, size and outline are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msbatch.cohort.features import FEATURES, cell_mask, measure

BACKGROUND, CELL = (230, 225, 220), (180, 60, 70)


def ellipse(a: float, b: float, size: int = 101, colour: tuple[int, ...] = CELL) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    image = np.full((size, size, 3), BACKGROUND, np.uint8)
    image[(x / a) ** 2 + (y / b) ** 2 <= 1] = colour
    return image


def named(image: np.ndarray) -> dict[str, float]:
    return dict(zip(FEATURES, measure(image).tolist(), strict=True))


@given(
    image=st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda shape: arrays(np.uint8, (*shape, 3), elements=st.sampled_from([0, 10, 128, 255]))
    )
)
def test_any_image_gives_finite_numbers(image: np.ndarray) -> None:
    values = measure(image)
    assert values.dtype == np.float32
    assert values.shape == (len(FEATURES),)
    assert np.isfinite(values).all()


def test_a_blank_image_counts_as_one_cell() -> None:
    blank = np.full((12, 8, 3), (10, 20, 30), np.uint8)
    assert cell_mask(blank).all()
    values = named(blank)
    assert [values[f"{name}_mean"] for name in ("red", "green", "blue")] == [10, 20, 30]
    assert (values["area"], values["width"], values["height"]) == (96, 8, 12)
    assert values["red_sd"] == values["pallor_fraction"] == values["pallor_contrast"] == 0


def test_a_disc_has_the_numbers_of_a_disc() -> None:
    values = named(ellipse(30, 30))
    assert values["area"] == pytest.approx(math.pi * 900, rel=0.01)
    assert values["width"] == values["height"] == 61
    assert values["equivalent_diameter"] == pytest.approx(60, rel=0.01)
    assert values["circularity"] == pytest.approx(1, abs=0.1)
    assert values["elongation"] == pytest.approx(0, abs=0.01)
    assert values["eccentricity"] == pytest.approx(0, abs=0.05)
    assert values["solidity"] > 0.97


def test_an_ellipse_has_its_axes() -> None:
    values = named(ellipse(40, 20))
    assert values["elongation"] == pytest.approx(0.5, abs=0.02)
    assert values["eccentricity"] == pytest.approx(math.sqrt(1 - 0.25), abs=0.02)
    assert (values["width"], values["height"]) == (81, 41)


def test_a_spiky_outline_is_less_round_and_less_solid() -> None:
    y, x = np.mgrid[:101, :101] - 50
    radius = 30 * (1 + 0.25 * np.cos(8 * np.arctan2(y, x)))
    image = np.full((101, 101, 3), BACKGROUND, np.uint8)
    image[np.hypot(y, x) <= radius] = CELL
    round_one, spiky = named(ellipse(30, 30)), named(image)
    assert spiky["circularity"] < round_one["circularity"] - 0.2
    assert spiky["solidity"] < round_one["solidity"] - 0.05


def test_colour_is_of_the_cell_and_not_of_the_background() -> None:
    values = named(ellipse(10, 10))
    assert [values[f"{name}_mean"] for name in ("red", "green", "blue")] == list(CELL)
    assert values["green_sd"] == 0


def test_a_cell_may_be_brighter_than_its_background() -> None:
    image = np.zeros((101, 101, 3), np.uint8)
    image[ellipse(30, 20)[..., 1] == CELL[1]] = (220, 180, 190)
    values = named(image)
    assert values["red_mean"] == 220
    assert (values["width"], values["height"]) == (61, 41)


def test_pallor_is_measured_where_the_centre_is_pale() -> None:
    pale = ellipse(30, 30)
    y, x = np.mgrid[:101, :101] - 50
    pale[np.hypot(y, x) <= 12] = (225, 190, 190)
    values, plain = named(pale), named(ellipse(30, 30))
    assert values["pallor_fraction"] == pytest.approx((12 / 30) ** 2, rel=0.05)
    assert values["pallor_contrast"] > 0.1
    assert plain["pallor_fraction"] == 0
    assert plain["pallor_contrast"] == pytest.approx(0, abs=1e-9)
    # A centre of the background's own colour is a hole of the mask, and still belongs to the cell.
    pale[np.hypot(y, x) <= 12] = BACKGROUND
    assert named(pale)["area"] == plain["area"]


def test_only_the_largest_part_counts() -> None:
    image = ellipse(30, 30)
    image[2:6, 2:6] = CELL
    assert named(image) == named(ellipse(30, 30))


@given(turns=st.integers(1, 3))
def test_a_quarter_turn_changes_width_and_height_alone(turns: int) -> None:
    image = ellipse(35, 18)
    first, turned = named(image), named(np.rot90(image, turns))
    if turns % 2:
        turned["width"], turned["height"] = turned["height"], turned["width"]
    assert turned == pytest.approx(first, rel=1e-5, abs=1e-5)

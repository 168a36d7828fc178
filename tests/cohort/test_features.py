"""Features against shapes whose colour, size and outline are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from msbatch.cohort.features import FEATURES, _squared_depth, cell_mask, measure
from msbatch.cohort.fit import border_colour
from msbatch.cohort.synth import draw_cell

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


def by_scikit_image(image: np.ndarray) -> list[float]:
    """Measure a cell the plain way, library by library."""
    distance = np.linalg.norm(image.astype(np.float64) - border_colour(image), axis=2)
    parts = label(distance > threshold_otsu(distance), connectivity=2)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:])) if parts.any() else 0
    mask = ndimage.binary_fill_holes(parts == largest)
    region, pixels, grey = regionprops(mask.astype(np.uint8))[0], image[mask].astype(np.float64), image.mean(axis=2)
    top, left, bottom, right = region.bbox
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    centre = mask & (depth >= depth.max() / 2)
    rim = mask & ~centre
    pale = centre & (grey > threshold_otsu(grey[mask]))
    long_axis = region.axis_major_length
    return [
        *pixels.mean(axis=0),
        *pixels.std(axis=0),
        region.area,
        right - left,
        bottom - top,
        region.perimeter,
        4 * math.pi * region.area / region.perimeter**2 if region.perimeter else 0,
        1 - region.axis_minor_length / long_axis if long_axis else 0,
        region.eccentricity,
        region.equivalent_diameter_area,
        region.solidity if min(region.image.shape) > 1 else 1,
        pale.sum() / mask.sum(),
        (grey[centre].mean() - grey[rim].mean()) / 255 if rim.any() else 0,
    ]


def blobs(seed: int) -> np.ndarray:
    """Draw blots of any shape, with holes, in a few greys."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(rng.integers(12, 60, 2)), rng.uniform(0.5, 5))
    grey = np.digitize(smooth, np.quantile(smooth, [0.3, 0.5, 0.6, 0.8, 0.9])) * 50
    return np.stack([grey, grey // 2, 255 - grey], axis=2).astype(np.uint8)


@given(seed=st.integers(0, 2**32))
def test_the_numbers_are_those_of_scikit_image(seed: int) -> None:
    for image in (blobs(seed), draw_cell(np.random.default_rng(seed), 28, np.zeros(3), seed % 2)):
        assert measure(image) == pytest.approx(np.float32(by_scikit_image(image)), rel=1e-6, abs=1e-6)


@given(
    image=st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda shape: arrays(np.uint8, (*shape, 3), elements=st.sampled_from([0, 10, 128, 255]))
    )
)
def test_they_are_so_of_the_smallest_and_oddest_shapes(image: np.ndarray) -> None:
    assert measure(image) == pytest.approx(np.float32(by_scikit_image(image)), rel=1e-6, abs=1e-6)


def check_depth(mask: np.ndarray) -> None:
    exact = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask]
    assert (_squared_depth(mask) == np.round(exact**2)).all()


@given(seed=st.integers(0, 2**32))
def test_depth_is_the_exact_distance_from_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.random(rng.integers(1, 80, 2)), rng.uniform(0, 8)) > rng.uniform(0.3, 0.6)
    mask[tuple(rng.integers(mask.shape))] = True
    check_depth(mask)


@pytest.mark.parametrize("shape", [(1, 1), (359, 359), (360, 360), (1000, 700)])
def test_depth_of_large_cells(shape: tuple[int, int]) -> None:
    check_depth(np.ones(shape, np.bool_))

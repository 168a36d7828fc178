"""Calibration against scikit-learn, against the equations that define it, and where it is undefined."""

import math
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.utils.class_weight import compute_sample_weight

from msbatch.results.calibration import PRIOR_NOTE, calibrate
from msbatch.results.metrics import Value

CELLS = st.lists(st.tuples(st.integers(0, 1), st.integers(-40, 40)), min_size=2, max_size=80)


def number(value: Value) -> float:
    assert value.number is not None
    return value.number


def split(cells: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = (np.array(column) for column in zip(*cells, strict=True))
    assume(len(set(labels.tolist())) == 2)
    return labels, logits / 5


def draw(rng: np.random.Generator, shift: float = 0.0, scale: float = 1.0, n: int = 20_000) -> tuple:
    """Give cells whose logits would be calibrated if they were shifted and scaled so."""
    logits = rng.normal(0, 1.5, n)
    return (rng.random(n) < expit(shift + scale * logits)).astype(int), logits


@given(CELLS, st.integers(1, 12))
def test_bins_agree_with_scikit_learn(cells: list[tuple[int, int]], bins: int) -> None:
    labels, logits = split(cells)
    assume(math.gcd(len(labels) - 1, bins) == 1)  # else an edge of theirs is a cell, but for rounding
    observed, predicted = calibration_curve(labels, expit(logits), n_bins=bins, strategy="quantile")
    found = calibrate(labels, logits, bins=bins).bins
    assert [part.observed for part in found] == pytest.approx(observed.tolist())
    assert [part.predicted for part in found] == pytest.approx(predicted.tolist())
    assert sum(part.cells for part in found) == len(labels)
    assert all(part.low <= part.predicted + 1e-12 and part.predicted <= part.high + 1e-12 for part in found)


@given(CELLS, st.booleans())
def test_brier_agrees_with_scikit_learn(cells: list[tuple[int, int]], balanced: bool) -> None:
    labels, logits = split(cells)
    weights = compute_sample_weight("balanced" if balanced else None, labels)
    expected = brier_score_loss(labels, expit(logits), sample_weight=weights)
    assert number(calibrate(labels, logits, balanced=balanced).brier) == pytest.approx(expected, abs=1e-9)


@given(CELLS)
def test_the_error_is_the_mean_distance_over_bins(cells: list[tuple[int, int]]) -> None:
    labels, logits = split(cells)
    assume(math.gcd(len(labels) - 1, 5) == 1)
    found = calibrate(labels, logits, bins=5)
    index = np.searchsorted(np.percentile(expit(logits), [20, 40, 60, 80]), expit(logits))
    gaps = [
        abs(labels[index == place].mean() - expit(logits)[index == place].mean()) * (index == place).mean()
        for place in set(index.tolist())
    ]
    assert number(found.error) == pytest.approx(sum(gaps))
    assert number(found.error) >= abs(labels.mean() - expit(logits).mean()) - 1e-9


def test_one_bin_holds_all_and_ten_hold_a_tenth_each() -> None:
    labels, logits = draw(np.random.default_rng(3), n=1000)
    assert [part.cells for part in calibrate(labels, logits, bins=1).bins] == [1000]
    assert [part.cells for part in calibrate(labels, logits).bins] == [100] * 10


@settings(max_examples=50)
@given(CELLS, st.booleans())
def test_intercept_and_slope_solve_the_equations_of_maximum_likelihood(
    cells: list[tuple[int, int]], balanced: bool
) -> None:
    labels, logits = split(cells)
    found = calibrate(labels, logits, balanced=balanced)
    weights = compute_sample_weight("balanced" if balanced else None, labels)
    assert weights @ (labels - expit(logits + number(found.intercept))) == pytest.approx(0, abs=1e-6)
    if found.slope.number is None:
        assert "separate" in found.slope.reason or "alike" in found.slope.reason
        return
    low, high = -200.0, 200.0  # the free intercept that goes with this slope, by bisection
    for _ in range(200):
        middle = (low + high) / 2
        surplus = weights @ (labels - expit(middle + found.slope.number * logits))
        low, high = (middle, high) if surplus > 0 else (low, middle)
    residuals = labels - expit(low + found.slope.number * logits)
    assert weights @ (residuals * (logits - logits.mean())) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 0.5), (0.7, 2.0)])
def test_planted_shift_and_scale_are_found(shift: float, scale: float) -> None:
    found = calibrate(*draw(np.random.default_rng(1), shift, scale))
    assert number(found.slope) == pytest.approx(scale, abs=0.05)
    if scale == 1:
        assert number(found.intercept) == pytest.approx(shift, abs=0.05)
    assert (number(found.error) < 0.02) == ((shift, scale) == (0.0, 1.0))


def test_at_the_prior_of_training_the_balanced_rows_are_calibrated_and_the_others_are_not() -> None:
    """A model that presumes 50 % is off by the logit of the prevalence, and by nothing else."""
    labels, logits = draw(np.random.default_rng(2), n=40_000)
    keep = (labels == 0) | (np.arange(len(labels)) % 4 == 0)
    labels, logits = labels[keep], logits[keep]
    plain, balanced = (calibrate(labels, logits, balanced=own) for own in (False, True))
    prevalence = number(plain.prevalence)
    assert balanced.prevalence == plain.prevalence == Value(pytest.approx(0.2, abs=0.01))
    assert number(plain.intercept) == pytest.approx(np.log(prevalence / (1 - prevalence)), abs=0.05)
    assert number(balanced.intercept) == pytest.approx(0, abs=0.05)
    assert number(balanced.error) < 0.02 < number(plain.error)
    assert "50 %" in PRIOR_NOTE


@settings(max_examples=30)
@given(CELLS, st.randoms(), st.booleans())
def test_the_order_of_cells_changes_nothing(cells: list[tuple[int, int]], rng: random.Random, balanced: bool) -> None:
    first = calibrate(*split(cells), balanced=balanced)
    assert calibrate(*split(rng.sample(cells, len(cells))), balanced=balanced) == first


@pytest.mark.parametrize(
    ("labels", "reason"), [([1, 1, 1], "one class only"), ([0], "one class only"), ([], "no cells")]
)
def test_without_both_classes_nothing_is_computed(labels: list[int], reason: str) -> None:
    found = calibrate(labels, [0.5] * len(labels))
    assert {found.error, found.brier, found.intercept, found.slope} == {Value(None, reason)}
    assert (found.bins, found.cells) == ((), len(labels))


def test_a_slope_without_bound_is_no_number() -> None:
    found = calibrate([0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0])
    assert "separate" in found.slope.reason
    assert found.brier.number is not None
    assert calibrate([0, 1, 1, 0], [1.0] * 4).slope == Value(None, "all logits alike")
    assert calibrate([0, 1, 1, 0], [1.0] * 4).error.number == pytest.approx(expit(1) - 0.5)


def test_extreme_logits_give_finite_numbers() -> None:
    found = calibrate([0, 1, 0, 1, 1], [-900.0, 900.0, 800.0, -700.0, 3.0])
    assert all(np.isfinite(number(value)) for value in (found.error, found.brier, found.intercept, found.slope))


@pytest.mark.parametrize(
    ("labels", "logits"), [([0, 1], [np.nan, 1.0]), ([0, 2], [0.0, 1.0]), ([0, 1], [0.0]), ([0, 1], [0.0, np.inf])]
)
def test_what_is_no_label_or_no_logit_is_refused(labels: list[int], logits: list[float]) -> None:
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        calibrate(labels, logits)

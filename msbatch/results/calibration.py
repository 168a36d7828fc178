"""How far the probabilities that logits stand for agree with the classes of the cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit

from msbatch.results.metrics import Value

Array = NDArray[np.float64]

PRIOR = 0.5  # of the positive class in training
BINS = 10

_STEPS = 200
_FLAT = 1e-11  # a mean residual this small is none

PRIOR_NOTE = (
    "Training draws both classes equally often, so probabilities presume a prior of 50 %. Where the prevalence among"
    " the cells differs, shares lie off the diagonal for that reason alone; the balanced rows give each class half of"
    " the weight. Cells are pooled over models, each with an offset of its own."
)


@dataclass(frozen=True)
class Bin:
    """Cells with similar probabilities.

    Attributes
    ----------
    low, high : float
        Lowest and highest probability among them.
    cells : int
        How many.
    weight : float
        Their share of all weight.
    predicted, observed : float
        Mean probability, and share of positives.
    """

    low: float
    high: float
    cells: int
    weight: float
    predicted: float
    observed: float


@dataclass(frozen=True)
class Calibration:
    """Agreement of probabilities and classes.

    Attributes
    ----------
    cells : int
        How many.
    prevalence : Value
        Share of positives among them, whatever the weights.
    balanced : bool
        Whether each class has half of the weight, as in training.
    bins : tuple of Bin
        None where a class is missing.
    error : Value
        Expected calibration error: mean distance of observed and predicted over bins.
    brier : Value
        Mean squared distance of probability and class; .25 without information.
    intercept : Value
        Of the logistic regression of class on logit with a slope of 1; 0 if calibrated in the large (Cox 1958).
    slope : Value
        Of that with a free intercept; 1 if calibrated, below 1 if too extreme.
    """

    cells: int
    prevalence: Value
    balanced: bool
    bins: tuple[Bin, ...]
    error: Value
    brier: Value
    intercept: Value
    slope: Value


def calibrate(labels: ArrayLike, logits: ArrayLike, *, bins: int = BINS, balanced: bool = False) -> Calibration:
    """Compare probabilities with classes; where one class is missing nothing is computed.

    Parameters
    ----------
    labels : array_like, shape (n,)
        True class, 0 or 1.
    logits : array_like of float, shape (n,)
        Natural, of the positive class. The order of cells changes nothing.
    bins : int
        Of equal numbers of cells, as far as ties allow.
    balanced : bool
        Give each class half of the weight, as in training.
    """
    truth, given = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    if truth.shape != given.shape or not np.isin(truth, (0, 1)).all() or not np.isfinite(given).all():
        raise ValueError("labels must be 0 or 1, logits finite, and as many of one as of the other")
    order = np.lexsort((truth, given))
    truth, given = truth[order], given[order]
    if len(np.unique(truth)) < 2:
        none = Value(None, "one class only" if len(truth) else "no cells")
        prevalence = Value(float(truth.mean())) if len(truth) else none
        return Calibration(len(truth), prevalence, balanced, (), none, none, none, none)
    weights = _weights(truth, balanced)
    grouped = _bins(truth, expit(given), weights, bins)
    return Calibration(
        cells=len(truth),
        prevalence=Value(float(truth.mean())),
        balanced=balanced,
        bins=grouped,
        error=Value(sum(part.weight * abs(part.observed - part.predicted) for part in grouped)),
        brier=Value(float(weights @ (expit(given) - truth) ** 2)),
        intercept=Value(_intercept(truth, given, weights)),
        slope=_slope(truth, given, weights),
    )


def _weights(truth: Array, balanced: bool) -> Array:
    """Give weights that sum to 1."""
    share = truth.mean()
    return np.asarray((truth / share + (1 - truth) / (1 - share)) / 2 if balanced else np.ones(len(truth))) / len(truth)


def _bins(truth: Array, probabilities: Array, weights: Array, bins: int) -> tuple[Bin, ...]:
    edges = probabilities[(len(truth) - 1) * np.arange(1, bins) // bins]  # sorted; in integers, so that ties stay put
    index = np.searchsorted(edges, probabilities)
    return tuple(
        _bin(*(part[index == place] for part in (truth, probabilities, weights))) for place in np.unique(index)
    )


def _bin(truth: Array, probabilities: Array, weights: Array) -> Bin:
    weight = float(weights.sum())
    return Bin(
        low=float(probabilities.min()),
        high=float(probabilities.max()),
        cells=len(truth),
        weight=weight,
        predicted=float(weights @ probabilities) / weight,
        observed=float(weights @ truth) / weight,
    )


def _intercept(truth: Array, logits: Array, weights: Array) -> float:
    """Find the shift of all logits that makes predicted and observed positives equal in number."""
    reach = float(np.abs(logits).max()) + 50
    return float(brentq(lambda shift: weights @ (truth - expit(logits + shift)), -reach, reach, xtol=1e-12))


def _slope(truth: Array, logits: Array, weights: Array) -> Value:
    if np.ptp(logits) == 0:
        return Value(None, "all logits alike")
    positive, negative = logits[truth == 1], logits[truth == 0]
    if positive.min() >= negative.max() or negative.min() >= positive.max():
        return Value(None, "the logits separate the classes, so the slope has no bound")
    scale = float(logits.std())
    coefficients = _logistic((logits - logits.mean()) / scale, truth, weights)
    return Value(None, "no solution found") if coefficients is None else Value(float(coefficients[1]) / scale)


def _logistic(column: Array, truth: Array, weights: Array) -> Array | None:
    """Fit intercept and slope by Newton's method, each step halved until the loss does not grow; it is convex."""
    design = np.column_stack([np.ones(len(column)), column])
    coefficients = np.zeros(2)
    for _ in range(_STEPS):
        chances = expit(design @ coefficients)
        gradient = (weights * (truth - chances)) @ design
        if np.abs(gradient).max() < _FLAT:
            return coefficients
        curvature = design.T @ (design * (weights * chances * (1 - chances))[:, None])
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        now = _loss(design @ coefficients, truth, weights)
        while _loss(design @ (coefficients + step), truth, weights) > now + 1e-14 and np.abs(step).max() > 1e-12:
            step = step / 2
        coefficients = coefficients + step
    return None


def _loss(raised: Array, truth: Array, weights: Array) -> float:
    return float(weights @ (np.logaddexp(0, raised) - truth * raised))

"""Cohorts of noise, and refits on raw training rows, for tests of the exact head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Features that know nothing of labels, but differ between patients."""

    features: Array
    groups: NDArray[np.str_]
    labels: Array  # of cells

    @property
    def names(self) -> list[str]:
        return sorted(set(self.groups.tolist()))


def draw(
    seed: int, sizes: list[int], columns: int, *, by_cell: bool = False, between: float = 1.0, effect: float = 0.0
) -> Noise:
    """Draw patients with these numbers of cells; classes alternate, or each cell draws its own."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(len(sizes)), sizes)
    labels = rng.integers(0, 2, len(index)) if by_cell else index % 2
    features = rng.normal(0, 1, (len(index), columns)) + between * rng.normal(0, 1, (len(sizes), columns))[index]
    features = features + effect * labels[:, None]
    names = np.array([f"P{number:03d}" for number in range(len(sizes))])
    return Noise(features, names[index], labels.astype(np.float64))


def refit(
    cohort: Noise, labels: Array, penalty: float, weights: Array | None = None, nuisance: Array | None = None
) -> Array:
    """Predict each patient's cells from a model that saw the other patients' raw rows alone."""
    own = np.ones(len(labels)) if weights is None else weights
    extra = np.empty((len(labels), 0)) if nuisance is None else nuisance
    predicted = np.empty(len(labels))
    for name in cohort.names:
        held = cohort.groups == name
        fitted = _solve(cohort.features[~held], extra[~held], labels[~held], own[~held], penalty)
        predicted[held] = fitted[0] + np.hstack([extra, cohort.features])[held] @ fitted[1:]
    return predicted


def refit_by_scikit(cohort: Noise, labels: Array, penalty: float, weights: Array | None = None) -> Array:
    """Predict likewise by scikit-learn's ridge regression with an intercept."""
    predicted = np.empty(len(labels))
    for name in cohort.names:
        held = cohort.groups == name
        model = Ridge(alpha=penalty, solver="cholesky")
        model.fit(cohort.features[~held], labels[~held], None if weights is None else weights[~held])
        predicted[held] = model.predict(cohort.features[held])
    return predicted


def patient_means(cohort: Noise, values: Array) -> Array:
    """Average over each patient's cells, patients sorted."""
    return np.array([values[cohort.groups == name].mean() for name in cohort.names])


def _solve(features: Array, extra: Array, labels: Array, weights: Array, penalty: float) -> Array:
    """Minimise the weighted squares plus the penalty by least squares on rows that say the penalty."""
    root = np.sqrt(weights)[:, None]
    design = root * np.hstack([np.ones((len(labels), 1)), extra, features])
    free = 1 + extra.shape[1]
    rows = np.hstack([np.zeros((features.shape[1], free)), np.sqrt(penalty) * np.eye(features.shape[1])])
    target = np.concatenate([root[:, 0] * labels, np.zeros(features.shape[1])])
    return np.linalg.lstsq(np.vstack([design, rows]), target, rcond=None)[0]

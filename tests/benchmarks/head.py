"""The exact head against plain refits, in numbers and in time: ``python tests/benchmarks/head.py``.

24 patients with 60 cells each and 1,280 features of noise, at the label-free penalty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rows import Row, row, wall_s
from scipy.linalg import cho_factor, cho_solve

from msbatch.results.head import fit_head
from msbatch.results.permutation import PERMUTATIONS, association

Array = NDArray[np.float64]

PATIENTS, CELLS, FEATURES = 24, 60, 1280
REFITS = 100
REPEATS = 3


def refit(training: Array, labels: Array, held_out: Array, penalty: float) -> Array:
    """Fit ridge regression with an intercept to raw training rows, and predict the held-out ones.

    By the smaller Gram matrix and one Cholesky factor, which no plain way beats.
    """
    means, offset = training.mean(axis=0), labels.mean()
    centred = training - means
    wide = centred.shape[1] > centred.shape[0]
    gram = centred @ centred.T if wide else centred.T @ centred
    gram[np.diag_indices_from(gram)] += penalty
    factor = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    right = labels - offset if wide else centred.T @ (labels - offset)
    solved = cho_solve(factor, right, check_finite=False)
    return np.asarray(offset + (held_out - means) @ (centred.T @ solved if wide else solved))


def refit_all(features: Array, index: NDArray[np.intp], labels: Array, penalty: float, refits: int) -> Array:
    """Predict the cells of patient after patient from all others, by so many refits."""
    predicted = np.empty(len(labels))
    for number in range(refits):
        held = index == number % PATIENTS
        predicted[held] = refit(features[~held], labels[~held], features[held], penalty)
    return predicted


def measure() -> list[Row]:
    """Measure how far the head is from refits, and how much sooner it has 10,000 permutations."""
    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(PATIENTS), CELLS)
    features = rng.normal(size=(len(index), FEATURES)) + rng.normal(size=(PATIENTS, FEATURES))[index]
    labels, groups = index % 2 * 1.0, np.char.mod("P%02d", index)
    head = fit_head(features, groups)
    apart = np.abs(head.predict(labels) - refit_all(features, index, labels, head.penalty, PATIENTS)).max()
    # Taken in turn, so that what else the machine does weighs on both.
    pairs = [
        (
            wall_s(lambda: refit_all(features, index, labels, head.penalty, REFITS)),
            wall_s(lambda: association(fit_head(features, groups), labels)),
        )
        for _ in range(REPEATS)
    ]
    slow, fast = (min(times) for times in zip(*pairs, strict=True))
    size = f"{PATIENTS} patients x {CELLS} cells x {FEATURES} features"
    return [
        row("largest difference of a prediction", f"{PATIENTS} explicit refits", float(apart), 1e-9, "lower", size),
        row(
            f"{PERMUTATIONS} permutations, decomposition included: times faster",
            f"{REFITS} refits of one fold",
            slow / fast,
            1.0,
            "higher",
            f"{size}; {slow:.2f} s against {fast:.2f} s, the least of {REPEATS} each",
        ),
    ]


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure['what']}: {figure['value']:.3g} (target {figure['target']:g}), against {figure['reference']}")

"""Whether p is uniform where labels mean nothing, of every kind of association test: Kolmogorov-Smirnov D and p.

``python tests/truth/uniformity.py [COHORTS]`` (400). Cohorts of 8, 12 and 24 patients in turn have features that differ
between patients, and labels that know nothing of them. With ties broken at random, p is uniform on the steps 1/m, 2/m,
..., 1, where m is 1 + the number of permutations, or of all arrangements; a uniform draw from within its step makes it
continuous, as the Kolmogorov-Smirnov test supposes. Ends in a non-zero code if the p of some test is below .01 over the
number of tests.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from msbatch.results.decomposition import Decomposition, decompose
from msbatch.results.head import head_at
from msbatch.results.inner import inner_penalty
from msbatch.results.permutation import PermutationTest, association

Array = NDArray[np.float64]

PATIENTS = (8, 12, 24)
CELLS, COLUMNS = (4, 13), 40  # of a patient from, and below
BETWEEN = 1.0  # spread of patients, in spreads of cells
PERMUTATIONS = 999


def label_free(cohort: Decomposition, seed: int, permutations: int) -> PermutationTest:
    """Test labels of patients."""
    return _test(cohort, of_patients(cohort, seed), seed, permutations)


def inner(cohort: Decomposition, seed: int, permutations: int) -> PermutationTest:
    """Test labels of patients under penalties chosen inside."""
    chosen = inner_penalty(cohort)
    labels = of_patients(cohort, seed)
    return association(head_at(cohort), labels, inner=chosen, permutations=permutations, seed=seed, random_ties=True)


def by_cell(cohort: Decomposition, seed: int, permutations: int) -> PermutationTest:
    """Test labels of cells, which are commoner in some patients than in others."""
    rng = np.random.default_rng([seed, 2])
    shares = rng.uniform(0.2, 0.8, len(cohort.patients))
    return _test(cohort, (rng.uniform(size=len(cohort.index)) < shares[cohort.index]) * 1.0, seed, permutations)


KINDS: dict[str, Callable[[Decomposition, int, int], PermutationTest]] = {
    "labels of patients, label-free penalty": label_free,
    "labels of patients, penalty chosen inside": inner,
    "labels of cells, label-free penalty": by_cell,
}


def draw(seed: int) -> Decomposition:
    """Draw a cohort whose patients differ, and have different numbers of cells."""
    rng = np.random.default_rng([seed, 0])
    patients = PATIENTS[seed % len(PATIENTS)]
    index = np.repeat(np.arange(patients), rng.integers(*CELLS, patients))
    features = rng.normal(size=(len(index), COLUMNS)) + BETWEEN * rng.normal(size=(patients, COLUMNS))[index]
    return decompose(features, np.char.mod("P%02d", index))


def continuous(test: PermutationTest, rng: np.random.Generator) -> float:
    """Give p less a uniform share of its step."""
    if test.p.number is None:
        raise ValueError(test.p.reason)
    return test.p.number - float(rng.uniform()) / (1 + test.permutations)


def find(kind: str, cohorts: int, permutations: int = PERMUTATIONS) -> Array:
    """Give the p of so many cohorts, continuous."""
    ask, rng = KINDS[kind], np.random.default_rng(1)
    return np.array([continuous(ask(draw(seed), seed, permutations), rng) for seed in range(cohorts)])


def main(arguments: Sequence[str]) -> int:
    """Give the exit code."""
    cohorts, lowest = int(arguments[0]) if arguments else 400, 1.0
    for kind in KINDS:
        start = time.monotonic()
        found = find(kind, cohorts)
        test, low = kstest(found, "uniform"), (found <= 0.05).mean()
        lowest = min(lowest, float(test.pvalue))
        print(
            f"{kind}: {cohorts} cohorts, D {test.statistic:.3f}, p {test.pvalue:.2f}; "
            f"share at most .05 {low:.3f}; {time.monotonic() - start:.0f} s",
            flush=True,
        )
    return int(lowest < 0.01 / len(KINDS))


def of_patients(cohort: Decomposition, seed: int) -> Array:
    """Draw labels with three to five patients of eight in the positive class."""
    rng, patients = np.random.default_rng([seed, 1]), len(cohort.patients)
    positive = int(rng.integers(3 * patients // 8, 5 * patients // 8, endpoint=True))
    return np.asarray(rng.permutation(np.arange(patients) < positive)[cohort.index] * 1.0)


def _test(cohort: Decomposition, labels: Array, seed: int, permutations: int) -> PermutationTest:
    return association(head_at(cohort), labels, permutations=permutations, seed=seed, random_ties=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

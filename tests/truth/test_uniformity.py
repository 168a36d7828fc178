"""A small run of the script that looks whether p is uniform, and a test whose p is not, which it must see."""

import pytest
import uniformity
from scipy.stats import kstest

from msbatch.results.decomposition import Decomposition
from msbatch.results.head import head_at
from msbatch.results.inner import inner_penalty
from msbatch.results.metrics import Value
from msbatch.results.permutation import PermutationTest, association


@pytest.mark.slow
@pytest.mark.parametrize("kind", uniformity.KINDS)
def test_p_is_uniform_where_labels_mean_nothing(kind: str) -> None:
    assert kstest(uniformity.find(kind, 60, permutations=99), "uniform").pvalue > 0.01


def best_of_all(cohort: Decomposition, seed: int, permutations: int) -> PermutationTest:
    """Test under every penalty, and choose the one that the labels as they are like best."""
    labels = uniformity.of_patients(cohort, seed)
    tests = [
        association(head_at(cohort, penalty), labels, permutations=permutations, seed=seed, random_ties=True)
        for penalty in inner_penalty(cohort).penalties
    ]
    return min(tests, key=lambda test: test.p.number or 1.0)


@pytest.mark.slow
def test_a_penalty_chosen_outside_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(uniformity.KINDS, "chosen outside", best_of_all)
    assert kstest(uniformity.find("chosen outside", 60, permutations=99), "uniform").pvalue < 0.01


def test_what_has_no_p_is_an_error() -> None:
    none = Value(None, "one class only")
    with pytest.raises(ValueError, match="one class only"):
        uniformity.continuous(PermutationTest(none, none), None)

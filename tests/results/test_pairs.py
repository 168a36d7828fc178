"""Two patients left out against refits on the raw rows of all others, and the AUC by pairs on noise."""

from itertools import combinations

import numpy as np
import pytest
from heads import Array, Noise, draw, patient_means, refit

from msbatch.results.head import HeadError, fit_head
from msbatch.results.metrics import Value, auc
from msbatch.results.pairs import Pairs, leave_pair_out_auc

SHAPES = [
    pytest.param([7, 3, 12, 5, 1, 6], 4, id="more cells than columns"),
    pytest.param([7, 3, 12, 5, 1, 6], 90, id="more columns than cells"),
    pytest.param([3, 2, 30, 3, 25], 12, id="some of each"),
]


def without_both(cohort: Noise, pair: tuple[str, str], labels: Array, penalty: float, **options: Array) -> Array:
    """Predict both patients' cells by one model that saw neither, and give their means."""
    together = np.where(np.isin(cohort.groups, pair), "both", cohort.groups)
    predicted = refit(Noise(cohort.features, together, cohort.labels), labels, penalty, **options)
    return np.array([predicted[cohort.groups == name].mean() for name in pair])


@pytest.mark.parametrize("penalty", [1e-2, 30.0])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("sizes", "columns"), SHAPES)
def test_means_equal_refits_without_both(sizes: list[int], columns: int, free: bool, penalty: float) -> None:
    cohort, rng = draw(1, sizes, columns), np.random.default_rng(0)
    n = len(cohort.labels)
    options = {"weights": rng.uniform(0.5, 2, n), "nuisance": rng.normal(9, 2, (n, 1))} if free else {}
    pairs = Pairs(fit_head(cohort.features, cohort.groups, **options).cohort)
    classes = rng.normal(size=len(sizes))
    labels = classes[np.unique(cohort.groups, return_inverse=True)[1]]
    for first, second in combinations(range(len(sizes)), 2):
        names = cohort.names[first], cohort.names[second]
        expected = without_both(cohort, names, labels, penalty, **options)
        np.testing.assert_allclose(pairs.maps(first, second, penalty) @ classes, expected, rtol=0, atol=1e-9)


def auc_by_refits(cohort: Noise, penalty: float) -> float:
    classes = dict(zip(cohort.names, patient_means(cohort, cohort.labels), strict=True))
    won = []
    for one in (name for name in cohort.names if classes[name]):
        for other in (name for name in cohort.names if not classes[name]):
            high, low = without_both(cohort, (one, other), cohort.labels, penalty)
            won.append(float(high > low))
    return float(np.mean(won))


@pytest.mark.parametrize("columns", [4, 60])
def test_the_auc_is_the_share_of_pairs_that_refits_rank_right(columns: int) -> None:
    for seed in range(4):
        cohort = draw(seed, [3, 4, 2, 5, 3, 6, 4, 3], columns, effect=0.4)
        head = fit_head(cohort.features, cohort.groups)
        assert leave_pair_out_auc(head, cohort.labels).number == pytest.approx(auc_by_refits(cohort, head.penalty))


def test_a_pair_that_looks_the_same_counts_half() -> None:
    cohort = draw(3, [4] * 6, 3, effect=0.5)
    cohort.features[cohort.groups == "P001"] = cohort.features[cohort.groups == "P000"]
    found = leave_pair_out_auc(fit_head(cohort.features, cohort.groups), cohort.labels).number
    assert found is not None
    assert (9 * found) % 1 == pytest.approx(0.5)


def test_on_noise_it_is_chance_where_pooled_scores_are_far_below() -> None:
    pairs, pooled = [], []
    for seed in range(60):
        cohort = draw(seed, [8] * 10, 100)
        head = fit_head(cohort.features, cohort.groups)
        pairs.append(leave_pair_out_auc(head, cohort.labels).number)
        classes = patient_means(cohort, cohort.labels)
        pooled.append(auc(classes.astype(np.uint8), head.prediction_map() @ classes).number)
    assert np.mean(pairs) == pytest.approx(0.5, abs=0.07)
    assert np.mean(pooled) < 0.3


def test_what_has_no_auc_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = draw(5, [4] * 6, 3)
    head = fit_head(cohort.features, cohort.groups)
    batch = np.isin(cohort.groups, ["P001", "P002"]).astype(float)[:, None]
    reasons = [
        (head, np.ones(24), "one class only"),
        (head, np.arange(24) % 2, "labels vary within patients"),
        (head, np.arange(24) < 4, "one patient only in a class"),
        (fit_head(np.ones((24, 2)), cohort.groups), cohort.labels, "the features do not vary"),
    ]
    for own, labels, reason in reasons:
        assert leave_pair_out_auc(own, labels) == Value(None, reason)
    with_batch = fit_head(cohort.features, cohort.groups, nuisance=batch)
    assert leave_pair_out_auc(with_batch, cohort.labels).reason.startswith("Without patients P001 and P002")
    monkeypatch.setattr("msbatch.results.pairs.OPERATIONS", 100)
    assert "times too long" in leave_pair_out_auc(head, cohort.labels).reason
    many = draw(6, [1] * 101, 2)
    assert leave_pair_out_auc(fit_head(many.features, many.groups), many.labels) == Value(
        None, "101 patients are too many, it takes at most 100"
    )


def test_a_pair_without_which_nothing_is_decided_is_named() -> None:
    cohort = draw(7, [4] * 6, 3)
    batch = np.isin(cohort.groups, ["P001", "P002"]).astype(float)[:, None]
    pairs = Pairs(fit_head(cohort.features, cohort.groups, nuisance=batch).cohort)
    assert pairs.maps(0, 1, 1.0).shape == (2, 6)
    with pytest.raises(HeadError, match="Without patients P001 and P002 the other cells do not decide"):
        pairs.maps(1, 2, 1.0)

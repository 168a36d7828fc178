"""Permutation tests against enumeration and refits, and their p under the null."""

import itertools
import math

import numpy as np
import pytest
from heads import Array, Noise, draw, patient_means, refit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from msbatch.results.head import fit_head
from msbatch.results.metrics import Value
from msbatch.results.nuisance import components
from msbatch.results.permutation import PermutationTest, association, beyond_nuisance, p_value


def statistic_by_refits(cohort: Noise, classes: Array, penalty: float) -> float:
    """Difference of mean patient scores over the mean absolute score, from refits on the other patients' rows."""
    labels = classes[np.unique(cohort.groups, return_inverse=True)[1]]
    scores = patient_means(cohort, refit(cohort, labels, penalty))
    scores = scores - np.array([labels[cohort.groups != name].mean() for name in cohort.names])
    return float((scores[classes == 1].mean() - scores[classes == 0].mean()) / np.abs(scores).mean())


def number(test: PermutationTest) -> float:
    assert test.p.number is not None, test.p.reason
    return test.p.number


@pytest.mark.parametrize(("sizes", "columns", "effect"), [([3, 2, 4, 3, 2], 20, 0.0), ([2, 3, 2, 3, 2, 3], 4, 1.0)])
def test_few_patients_are_enumerated_and_each_arrangement_is_a_refit(sizes, columns, effect) -> None:
    cohort = draw(1, sizes, columns, effect=effect)
    head = fit_head(cohort.features, cohort.groups)
    classes = patient_means(cohort, cohort.labels)
    every = [np.bincount(chosen, minlength=len(sizes)).astype(float) for chosen in _subsets(len(sizes), classes.sum())]
    null = [statistic_by_refits(cohort, arrangement, head.penalty) for arrangement in every]
    observed = statistic_by_refits(cohort, classes, head.penalty)
    test = association(head, cohort.labels)
    assert test.exact
    assert test.permutations == len(every) - 1
    assert test.floor == 1 / len(every)
    assert test.statistic.number == pytest.approx(observed, abs=1e-9)
    assert number(test) == pytest.approx(np.mean(np.array(null) >= observed - 1e-9))


def _subsets(patients: int, positives: float) -> itertools.combinations:
    return itertools.combinations(range(patients), int(positives))


def test_many_patients_are_drawn_and_agree_with_enumeration() -> None:
    cohort = draw(2, [3] * 10, 5, effect=0.6)
    head = fit_head(cohort.features, cohort.groups)
    exact, drawn = association(head, cohort.labels), association(head, cohort.labels, permutations=250)
    assert exact.exact
    assert not drawn.exact
    assert drawn.permutations == 250
    assert drawn.statistic == exact.statistic
    assert number(drawn) == pytest.approx(number(exact), abs=3 * math.sqrt(number(exact) / 250) + 1 / 250)


def test_a_strong_effect_reaches_the_smallest_p_and_never_goes_below() -> None:
    cohort = draw(3, [5] * 7, 3, between=0.1, effect=3.0)
    test = association(fit_head(cohort.features, cohort.groups), cohort.labels)
    assert number(test) == test.floor == 1 / math.comb(7, 3)
    even = draw(3, [5] * 8, 3, between=0.1, effect=3.0)
    mirrored = association(fit_head(even.features, even.groups), even.labels)
    assert number(mirrored) == pytest.approx(2 / math.comb(8, 4))
    beyond = beyond_nuisance(even.features, even.groups, even.labels, np.empty((40, 0)), permutations=2000)
    assert number(beyond) >= beyond.floor == 1 / math.comb(8, 4)


def test_labels_that_vary_within_patients_are_permuted_there() -> None:
    cohort = draw(4, [9, 4, 12, 7], 3, by_cell=True, effect=1.5)
    head = fit_head(cohort.features, cohort.groups)
    scores = refit(cohort, cohort.labels, head.penalty)
    total = cohort.labels.sum()
    gaps = []
    for name in cohort.names:
        own, held = cohort.labels[cohort.groups == name], cohort.groups == name
        scores[held] -= (total - own.sum()) / (len(scores) - len(own))
        gaps.append(scores[held][own == 1].mean() - scores[held][own == 0].mean())
    test = association(head, cohort.labels, permutations=499)
    assert test.statistic.number == pytest.approx(np.mean(gaps) / np.abs(scores).mean(), abs=1e-9)
    assert number(test) == 1 / 500
    ones = [int(cohort.labels[cohort.groups == name].sum()) for name in cohort.names]
    arrangements = math.prod(math.comb(n, k) for n, k in zip([9, 4, 12, 7], ones, strict=True))
    assert test.floor == pytest.approx(1 / arrangements)


def test_a_patient_of_one_class_takes_no_part_in_a_test_within_patients() -> None:
    cohort = draw(5, [9, 4, 12, 7], 3, by_cell=True)
    cohort.labels[cohort.groups == "P001"] = 1
    test = association(fit_head(cohort.features, cohort.groups), cohort.labels, permutations=99)
    assert 0 < number(test) <= 1


@pytest.mark.parametrize("by_cell", [False, True])
def test_p_is_uniform_where_labels_mean_nothing(by_cell: bool) -> None:
    found = []
    for seed in range(200):
        cohort = draw(seed, [4] * 7 if by_cell else [3] * 8, 6, by_cell=by_cell)
        head = fit_head(cohort.features, cohort.groups)
        found.append(number(association(head, cohort.labels, permutations=99, seed=seed, random_ties=True)))
    assert kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.09


def test_beyond_nuisance_p_is_seldom_small_where_nuisance_is_all_there_is() -> None:
    found, plain = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        cohort = draw(seed, [3] * 16, 6)
        stain = (patient_means(cohort, cohort.labels) + rng.normal(0, 0.7, 16))[np.repeat(np.arange(16), 3)][:, None]
        features = np.hstack([cohort.features, 3 * stain + 0.3 * rng.normal(size=stain.shape)])
        test = beyond_nuisance(features, cohort.groups, cohort.labels, stain, permutations=99, seed=seed)
        found.append(number(test))
        plain.append(number(association(fit_head(features, cohort.groups), cohort.labels, permutations=99)))
    assert np.mean(np.array(found) <= 0.05) <= 0.09
    assert np.mean(np.array(found) <= 0.5) == pytest.approx(0.5, abs=0.12)
    assert np.mean(np.array(plain) <= 0.05) > 0.2


def test_beyond_nuisance_keeps_its_size_in_a_small_cohort_with_as_many_columns_as_it_allows() -> None:
    found = []
    for seed in range(300):
        cohort = draw(seed, [3] * 8, 20)
        nuisance = components(cohort.features[:, :6] + cohort.labels[:, None], cohort.groups)
        features = cohort.features[:, 6:]
        found.append(number(beyond_nuisance(features, cohort.groups, cohort.labels, nuisance, permutations=99)))
    # Here .06; the plain difference of squared errors, in place of a share, has .15.
    assert np.mean(np.array(found) <= 0.05) <= 0.08


def test_beyond_nuisance_sees_what_nuisance_does_not_say() -> None:
    cohort = draw(6, [4] * 20, 3, between=0.2, effect=1.5)
    nuisance = components(np.random.default_rng(0).normal(size=(80, 4)), cohort.groups)
    test = beyond_nuisance(cohort.features, cohort.groups, cohort.labels, nuisance, permutations=199)
    assert number(test) == 1 / 200


@pytest.mark.parametrize("by_cell", [False, True])
@pytest.mark.parametrize("columns", [3, 40])
def test_freedman_lane_is_what_refits_say(columns: int, by_cell: bool) -> None:
    cohort = draw(7, [3, 5, 2, 4, 3, 4, 2], columns, by_cell=by_cell)
    rng = np.random.default_rng(1)
    index = np.unique(cohort.groups, return_inverse=True)[1]
    nuisance = rng.normal(size=(len(index), 2)) if by_cell else rng.normal(size=(7, 2))[index]
    penalty = fit_head(cohort.features, cohort.groups, nuisance=nuisance).penalty
    alone = Noise(np.empty((len(index), 0)), cohort.groups, cohort.labels)

    def gain(labels: Array) -> float:
        errors = []
        for which in (alone, cohort):
            missed = labels - refit(which, labels, penalty, nuisance=nuisance)
            errors.append((missed if by_cell else patient_means(which, missed)) ** 2)
        return float(1 - errors[1].sum() / errors[0].sum())

    units = np.arange(len(index)) if by_cell else np.unique(index, return_index=True)[1]
    design = np.column_stack([np.ones(len(units)), nuisance[units]])
    fitted = design @ np.linalg.pinv(design) @ cohort.labels[units]
    strata = [np.flatnonzero(index == patient) for patient in range(7)] if by_cell else [np.arange(7)]
    null = []
    for _ in range(300):
        rest = cohort.labels[units] - fitted
        for rows in strata:
            rest[rows] = rng.permutation(rest[rows])
        null.append(gain(fitted + rest if by_cell else (fitted + rest)[index]))
    test = beyond_nuisance(cohort.features, cohort.groups, cohort.labels, nuisance, permutations=2000)
    assert test.statistic.number == pytest.approx(gain(cohort.labels), abs=1e-9)
    assert number(test) == pytest.approx(np.mean(np.array(null) >= gain(cohort.labels)), abs=0.09)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.booleans())
def test_order_and_names_of_patients_change_no_p(lot, by_cell: bool) -> None:
    cohort = draw(8, [4, 2, 5, 3, 4, 3], 4, by_cell=by_cell, effect=0.5)
    nuisance = np.random.default_rng(0).normal(size=(21, 1))
    rows, names = list(range(21)), list("uvwxyz")
    lot.shuffle(rows)
    lot.shuffle(names)
    renamed = dict(zip(cohort.names, names, strict=True))
    groups = np.array([renamed[name] for name in cohort.groups])
    for p in ("association", "beyond"):
        found = []
        for own, chosen in ((cohort.groups, list(range(21))), (groups, rows)):
            features, labels = cohort.features[chosen], cohort.labels[chosen]
            if p == "beyond":
                test = beyond_nuisance(features, own[chosen], labels, nuisance[chosen], permutations=19)
            else:
                test = association(fit_head(features, own[chosen]), labels, permutations=19)
            found.append((test.p, test.permutations, test.floor))
        assert found[0] == found[1]


def test_the_same_seed_draws_the_same() -> None:
    cohort = draw(9, [3] * 9, 4)
    head = fit_head(cohort.features, cohort.groups)
    first, again, other = (association(head, cohort.labels, permutations=99, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.p != other.p


def test_memory_is_bounded_and_blocks_do_not_change_how_many_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = draw(10, [3] * 12, 4, by_cell=True)
    head = fit_head(cohort.features, cohort.groups)
    monkeypatch.setattr("msbatch.results.permutation._BLOCK", 36 * 17)
    test = association(head, cohort.labels, permutations=100)
    assert test.permutations == 100


@pytest.mark.parametrize(
    ("null", "larger"), [([0.0, 1.0, 3.0], 1), ([2.0, 2.0 + 1e-13, 2.0 - 1e-13], 3), ([5.0, 6.0, 7.0], 3)]
)
def test_p_counts_ties_against_the_labels_unless_they_are_broken(null, larger: int) -> None:
    assert p_value(2.0, np.array(null)) == (1 + larger) / 4


def test_broken_ties_are_as_likely_at_every_rank() -> None:
    rng = np.random.default_rng(0)
    found = [p_value(1.0, np.array([1.0, 1.0, 0.0]), rng) for _ in range(600)]
    assert set(found) == {1 / 4, 2 / 4, 3 / 4}
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_what_cannot_be_tested_says_why() -> None:
    cohort = draw(11, [3] * 8, 4)
    flat, groups, labels = np.ones((24, 2)), cohort.groups, cohort.labels
    reasons = [
        (association(fit_head(cohort.features, groups), np.ones(24)), "one class only"),
        (association(fit_head(flat, groups), labels), "the features do not vary"),
        (beyond_nuisance(cohort.features, groups, np.ones(24), flat), "one class only"),
        (beyond_nuisance(flat, groups, labels, flat), "the features add nothing to the nuisance columns"),
        (
            beyond_nuisance(cohort.features, groups, labels, labels[:, None]),
            "the nuisance columns explain the labels completely",
        ),
    ]
    for test, reason in reasons:
        assert test.statistic == test.p == Value(None, reason)
    single = (groups == "P003").astype(float)[:, None]
    assert beyond_nuisance(cohort.features, groups, labels, single).p.reason.startswith("Without patient P003")
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        association(fit_head(cohort.features, groups), 2 * labels)

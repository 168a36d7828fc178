"""Paired comparisons against scipy, against loops over all signs, and their limits with few patients."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, permutation_test, wilcoxon

from msbatch.results import comparison
from msbatch.results.comparison import best_of, compare, flip_signs, holm
from msbatch.results.folds import FoldResult
from msbatch.results.metrics import Counts, Value

differences = st.lists(st.integers(-20, 20).map(lambda n: n / 10), max_size=9)


def fold(patient: str, label: int | None, hits: int, cells: int = 20) -> FoldResult:
    wrong = cells - hits
    counts = Counts(tn=hits, fp=wrong) if label == 0 else Counts(tp=hits, fn=wrong)
    return FoldResult(int(patient[1:]), patient, label, counts, 0.0, Value(None, "one class only"))


def backbone(positive: list[int], negative: list[int]) -> list[FoldResult]:
    hits = [(1, own) for own in positive] + [(0, own) for own in negative]
    return [fold(f"P{place}", label, own) for place, (label, own) in enumerate(hits)]


FIRST = backbone([20, 18, 15, 19], [10, 12, 20, 17, 16, 14])
SECOND = backbone([15, 18, 14, 12], [12, 10, 11, 15, 19, 13])
THIRD = backbone([16, 17, 15, 18], [12, 12, 14, 15, 12, 20])
ALL = {"first": FIRST, "second": SECOND, "third": THIRD}


@given(differences)
def test_sign_flips_agree_with_a_loop_over_all_signs(values: list[float]) -> None:
    observed = abs(sum(values)) - 1e-9
    flips = [
        abs(sum(map(float.__mul__, signs, values))) for signs in itertools.product((-1.0, 1.0), repeat=len(values))
    ]
    found = flip_signs(values)
    assert found.p == pytest.approx(sum(flip >= observed for flip in flips) / len(flips))
    assert found.exact
    assert found.p >= found.floor


@settings(max_examples=20)
@given(st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-3), min_size=2, max_size=10))
def test_sign_flips_agree_with_scipy(values: list[float]) -> None:
    theirs = permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert flip_signs(values).p == pytest.approx(theirs.pvalue)


def test_many_patients_are_drawn_and_near_the_exact_answer() -> None:
    values = np.random.default_rng(3).normal(0.4, 1, comparison.EXACT_UP_TO)
    exact = flip_signs(values)
    drawn = flip_signs([*values, 1e-12])  # one more difference, too small to matter
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.p == pytest.approx(exact.p, abs=0.02)
    assert drawn.floor == 1 / (1 + comparison.PERMUTATIONS)


def test_no_difference_at_all_is_no_evidence() -> None:
    assert flip_signs([0.0, 0.0]).p == flip_signs([]).p == 1


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=15, unique=True), st.data())
def test_signed_ranks_agree_with_wilcoxon(sizes: list[int], data) -> None:
    signs = data.draw(st.lists(st.sampled_from((-1, 1)), min_size=len(sizes), max_size=len(sizes)))
    values = np.array(sizes) * np.array(signs) / 10_000
    ours = flip_signs(comparison._signed_ranks(values)).p
    assert ours == pytest.approx(wilcoxon(values, method="exact").pvalue)


@given(differences)
def test_tied_ranks_agree_with_wilcoxon_by_permutation(values: list[float]) -> None:
    real = [value for value in values if value]
    if len(real) < 2:
        return
    theirs = permutation_test(
        (np.array(real),),
        lambda x, axis: wilcoxon(x, axis=axis, alternative="greater", method="asymptotic").statistic,
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert flip_signs(comparison._signed_ranks(np.array(values))).p == pytest.approx(min(1, theirs.pvalue))


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_agrees_with_its_definition(numbers: list[float]) -> None:
    found = [value.number for value in holm([Value(number) for number in numbers])]
    ranks = np.argsort(numbers, kind="stable")
    for place, number in enumerate(numbers):
        before = [
            (len(numbers) - rank) * numbers[other] for rank, other in enumerate(ranks) if numbers[other] <= number
        ]
        assert found[place] == pytest.approx(min(1, max(before)))
        assert number <= found[place] <= min(1, number * len(numbers) + 1e-12)
    if numbers:
        assert (
            min(found) >= min(false_discovery_control(numbers)) - 1e-12
        )  # Holm is never laxer than Benjamini-Hochberg


def test_holm_gives_the_worked_figures_and_leaves_out_what_is_undefined() -> None:
    none = Value(None, "one class only")
    found = holm([Value(0.04), Value(0.01), none, Value(0.03)])
    assert [value.number for value in found] == pytest.approx([0.06, 0.03, None, 0.06])
    assert found[2] == none


def test_the_difference_is_a_mean_within_class_then_over_classes() -> None:
    (pair,) = compare({"first": FIRST, "second": SECOND})
    positive = np.mean([5 / 20, 0, 1 / 20, 7 / 20])
    negative = np.mean([-2 / 20, 2 / 20, 9 / 20, 2 / 20, -3 / 20, 1 / 20])
    assert pair.difference.number == pytest.approx((positive + negative) / 2)
    assert (pair.patients, pair.differing, pair.exact) == (10, 9, True)
    assert pair.floor == Value(2 / 2**9)


def test_the_p_of_a_pair_is_that_of_weighted_sign_flips() -> None:
    (pair,) = compare({"first": FIRST, "second": SECOND})
    gaps = np.array([5, 0, 1, 7, -2, 2, 9, 2, -3, 1]) / 20
    weights = np.array([1 / 8] * 4 + [1 / 12] * 6)
    signs = np.array(list(itertools.product((-1, 1), repeat=10)))
    reached = np.abs(signs @ (gaps * weights)) >= abs(gaps @ weights) - 1e-12
    assert pair.p.number == pytest.approx(reached.mean())
    ranks = signs[:, gaps != 0] * comparison.rankdata(np.abs(gaps[gaps != 0]).round(9))
    observed = abs((np.sign(gaps[gaps != 0]) * np.abs(ranks[0])).sum())
    assert pair.wilcoxon.number == pytest.approx((np.abs(ranks.sum(axis=1)) >= observed).mean())


def test_all_pairs_are_corrected_together() -> None:
    pairs = compare(ALL)
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("first", "second"),
        ("first", "third"),
        ("second", "third"),
    ]
    assert [pair.p_holm for pair in pairs] == holm([pair.p for pair in pairs])
    assert [pair.wilcoxon_holm for pair in pairs] == holm([pair.wilcoxon for pair in pairs])


def test_five_patients_cannot_reach_five_percent() -> None:
    (pair,) = compare({"a": backbone([20] * 3, [20] * 2), "b": backbone([1, 2, 3], [4, 5])})
    assert pair.p == pair.wilcoxon == pair.floor == Value(2 / 2**5)


@settings(max_examples=20)
@given(st.randoms(), st.permutations(range(10)))
def test_order_and_names_of_patients_change_nothing(rng: random.Random, places: list[int]) -> None:
    def renamed(folds: list[FoldResult]) -> list[FoldResult]:
        own = [FoldResult(f.fold, f"Q{places[f.fold]}", f.label, f.counts, f.score, f.auc) for f in folds]
        return rng.sample(own, len(own))

    changed = {name: renamed(own) for name, own in ALL.items()}
    assert compare(changed) == compare(ALL)
    assert best_of(changed) == best_of(ALL)


def test_order_changes_nothing_where_signs_are_drawn() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(0.1, 1, 40)
    assert len({flip_signs(rng.permutation(values), permutations=500) for _ in range(10)}) == 1
    assert flip_signs(-values, permutations=500) == flip_signs(values, permutations=500)
    assert len({flip_signs(values, permutations=500, seed=seed) for seed in range(10)}) > 1


def test_no_drawn_p_is_zero() -> None:
    found = flip_signs(np.ones(40), permutations=99)
    assert found.p == found.floor == 0.01


def test_swapping_a_pair_changes_the_sign_alone() -> None:
    (one,), (other,) = compare({"a": FIRST, "b": SECOND}), compare({"b": SECOND, "a": FIRST})
    assert other.difference.number == pytest.approx(-(one.difference.number or 0))
    assert (other.p, other.wilcoxon) == (one.p, one.wilcoxon)


def test_patients_without_both_folds_are_left_out() -> None:
    (pair,) = compare({"a": FIRST[1:], "b": SECOND[:-1]})
    assert pair.patients == 8


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [(FIRST[:4], SECOND[:4], "one class only"), (FIRST[:2], SECOND[4:], "no patient in common")],
)
def test_what_cannot_be_compared_says_why(first: list[FoldResult], second: list[FoldResult], reason: str) -> None:
    (pair,) = compare({"a": first, "b": second})
    assert {pair.difference, pair.p, pair.p_holm, pair.wilcoxon, pair.floor} == {Value(None, reason)}
    assert best_of({"a": first, "b": second}).score == Value(None, reason)


def test_patients_with_both_classes_are_one_class_of_their_own() -> None:
    mixed = [fold(f"P{place}", None, hits) for place, hits in enumerate((20, 15, 10))]
    other = [fold(f"P{place}", None, hits) for place, hits in enumerate((10, 15, 5))]
    (pair,) = compare({"a": mixed, "b": other})
    assert pair.difference.number == pytest.approx((10 + 0 + 5) / 60)


def test_the_best_of_several_is_named_with_what_choosing_cost() -> None:
    best = best_of(ALL)
    scores = [
        np.mean([np.mean(own[:4]), np.mean(own[4:])])
        for own in (np.array([f.counts.tp + f.counts.tn for f in folds]) / 20 for folds in ALL.values())
    ]
    assert (best.names, best.backbones, best.patients, best.optimistic) == (("first",), 3, 10, True)
    assert best.score.number == pytest.approx(scores[0])
    assert best.mean.number == pytest.approx(np.mean(scores))
    assert not best_of({"first": FIRST}).optimistic


def test_equal_bests_are_all_named() -> None:
    assert best_of({"b": FIRST, "a": FIRST, "c": SECOND}).names == ("a", "b")

"""Intervals against scipy, against figures worked by hand, and against how often they hold the truth."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from msbatch.results import intervals
from msbatch.results.intervals import Interval
from msbatch.results.metrics import Counts, Value

REPLICATES = 400

one_class = st.builds(
    lambda label, hits, misses: Counts(tp=hits, fn=misses) if label else Counts(tn=hits, fp=misses),
    st.booleans(),
    st.integers(1, 30),
    st.integers(0, 30),
)
both_classes = st.builds(Counts, st.integers(1, 20), *[st.integers(0, 20)] * 3)


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low.number is not None
    assert interval.high.number is not None
    return interval.low.number, interval.high.number


def cohort(positive: list[int], negative: list[int], cells: int = 10) -> list[Counts]:
    return [Counts(tp=hits, fn=cells - hits) for hits in positive] + [
        Counts(tn=hits, fp=cells - hits) for hits in negative
    ]


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(9, 10, 0.555, 0.997), (18, 20, 0.683, 0.988)])
def test_clopper_pearson_gives_the_worked_figures(hits: int, n: int, low: float, high: float) -> None:
    assert ends(intervals.clopper_pearson(hits, n)) == pytest.approx((low, high), abs=0.0005)


def test_wilson_gives_the_worked_figures() -> None:
    assert ends(intervals.wilson(9, 10)) == pytest.approx((0.596, 0.982), abs=0.0005)


@pytest.mark.parametrize(("ours", "theirs"), [(intervals.clopper_pearson, "exact"), (intervals.wilson, "wilson")])
@given(data=st.data(), n=st.integers(1, 300), confidence=st.floats(0.5, 0.999))
def test_proportions_agree_with_scipy(ours, theirs, data, n: int, confidence: float) -> None:
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(confidence, theirs)
    assert ends(ours(hits, n, confidence)) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_proportion_of_nothing_has_no_interval() -> None:
    for interval in (intervals.clopper_pearson(0, 0), intervals.wilson(0, 0)):
        assert interval.low == interval.high == Value(None, "no case")


@pytest.mark.parametrize("patients", [2, 4, 10, 40])
def test_the_tail_is_wider_than_two_and_a_half_percent(patients: int) -> None:
    quantile = math.sqrt(patients / (patients - 1)) * t(patients - 1).ppf(0.975)
    assert intervals.tail(patients) == pytest.approx(norm.sf(quantile), rel=1e-9)
    assert intervals.tail(patients) < 0.025


@given(st.lists(st.builds(Counts, *[st.integers(0, 50)] * 4), min_size=1, max_size=20))
def test_metrics_of_many_counts_agree_with_those_of_one(counts: list[Counts]) -> None:
    table = np.array([(own.tp, own.fp, own.fn, own.tn) for own in counts], float)
    for metric in intervals.METRICS.values():
        numbers = [math.nan if (value := metric.one(own)).number is None else value.number for own in counts]
        np.testing.assert_allclose(metric.many(table), numbers, atol=1e-12)


def test_resampling_is_the_pool_of_patients_drawn_one_by_one() -> None:
    counts = [Counts(tp=7, fn=1), Counts(tp=2, fn=5), Counts(tp=3), Counts(tn=4, fp=4), Counts(tn=9)]
    drawn = intervals.bootstrap(counts, by_class=True, replicates=40_000, seed=1)
    rng = random.Random(2)
    values = []
    for _ in range(20_000):
        chosen = [*rng.choices(counts[:3], k=3), *rng.choices(counts[3:], k=2)]
        values.append(intervals.METRICS["sensitivity"].one(sum(chosen, Counts())).number)
    cut = intervals.tail(3)  # of the positive class, though the other is smaller
    assert ends(drawn["sensitivity"]) == pytest.approx(np.quantile(values, [cut, 1 - cut]), abs=1e-9)


def test_the_bootstrap_varies_as_much_as_theory_says() -> None:
    hits = [2, 5, 9, 9, 4, 7, 8, 10, 6, 3]
    strata = [np.array([[own, 0, 10 - own, 0] for own in hits], float)]
    sums = intervals._resample(strata, 20_000, np.random.default_rng(0))
    assert sums[:, 0].mean() == pytest.approx(sum(hits), abs=0.2)
    assert sums[:, 0].var() == pytest.approx(10 * np.var(hits), rel=0.05)
    assert (sums[:, 0] + sums[:, 2] == 100).all()


@settings(max_examples=30)
@given(st.lists(one_class, min_size=2, max_size=12), st.randoms())
def test_order_and_names_of_patients_change_nothing(counts: list[Counts], rng: random.Random) -> None:
    shuffled = rng.sample(counts, len(counts))
    for by_class in (True, False):
        first = intervals.bootstrap(counts, by_class=by_class, replicates=50)
        assert intervals.bootstrap(shuffled, by_class=by_class, replicates=50) == first


@settings(max_examples=30)
@given(st.lists(one_class, min_size=2, max_size=12) | st.lists(both_classes, min_size=2, max_size=12))
def test_an_interval_is_a_pair_of_numbers_or_a_reason(counts: list[Counts]) -> None:
    by_class = all(own.positives == 0 or own.negatives == 0 for own in counts)
    for name, interval in intervals.bootstrap(counts, by_class=by_class, replicates=100).items():
        if interval.low.number is None:
            assert interval.low.reason
            assert interval.high == interval.low
        else:
            low, high = ends(interval)
            assert (-1 if name == "mcc" else 0) <= low < high <= 1


def test_the_seed_decides() -> None:
    counts = cohort([3, 9, 5, 7, 8, 9], [4, 8, 9, 9, 10, 6])
    first, same, other = (intervals.bootstrap(counts, by_class=True, replicates=300, seed=seed) for seed in (1, 1, 2))
    assert first == same != other


def test_perfect_patients_give_the_exact_bound_and_not_a_point() -> None:
    found = intervals.bootstrap(cohort([10] * 12, [10] * 12), by_class=True, replicates=REPLICATES)
    assert ends(found["sensitivity"]) == pytest.approx(ends(intervals.clopper_pearson(12, 12)))
    joint, _ = ends(intervals.clopper_pearson(12, 12, 0.975))
    assert ends(found["balanced_accuracy"]) == pytest.approx((joint, 1))
    assert ends(found["f1_positive"]) == pytest.approx((joint, 1))  # as many cells of each class
    assert ends(found["mcc"]) == pytest.approx((2 * joint - 1, 1))
    assert {interval.method for interval in found.values()} == {intervals.EXACT}


def test_patients_that_are_all_wrong_give_the_exact_bound() -> None:
    found = intervals.bootstrap(cohort([0] * 8, [0] * 8), by_class=True, replicates=REPLICATES)
    assert ends(found["specificity"]) == pytest.approx(ends(intervals.clopper_pearson(0, 8)))
    assert ends(found["macro_f1"]) == pytest.approx(ends(intervals.clopper_pearson(0, 8, 0.975)))


def test_always_positive_has_bounds_at_both_ends() -> None:
    found = intervals.bootstrap(cohort([10] * 8, [0] * 8), by_class=True, replicates=REPLICATES)
    joint, _ = ends(intervals.clopper_pearson(8, 8, 0.975))
    assert ends(found["balanced_accuracy"]) == pytest.approx((joint / 2, (2 - joint) / 2))
    assert found["mcc"].low == Value(None, "all calls alike")


def test_patients_that_are_alike_tell_nothing_of_the_spread() -> None:
    found = intervals.bootstrap(cohort([7] * 8, [7] * 8), by_class=True, replicates=REPLICATES)
    assert {interval.low.reason for interval in found.values()} == {"all patients of a class alike"}


def test_one_patient_of_a_class_leaves_the_other_class_its_interval() -> None:
    found = intervals.bootstrap(cohort([3, 9, 5, 7, 8, 9], [6]), by_class=True, replicates=REPLICATES)
    assert found["balanced_accuracy"].low == Value(None, "fewer than 3 patients in a class")
    assert found["sensitivity"].low.number is not None
    assert found["specificity"].low == Value(None, "all patients of a class alike")


def test_two_patients_of_a_class_are_too_few_for_a_bootstrap() -> None:
    found = intervals.bootstrap(cohort([3, 9, 5, 7], [6, 8]), by_class=True, replicates=REPLICATES)
    assert found["mcc"].low == Value(None, "fewer than 3 patients in a class")
    assert found["sensitivity"].low.number is not None


def test_one_class_has_no_f1_and_says_why() -> None:
    found = intervals.bootstrap(cohort([3, 9, 5], []), by_class=True, replicates=REPLICATES)
    assert found["f1_positive"].low == found["specificity"].high == Value(None, "no negative case")
    assert found["sensitivity"].low.number is not None
    assert {interval.low.reason for interval in intervals.bootstrap([], by_class=True).values()} == {
        "no positive case",
        "no negative case",
    }


@pytest.mark.parametrize(("negatives", "few"), [(5, True), (6, False)])
def test_few_patients_are_indicative_only(negatives: int, few: bool) -> None:
    hits = [3, 9, 5, 7, 8, 9]
    found = intervals.bootstrap(cohort(hits, hits[:negatives]), by_class=True, replicates=REPLICATES)
    for interval in found.values():
        assert interval.note == (f"indicative only: {negatives} patients in a class" if few else "")


def test_undefined_replicates_are_left_out_and_counted() -> None:
    counts = [Counts(tp=3, fn=2)] * 6 + [Counts(tp=5)] + [Counts(tn=3, fp=1), Counts(tn=2, fp=2)]
    found = intervals.bootstrap(counts, by_class=False, replicates=2000)
    number = int(found["f1_positive"].note.split()[0])
    assert number == pytest.approx(2000 * (7 / 9) ** 9, rel=0.3)
    assert found["f1_positive"].note == f"{number} of 2000 resamples undefined and left out"
    assert found["sensitivity"].note == ""
    assert found["f1_positive"].low.number is not None


def test_a_metric_that_most_replicates_lack_has_no_interval() -> None:
    counts = [Counts(tp=1)] * 20 + [Counts(fn=1), Counts(fp=1)]
    found = intervals.bootstrap(counts, by_class=False, replicates=1000)
    assert found["mcc"].low.reason.startswith("undefined in ")
    assert found["f1_positive"].low.number is not None


def test_a_patient_with_both_classes_cannot_be_drawn_within_class() -> None:
    with pytest.raises(ValueError, match="both classes"):
        intervals.bootstrap([Counts(tp=1, tn=1)], by_class=True)
    with pytest.raises(ValueError, match="no cells"):
        intervals.bootstrap([Counts()], by_class=False)


def test_calls_of_patients_have_exact_proportions() -> None:
    found = intervals.bootstrap_calls(Counts(tp=9, fn=1, tn=18, fp=2), replicates=REPLICATES)
    assert ends(found["sensitivity"]) == pytest.approx((0.555, 0.997), abs=0.0005)
    assert ends(found["specificity"]) == pytest.approx((0.683, 0.988), abs=0.0005)
    low, high = ends(found["balanced_accuracy"])
    assert low < 0.9 < high
    assert {interval.low.reason for interval in intervals.bootstrap_calls(Counts()).values()} >= {"no case"}


def test_a_mean_over_patients_has_an_interval() -> None:
    values = [Value(number) for number in (0.6, 0.9, 0.8, 0.7, 0.95, 0.85, 0.75)]
    found = intervals.bootstrap_mean([*values, Value(None, "one class only")], replicates=4000)
    numbers = [value.number for value in values]
    half = t(6).ppf(0.975) * np.std(numbers, ddof=1) / math.sqrt(7)
    assert ends(found) == pytest.approx((np.mean(numbers) - half, np.mean(numbers) + half), abs=0.02)
    assert intervals.bootstrap_mean(values[::-1], replicates=4000) == found


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([1.0] * 5, intervals.clopper_pearson(5, 5)), ([0.0] * 5, intervals.clopper_pearson(0, 5))],
)
def test_means_at_the_edge_have_exact_bounds(numbers: list[float], expected: Interval) -> None:
    assert intervals.bootstrap_mean([Value(number) for number in numbers]) == expected


def test_means_that_say_nothing_of_the_spread_have_none() -> None:
    assert intervals.bootstrap_mean([Value(0.5)] * 4).low == Value(None, "all patients alike")
    assert intervals.bootstrap_mean([Value(0.5)]).low == Value(None, "fewer than two patients have one")


@pytest.mark.parametrize("patients", [4, 7, 10])
def test_expanded_tails_cover_what_plain_ones_miss(patients: int) -> None:
    """Coverage of a nominal 95 % interval of a sensitivity, over 500 cohorts drawn from one beta distribution."""
    plain, expanded = coverage(patients, cohorts=500, replicates=1000)
    assert 0.72 < plain < 0.93
    assert 0.84 < expanded < 0.98
    assert expanded > plain + 0.01


def coverage(patients: int, cohorts: int, replicates: int) -> tuple[float, float]:
    rng = np.random.default_rng([7, patients])
    cuts = np.array([0.025, intervals.tail(patients)])
    held = np.zeros(2)
    for _ in range(cohorts):
        hits = rng.binomial(60, rng.beta(8, 2, patients))
        counts = np.column_stack([hits, np.zeros((patients, 1)), 60 - hits, np.zeros((patients, 1))]).astype(float)
        sums = intervals._resample([counts], replicates, rng)
        low, high = np.quantile(sums[:, 0] / (60 * patients), [cuts, 1 - cuts])
        held += (low <= 0.8) & (high >= 0.8)
    return tuple((held / cohorts).tolist())

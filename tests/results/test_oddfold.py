"""The odd fold: how rarely a good cohort has one, that a bad fold is found, and where nothing can be said."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.stats import betabinom, binom

from msbatch.results import oddfold
from msbatch.results.folds import FoldResult
from msbatch.results.intervals import METRICS
from msbatch.results.metrics import Counts, Value
from msbatch.results.oddfold import OddFold, beta_binomial, influence, odd_folds

CELLS = 60


def fold(place: int, label: int | None, hits: int, cells: int = CELLS) -> FoldResult:
    wrong = cells - hits
    counts = Counts(tn=hits, fp=wrong) if label == 0 else Counts(tp=hits, fn=wrong)
    return FoldResult(place, f"P{place}", label, counts, 0.0, Value(None, "one class only"))


def cohort(rng: np.random.Generator, a: float, b: float, patients: int = 24) -> list[FoldResult]:
    hits = rng.binomial(CELLS, rng.beta(a, b, patients))
    return [fold(place, place % 2, int(own)) for place, own in enumerate(hits)]


def number(value: Value) -> float:
    assert value.number is not None
    return value.number


@given(st.integers(1, 400), st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_the_beta_binomial_agrees_with_scipy(cells: int, a: float, b: float) -> None:
    ours = beta_binomial(cells, np.array([a]), np.array([b]))[0]
    np.testing.assert_allclose(ours, betabinom.pmf(np.arange(cells + 1), cells, a, b), atol=1e-9)


def test_what_others_let_one_expect_agrees_with_an_integral() -> None:
    """The mean recall of the next patient, over all means and all logarithms of the spread, by quadrature."""
    hits, cells = np.array([50, 41, 55, 58, 47]), np.array([60, 60, 60, 60, 50])

    def weight(mean: float, log_spread: float) -> float:
        size = np.exp(-log_spread) - 1
        return float(np.prod(betabinom.pmf(hits, cells, mean * size, (1 - mean) * size)))

    low, high, bounds = np.log(0.0005), np.log(0.9), {"epsabs": 0, "epsrel": 1e-3}
    whole = dblquad(weight, low, high, 0.02, 0.998, **bounds)[0]
    first = dblquad(lambda mean, spread: mean * weight(mean, spread), low, high, 0.02, 0.998, **bounds)[0]
    results = [fold(place, 1, *own) for place, own in enumerate(zip(hits.tolist(), cells.tolist(), strict=True))]
    assert number(odd_folds([*results, fold(9, 1, 30)])[-1].others) == pytest.approx(first / whole, abs=0.003)


def test_the_bound_is_where_the_lowest_of_as_many_draws_reaches_five_percent() -> None:
    results = cohort(np.random.default_rng(1), 8, 2)
    ordered = sorted(results, key=lambda own: (own.label, own.counts.tp + own.counts.tn))
    for own in ordered[:2]:
        others = [other for other in results if other.label == own.label and other is not own]
        hits = np.array([other.counts.tp + other.counts.tn for other in others])
        logs = betabinom.logpmf(hits[:, None], CELLS, oddfold._A, oddfold._B).sum(axis=0) + oddfold._BEFOREHAND
        weights = np.exp(logs - logs.max())
        single = (betabinom.cdf(np.arange(CELLS + 1)[:, None], CELLS, oddfold._A, oddfold._B) @ weights) / weights.sum()
        lowest = 1 - (1 - single) ** 24
        (found,) = [one for one in odd_folds(results) if one.fold == own.fold]
        assert number(found.bound) * CELLS == pytest.approx(np.flatnonzero(lowest >= 0.05)[0])
        assert number(found.chance) == pytest.approx(lowest[own.counts.tp + own.counts.tn], abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(8, 2), (20, 2), (3, 1.5), (40, 10), (5, 0.2), (60, 1)])
def test_one_good_cohort_in_twenty_has_an_odd_fold_and_not_each(a: float, b: float) -> None:
    rng = np.random.default_rng(11)
    flagged = [any(one.odd for one in odd_folds(cohort(rng, a, b))) for _ in range(150)]
    assert np.mean(flagged) < 0.13


def test_patients_who_do_not_vary_give_no_more_flags() -> None:
    rng = np.random.default_rng(12)
    flagged = []
    for _ in range(100):
        hits = rng.binomial(CELLS, 0.8, 24)
        flagged.append(any(one.odd for one in odd_folds([fold(i, i % 2, int(own)) for i, own in enumerate(hits)])))
    assert np.mean(flagged) < 0.1


def test_flagging_each_fold_at_five_percent_would_find_one_in_every_cohort() -> None:
    rng = np.random.default_rng(13)
    each = [sum(number(one.chance) <= 1 - 0.95**24 for one in odd_folds(cohort(rng, 8, 2))) for _ in range(50)]
    assert np.mean(each) == pytest.approx(24 * 0.05, abs=0.4)


def test_a_fold_far_below_the_others_is_found_and_no_other() -> None:
    results = cohort(np.random.default_rng(2), 40, 5)
    results[7] = fold(7, 1, 12)
    assert [one.patient for one in odd_folds(results) if one.odd] == ["P7"]


def test_a_fold_at_the_bound_is_not_odd_and_one_cell_fewer_is() -> None:
    results = cohort(np.random.default_rng(2), 8, 2)
    bound = round(number(odd_folds(results)[7].bound) * CELLS)
    assert bound > 0
    for hits in (bound, bound - 1):
        results[7] = fold(7, 1, hits)
        judged = odd_folds(results)[7]
        assert judged.odd == (hits < bound) == (number(judged.chance) < oddfold.ALPHA)


def test_without_variation_between_patients_binomial_variation_is_left() -> None:
    rng = np.random.default_rng(4)
    results = [fold(place, place % 2, int(own)) for place, own in enumerate(rng.binomial(CELLS, 0.8, 200))]
    for one in odd_folds(results):
        lowest = 1 - (1 - binom.cdf(np.arange(CELLS + 1), CELLS, 0.8)) ** 200
        assert number(one.bound) * CELLS == pytest.approx(np.flatnonzero(lowest >= 0.05)[0], abs=3)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([60, 50], "fewer than 3 other patients in the class"),
        ([60] * 8, "the other patients have no wrong cell, so nothing tells how patients vary"),
        ([0] * 8, "the other patients have no right cell, so nothing tells how patients vary"),
    ],
)
def test_no_claim_is_made_where_others_say_nothing(others: list[int], reason: str) -> None:
    results = [fold(0, 1, 3), *(fold(place, 1, hits) for place, hits in enumerate(others, 1))]
    first = odd_folds(results)[0]
    none = Value(None, reason)
    assert first == OddFold(0, "P0", Value(3 / CELLS), none, none, none, odd=False)


def test_patients_with_both_classes_are_not_judged() -> None:
    (one,) = odd_folds([fold(0, None, 3)])
    assert one.chance == one.recall == Value(None, "both classes")
    assert odd_folds([]) == []


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 25), st.integers(1, 15)), min_size=1, max_size=14),
    st.randoms(),
)
def test_order_and_names_of_patients_change_nothing(patients, rng: random.Random) -> None:
    results = [fold(place, label, hits, hits + more) for place, (label, hits, more) in enumerate(patients)]
    expected = odd_folds(results)
    places = rng.sample(range(len(results)), len(results))
    renamed = [
        FoldResult(place, f"Q{rng.random()}", own.label, own.counts, own.score, own.auc)
        for place, own in ((place, results[place]) for place in places)
    ]
    for one in odd_folds(renamed):
        twin = expected[one.fold]
        assert (one.recall, one.others, one.bound, one.chance, one.odd) == (
            twin.recall,
            twin.others,
            twin.bound,
            twin.chance,
            twin.odd,
        )


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=8))
def test_influence_is_the_summary_without_the_patient_less_the_summary(patients) -> None:
    counts = {f"P{place}": fold(place, label, hits, 20).counts for place, (label, hits) in enumerate(patients)}
    whole = sum(counts.values(), Counts())
    for patient, changes in influence(counts).items():
        rest = sum((own for name, own in counts.items() if name != patient), Counts())
        for name, change in changes.items():
            before, after = METRICS[name].one(whole), METRICS[name].one(rest)
            if change.number is None:
                assert change.reason in (before.reason, f"without the patient: {after.reason}")
            else:
                assert change.number == pytest.approx(number(after) - number(before))


def test_leaving_the_only_patient_of_a_class_out_is_undefined() -> None:
    changes = influence({"A": Counts(tp=3, fn=1), "B": Counts(tn=4), "C": Counts(tn=2, fp=2)})
    assert changes["A"]["f1_positive"] == Value(None, "without the patient: no positive case")
    assert number(changes["C"]["specificity"]) == pytest.approx(1 - 6 / 8)
    assert changes["C"]["sensitivity"] == Value(0.0)

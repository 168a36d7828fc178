"""Subgroups against scipy and against loops over all arrangements, and the covariates that allow no claim."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import MonteCarloMethod, fisher_exact, permutation_test

from msbatch.results.covariates import association, read_covariates, separates
from msbatch.results.folds import FoldResult
from msbatch.results.intervals import clopper_pearson
from msbatch.results.metrics import Counts, Value
from msbatch.results.subgroups import Subgroups, fisher, gap, subgroups

TABLES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=2, max_size=4)


def fold(place: int, label: int | None, hits: int, cells: int = 10) -> FoldResult:
    """Give a patient whose call follows the majority of the cells."""
    wrong = cells - hits
    counts = Counts(tn=hits, fp=wrong) if label == 0 else Counts(tp=hits, fn=wrong)
    score = (2 * hits / cells - 1) * (-1 if label == 0 else 1)
    return FoldResult(place, f"P{place}", label, counts, score, Value(None, "one class only"))


#           label, hits of 10, sex
PATIENTS = [
    (1, 9, "F"), (1, 8, "F"), (1, 7, "F"), (1, 9, "F"), (1, 2, "M"), (1, 6, "M"), (1, 3, "M"),
    (0, 9, "F"), (0, 4, "F"), (0, 8, "M"), (0, 9, "M"), (0, 7, "M"),
]  # fmt: skip
RESULTS = [fold(place, label, hits) for place, (label, hits, _) in enumerate(PATIENTS)]
SEX = {f"P{place}": sex for place, (_, _, sex) in enumerate(PATIENTS)}


def number(value: Value) -> float:
    assert value.number is not None
    return value.number


def test_levels_are_counted_by_label_with_exact_intervals() -> None:
    women, men = subgroups(RESULTS, "sex", SEX).levels
    assert [(level.name, level.positives, level.negatives) for level in (women, men)] == [("F", 4, 2), ("M", 3, 3)]
    assert (women.sensitivity, women.specificity) == (Value(1.0), Value(0.5))
    assert (men.sensitivity, men.specificity) == (Value(1 / 3), Value(1.0))
    assert men.sensitivity_interval == clopper_pearson(1, 3)
    assert women.specificity_interval == clopper_pearson(1, 2)


def test_patients_are_called_by_mean_logit_and_not_by_majority() -> None:
    outvoted = [fold(place, 1, 3) for place in range(3)]
    raised = [FoldResult(own.fold, own.patient, 1, own.counts, 2.0, own.auc) for own in outvoted]
    for results, expected in ((outvoted, 0.0), (raised, 1.0)):
        (level,) = subgroups(results, "sex", SEX).levels
        assert level.sensitivity == Value(expected)
    negative = [fold(place, 0, 9) for place in range(3, 5)]
    found = subgroups([raised[0], *outvoted[1:], *negative], "sex", {f"P{place}": "FMMFM"[place] for place in range(5)})
    assert found.gaps["sensitivity"].statistic == Value(1.0)


def test_gaps_are_compared_with_permuted_levels_within_class() -> None:
    found = subgroups(RESULTS, "sex", SEX).gaps
    calls, cells = [1, 1, 1, 1, 0, 1, 0], np.array([9, 8, 7, 9, 2, 6, 3]) / 10
    for name, values in (("sensitivity", np.array(calls)), ("cells_positive", cells)):
        gaps = []
        for women in itertools.combinations(range(7), 4):
            chosen = np.isin(range(7), women)
            gaps.append(abs(values[chosen].mean() - values[~chosen].mean()))
        assert number(found[name].statistic) == pytest.approx(gaps[0])
        assert number(found[name].p) == pytest.approx(np.mean(np.array(gaps) >= gaps[0] - 1e-9))
        assert (found[name].arrangements, found[name].exact) == (35, True)
    assert number(found["specificity"].statistic) == pytest.approx(0.5)
    assert number(found["cells_negative"].statistic) == pytest.approx(abs(0.65 - 0.8))


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 10), min_size=1, max_size=3), min_size=2, max_size=3))
def test_a_gap_agrees_with_a_loop_over_all_orders(groups: list[list[int]]) -> None:
    values = [value for own in groups for value in own]
    if len(values) > 7:
        return
    ends = np.cumsum([0, *map(len, groups)])

    def spread(order) -> float:
        means = [np.mean(order[start:end]) for start, end in itertools.pairwise(ends)]
        return max(means) - min(means)

    null = np.array([spread(order) for order in itertools.permutations(values)])
    found = gap(groups)
    assert number(found.statistic) == pytest.approx(spread(values))
    assert number(found.p) == pytest.approx(np.mean(null >= spread(values) - 1e-9))


def test_a_gap_agrees_with_scipy_where_it_is_exact_and_where_it_is_drawn() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(9), rng.random(9) + 0.2
    theirs = permutation_test(
        (first, second), lambda x, y: abs(x.mean() - y.mean()), alternative="greater", n_resamples=np.inf
    )
    drawn, exact = gap([first, second]), gap([first, second], permutations=50_000)
    assert (drawn.exact, exact.exact, exact.arrangements) == (False, True, 48_620)
    assert number(exact.p) == pytest.approx(theirs.pvalue)
    assert number(drawn.p) == pytest.approx(theirs.pvalue, abs=0.02)


@given(st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_fisher_agrees_with_scipy(cells: list[int]) -> None:
    table = np.array(cells).reshape(2, 2)
    found = fisher(table)
    if (table.sum(axis=0) == 0).any() or (table.sum(axis=1) == 0).any():
        assert found.p.number is None
    else:
        assert number(found.p) == pytest.approx(fisher_exact(table).pvalue, abs=1e-9)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=4))
def test_fisher_agrees_with_a_loop_over_all_labellings(table: list[tuple[int, int]]) -> None:
    sizes = [sum(row) for row in table]
    levels = np.repeat(np.arange(len(table)), sizes)
    positives = sum(row[0] for row in table)
    if sum(sizes) > 12 or fisher(table).p.number is None:
        return
    seen: dict[tuple[int, ...], int] = {}
    for chosen in itertools.combinations(range(len(levels)), positives):
        key = tuple(np.bincount(levels[list(chosen)], minlength=len(table)).tolist())
        seen[key] = seen.get(key, 0) + 1
    own = seen[tuple(row[0] for row in table)]
    expected = sum(ways for ways in seen.values() if ways <= own) / sum(seen.values())
    assert number(fisher(table).p) == pytest.approx(expected, abs=1e-9)


def test_a_table_too_large_to_look_at_all_others_is_drawn() -> None:
    table = [(5, 9), (12, 4), (8, 8), (10, 3), (2, 9), (7, 7)]
    found = fisher(table)
    theirs = fisher_exact(np.array(table), method=MonteCarloMethod(rng=np.random.default_rng(1)))
    assert not found.exact
    assert number(found.p) == pytest.approx(theirs.pvalue, abs=0.01)


@settings(max_examples=30)
@given(TABLES, st.randoms())
def test_the_order_of_levels_changes_nothing(table: list[tuple[int, int]], rng: random.Random) -> None:
    assert fisher(rng.sample(table, len(table))) == fisher(table)


@settings(max_examples=15)
@given(st.randoms())
def test_order_and_names_of_patients_and_of_levels_change_no_number(rng: random.Random) -> None:
    order = rng.sample(RESULTS, len(RESULTS))
    places = rng.sample(range(100, 200), len(order))
    renamed = [
        FoldResult(f.fold, f"Q{p}", f.label, f.counts, f.score, f.auc) for f, p in zip(order, places, strict=True)
    ]
    values = {f"Q{p}": {"F": "weiblich", "M": "männlich"}[SEX[f.patient]] for f, p in zip(order, places, strict=True)}
    first = subgroups(RESULTS, "sex", SEX, permutations=20)
    found = subgroups(renamed, "sex", values, permutations=20)
    assert found.gaps == first.gaps
    assert [level.name for level in found.levels] == ["männlich", "weiblich"]


def without_claim(found: Subgroups) -> set[str]:
    assert all(test.p.number is None for test in found.gaps.values())
    return {test.p.reason for test in found.gaps.values()}


def test_an_empty_cell_makes_no_claim_but_is_counted() -> None:
    results = [own for own in RESULTS if not (own.label == 1 and SEX[own.patient] == "M")]
    found = subgroups(results, "sex", SEX)
    assert without_claim(found) == {"no positive patient with M"}
    women, men = found.levels
    assert (men.positives, men.negatives, men.specificity) == (0, 3, Value(1.0))
    assert men.sensitivity == men.sensitivity_interval.low == Value(None, "no positive patient")
    assert women.sensitivity == Value(1.0)


def test_many_empty_cells_are_counted_and_not_listed() -> None:
    site = {patient: f"site {i % 4}" if i < 7 else f"site {i % 4 + 4}" for i, patient in enumerate(SEX)}
    assert without_claim(subgroups(RESULTS, "site", site)) == {"8 empty cells of label by level"}


def test_a_covariate_that_separates_the_classes_is_told_and_allows_no_claim() -> None:
    values = {own.patient: f"batch {own.label}" for own in RESULTS}
    batch, sex = read_covariates({patient: {"batch": values[patient], "sex": SEX[patient]} for patient in SEX})
    labels = {own.patient: own.label for own in RESULTS if own.label is not None}
    assert separates(batch, labels)
    assert not separates(sex, labels)
    assert number(association(batch, labels).p) == pytest.approx(fisher_exact([[7, 0], [0, 5]]).pvalue)
    assert without_claim(subgroups(RESULTS, "batch", values))


@pytest.mark.parametrize(
    ("values", "reason", "levels"),
    [
        (dict.fromkeys(SEX, "F"), "one level only", 1),
        ({patient: patient for patient in SEX}, "a value of its own for every patient", 0),
        ({}, "no patient has a value", 0),
        (dict.fromkeys(SEX, " "), "no patient has a value", 0),
    ],
)
def test_a_covariate_that_cannot_be_compared_says_why(values: dict[str, str], reason: str, levels: int) -> None:
    found = subgroups(RESULTS, "sex", values)
    assert without_claim(found) == {reason}
    assert len(found.levels) == levels


def test_missing_values_are_counted_and_in_no_level() -> None:
    known = {patient: sex for patient, sex in SEX.items() if patient not in ("P0", "P9")} | {"P9": ""}
    found = subgroups(RESULTS, "sex", known)
    assert found.missing == 2
    assert sum(level.positives + level.negatives for level in found.levels) == 10
    rest = subgroups([own for own in RESULTS if own.patient not in ("P0", "P9")], "sex", SEX)
    assert (found.gaps, found.levels) == (rest.gaps, rest.levels)


def test_one_class_of_patients_allows_no_claim() -> None:
    found = subgroups(RESULTS[:7], "sex", SEX)
    assert without_claim(found) == {"no negative patient with F; no negative patient with M"}


def test_where_cells_carry_the_labels_nothing_is_said_of_patients() -> None:
    found = subgroups([fold(0, None, 5), *RESULTS[1:]], "sex", SEX)
    assert found.levels == ()
    assert without_claim(found) == {"cells carry the labels"}


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "Größe ≥ 3", "@x", "<b>"])
def test_strange_values_are_kept_as_they_are(name: str) -> None:
    found = subgroups(RESULTS, "sex", {patient: name if sex == "F" else sex for patient, sex in SEX.items()})
    assert name in [level.name for level in found.levels]
    assert found.gaps == subgroups(RESULTS, "sex", SEX).gaps


def test_groups_without_values_have_no_gap() -> None:
    assert gap([[1.0], []]).p == Value(None, "an empty group")
    assert gap([[1.0, 2.0]]).p == Value(None, "one level only")

"""Columns of the cohort's table: what each counts as, what is missing, and whether it goes with the label."""

from itertools import combinations

import numpy as np
import pytest
from heads import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from msbatch.results.covariates import Covariate, association, read_covariates, separates
from msbatch.results.head import fit_head


def read(*values: str) -> Covariate:
    """Read one column; patients are P000, P001, and so on."""
    (found,) = read_covariates({f"P{number:03d}": {"column": value} for number, value in enumerate(values)})
    return found


def classes(*labels: int) -> dict[str, int]:
    return {f"P{number:03d}": label for number, label in enumerate(labels)}


def span(columns: np.ndarray) -> np.ndarray:
    """Give the projection on the columns and a constant."""
    design = np.column_stack([np.ones(len(columns)), columns])
    return design @ np.linalg.pinv(design)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["F", "M", "F", "M"], "category"),
        (["1", "2", "3", "1", "2", "3"], "category"),  # codes of a batch, say
        (["2024_01", "2024_02"] * 4, "category"),
        (["2024_01", "2024_02", "2024_03", "2024_04", "2024_05", "2024_06"] * 2, "category"),
        (["1", "2", "3", "4", "5", "6", "6"], "number"),
        (["31", "47", "52", "60"], "number"),
        (["1.5", "1.5", "2.5", "2.5"], "number"),
        (["-3", "1e2", "7", "8", "9", "10"], "number"),
        (["2024-03-01", "2024-03-02", "2024-03-03", "2025-01-01"], "number"),
        (["2024-03-01", "2024-03-02", "2024-03-02", "2024-03-01"], "number"),
        (["anna", "berta", "carla", "dora"], "identifier"),
        (["x", "y", "inf", "7"], "identifier"),
        (["F", "F", "F", "F"], "constant"),
        (["F", "NA", "", "F"], "constant"),
        (["", "NA", "unknown", ""], "constant"),
    ],
)
def test_a_column_counts_as_what_its_values_look_like(values: list[str], kind: str) -> None:
    found = read(*values)
    assert found.kind == kind
    assert found.testable == (kind in ("category", "number"))


@pytest.mark.parametrize("blank", ["", " ", "NA", "n/a", "NaN", "none", "Unknown"])
def test_missing_values_are_counted_and_are_no_level(blank: str) -> None:
    found = read("F", "M", blank, "F", "M")
    assert found.missing == 1
    assert found.values == {"P000": "F", "P001": "M", "P003": "F", "P004": "M"}
    assert set(found.levels.values()) == {"F", "M"}


def test_a_patient_without_the_column_has_it_missing() -> None:
    sex, site = read_covariates({"A": {"sex": "F"}, "B": {"sex": "M", "site": "x"}, "C": {"sex": " F "}})
    assert (sex.name, sex.missing, sex.values["C"]) == ("sex", 0, "F")
    assert (site.name, site.missing, site.kind) == ("site", 2, "constant")


@given(st.lists(st.integers(-50, 50), min_size=6, max_size=12).filter(lambda own: len(set(own)) > 5), st.data())
@settings(max_examples=20)
def test_a_number_is_split_at_its_median_and_everyone_with_a_value_has_a_level(ages: list[int], data) -> None:
    texts = [str(age) for age in ages]
    blank = data.draw(st.integers(0, len(ages)))
    found = read(*texts[:blank], "NA", *texts[blank:])
    assert found.kind == "number"
    assert set(found.levels) == set(found.values)
    for patient, level in found.levels.items():
        assert level.startswith("up to") == (float(found.values[patient]) <= np.median(ages))
    assert len(set(found.levels.values())) == 1 + (max(ages) > np.median(ages))


def test_levels_are_named_after_the_median_as_the_table_writes_it() -> None:
    assert set(read("1.50", "2.50", "3.50").levels.values()) == {"up to 2.50", "above 2.50"}
    assert set(read("31", "40", "47", "60").levels.values()) == {"up to 43.5", "above 43.5"}


def test_dates_are_split_at_a_date() -> None:
    levels = read("2024-01-01", "2024-03-01", "2024-03-04", "2024-12-31").levels
    assert list(levels.values()) == ["up to 2024-03-02"] * 2 + ["above 2024-03-02"] * 2


@pytest.mark.parametrize(("women", "men"), [((5, 1), (2, 6)), ((4, 4), (4, 4)), ((6, 0), (3, 5)), ((7, 2), (1, 3))])
def test_two_levels_are_tested_as_fishers_exact_test_does(women: tuple[int, int], men: tuple[int, int]) -> None:
    table = np.array([women, men])
    values = np.repeat(["F", "F", "M", "M"], table.ravel()).tolist()
    outcome = association(read(*values), classes(*np.repeat([0, 1, 0, 1], table.ravel()).tolist()))
    assert outcome.exact
    assert outcome.p.number == pytest.approx(fisher_exact(table).pvalue, rel=1e-9)


def test_missing_values_are_in_no_test() -> None:
    values, labels = ["F", "M"] * 5, [0, 1, 0, 1, 0, 0, 1, 1, 0, 1]
    complete = association(read(*values), classes(*labels))
    assert association(read(*values, "NA", ""), classes(*labels, 1, 1)) == complete


@given(st.lists(st.integers(20, 80), min_size=7, max_size=8, unique=True), st.integers(2, 4))
@settings(max_examples=10)
def test_numbers_are_tested_against_all_arrangements_of_the_labels(ages: list[int], positives: int) -> None:
    labels = [1] * positives + [0] * (len(ages) - positives)
    outcome = association(read(*map(str, ages)), classes(*labels))

    def gap(chosen: tuple[int, ...]) -> float:
        own = np.isin(np.arange(len(ages)), chosen)
        return abs(np.array(ages)[own].mean() - np.array(ages)[~own].mean())

    null = [gap(chosen) for chosen in combinations(range(len(ages)), positives)]
    observed = gap(tuple(range(positives)))
    assert outcome.p.number == pytest.approx(np.mean([own >= observed - 1e-9 for own in null]))


def test_upper_and_lower_case_make_no_other_value() -> None:
    assert read("F", "f", "F", "M", "m", "m").values == {
        "P000": "F", "P001": "F", "P002": "F", "P003": "m", "P004": "m", "P005": "m"
    }  # fmt: skip


def test_a_date_is_tested_as_a_number_of_days() -> None:
    days = read("2024-01-01", "2024-01-02", "2024-01-05", "2024-02-01", "2024-02-02", "2024-02-05")
    labels = classes(0, 0, 0, 1, 1, 1)
    assert association(days, labels).statistic.number == pytest.approx(31)
    assert association(days, labels).p.number == pytest.approx(2 / 20)
    assert separates(days, labels)


def test_what_is_known_of_one_class_only_is_not_tested_and_says_why() -> None:
    number = read("31", "47", "52", "60", "NA", "NA")
    outcome = association(number, classes(0, 0, 0, 0, 1, 1))
    assert outcome.p.number is None
    assert outcome.p.reason == "no patient of a class has a value"
    assert not separates(number, classes(0, 0, 0, 0, 1, 1))
    category = read("F", "M", "F", "M", "NA", "NA")
    assert association(category, classes(0, 0, 0, 0, 1, 1)).p.reason == "one class only"
    assert not separates(category, classes(0, 0, 0, 0, 1, 1))


@pytest.mark.parametrize(
    ("values", "labels", "complete"),
    [
        (["F", "F", "M", "M"], [0, 0, 1, 1], True),
        (["F", "F", "M", "M"], [0, 1, 1, 1], False),
        (["a", "b", "c", "a", "b", "c"], [0, 1, 1, 0, 1, 1], True),
        (["a", "b", "c", "a", "b", "c"], [0, 1, 1, 0, 1, 0], False),
        (["F", "F", "M", "M", "NA", "NA"], [0, 0, 1, 1, 0, 1], True),
        (["a", "b", "c", "d", "e", "e"], [0, 0, 0, 1, 1, 1], False),  # all but an identifier
        (["30.5", "NA", "NA", "60.5", "NA", "NA"], [0, 0, 0, 1, 1, 1], False),  # known of too few
        (["30.5", "31.5", "60.5", "61.5"], [0, 0, 1, 1], True),
        (["30.5", "31.5", "60.5", "61.5"], [1, 1, 0, 0], True),
        (["30.5", "60.5", "60.5", "61.5"], [0, 0, 1, 1], False),
        (["30.5", "70.5", "60.5", "61.5"], [0, 0, 1, 1], False),
    ],
)
def test_complete_separation_is_seen(values: list[str], labels: list[int], complete: bool) -> None:
    assert separates(read(*values), classes(*labels)) is complete


def test_two_levels_and_their_missing_values_span_what_indicators_span() -> None:
    groups = np.array([f"P{number:03d}" for number in [0, 0, 1, 2, 3, 4, 4, 5, 6, 7]])
    for values in ("FMFMMFFM", "FMF-MF-M", "abcabc--"):
        found = read(*values.replace("-", " "))
        columns = found.columns(groups)
        own = np.array([found.values.get(patient, "-") for patient in groups])
        wanted = np.column_stack([own == level for level in sorted(set(own))]).astype(float)
        np.testing.assert_allclose(span(columns), span(wanted), atol=1e-9)


def test_a_number_spans_itself_and_whether_it_is_missing() -> None:
    found = read("30", "40.5", "NA", "50", "61", "72", "NA", "20")
    groups = np.array(found.patients)
    numbers = np.array([found.numbers.get(patient, 0.0) for patient in groups])
    wanted = np.column_stack([numbers, [patient in found.values for patient in groups]])
    np.testing.assert_allclose(span(found.columns(groups)), span(wanted), atol=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        [*"babacbcabcab"],
        [*"aabbccdd", "NA", "e", "f", ""],
        [*map(str, range(20, 32))],
        [*map(str, range(20, 31)), "NA"],
        [*"aaaabbbbcccd"],
        [*"FMFMFMFMFMF", "NA"],
    ],
)
def test_at_most_three_columns_stand_for_a_covariate_and_a_fit_without_any_patient_decides_them(values) -> None:
    found = read(*values)
    cohort = draw(1, [3] * 12, 4)
    columns = found.columns(cohort.groups)
    assert 1 <= columns.shape[1] <= 3
    for name in cohort.names:
        assert np.ptp(columns[cohort.groups == name], axis=0).max() == 0
    fit_head(cohort.features, cohort.groups, nuisance=columns)  # raises where a patient alone decides a column


def test_what_sets_one_patient_apart_is_no_column() -> None:
    found = read(*"aaaaaaad")
    assert found.columns(np.array(found.patients)).shape == (8, 0)


@pytest.mark.parametrize("number", [4, 5, 7, 10, 15, 20])
@pytest.mark.parametrize("missing", [False, True])
def test_which_columns_stand_for_a_covariate_does_not_depend_on_names(number: int, missing: bool) -> None:
    """Levels of one size have components of one size: rounding must not choose between them."""
    for levels in ([*"abcdefgh"], [f"{10.5 + own}" for own in range(20)]):
        values = [
            levels[own * len(levels) // number] if len(levels) > 8 else levels[own // 2 % 5] for own in range(number)
        ]
        values[-1] = "NA" if missing else values[-1]
        order = np.random.default_rng(number).permutation(number)
        plain, moved = read(*values), read(*(values[own] for own in order))
        if plain.testable:
            before, after = (own.columns(np.array(own.patients)) for own in (plain, moved))
            np.testing.assert_allclose(span(after), span(before)[np.ix_(order, order)], atol=1e-9)

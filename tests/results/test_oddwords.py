"""What is said of odd folds: what they are, and never why."""

import re

import pytest

from msbatch.results.covariates import Covariate, read_covariates
from msbatch.results.folds import FoldResult
from msbatch.results.metrics import Counts, Value
from msbatch.results.oddfold import influence, odd_folds
from msbatch.results.oddwords import CANNOT_TELL, describe

CELLS = 60
HITS = [57, 52, 59, 54, 56, 51, 58, 55, 53, 57, 56, 54]
BLAME = re.compile(r"\b(because|due|caused?|owing|reason|explain(s|ed)?|since|probably|suggests?)\b", re.IGNORECASE)


def fold(number: int, hits: int) -> FoldResult:
    counts = Counts(tp=hits, fn=CELLS - hits) if number % 2 else Counts(tn=hits, fp=CELLS - hits)
    return FoldResult(number, f"P{number:02d}", number % 2, counts, 0.0, Value(None, "one class only"))


def covariates(*odd: int, shared: bool = True) -> list[Covariate]:
    """Give covariates in which odd patients differ from all others, or from each other too."""
    rows = {}
    for number in range(len(HITS)):
        sex = "M" if number in odd and (shared or number == odd[0]) else "F"
        rows[f"P{number:02d}"] = {"sex": sex, "age": str(30 + 2 * number), "site": "here", "name": f"n{number}"}
    return read_covariates(rows)


def say(*odd: int, hits: int = 3, known: list[Covariate] | None = None) -> list[str]:
    results = [fold(number, hits if number in odd else own) for number, own in enumerate(HITS)]
    counts = {own.patient: own.counts for own in results}
    return describe("resnet50", odd_folds(results), influence(counts), covariates(*odd) if known is None else known)


def test_an_odd_fold_is_described_and_one_patient_cannot_tell_why() -> None:
    said, cannot = say(4)
    assert said.startswith("Fold 04 of resnet50 is odd: 5.0% of the cells of patient P04 were called correctly")
    assert "The worst of 12 folds is below" in said
    assert "The patient's covariates: age 38 (up to 41); sex M (a value of no other patient)." in said
    assert cannot == CANNOT_TELL
    assert "only further patients would separate them" in cannot


def test_patients_with_both_classes_are_not_among_the_folds_whose_worst_is_judged() -> None:
    mixed = [FoldResult(20 + i, f"Q{i}", None, Counts(9, 1, 2, 8), 0.0, Value(0.9)) for i in range(3)]
    for hits, words in ((3, "The worst of 12 folds is below"), (47, "the worst of 12 folds is as low or lower")):
        results = [*mixed, *(fold(number, hits if number == 4 else own) for number, own in enumerate(HITS))]
        said = describe("resnet50", odd_folds(results), influence({own.patient: own.counts for own in results}))
        assert words in said[0]


def test_what_the_summary_would_be_without_the_patient_is_said() -> None:
    results = [fold(number, 3 if number == 4 else own) for number, own in enumerate(HITS)]
    rest = [own for own in results if own.fold != 4]

    def macro_f1(folds: list[FoldResult]) -> float:
        tp, fp, fn, tn = (sum(getattr(own.counts, name) for own in folds) for name in ("tp", "fp", "fn", "tn"))
        return tp / (2 * tp + fp + fn) + tn / (2 * tn + fp + fn)

    assert f"macro-F1 changes by {macro_f1(rest) - macro_f1(results):+.3f}." in say(4)[0]


@pytest.mark.parametrize("odd", [(4,), (3,), (4, 7), (0, 1, 2)])
@pytest.mark.parametrize("shared", [True, False])
def test_no_covariate_is_ever_offered_as_an_explanation(odd: tuple[int, ...], shared: bool) -> None:
    said = say(*odd, known=covariates(*odd, shared=shared))
    assert "is odd" in said[0]
    for sentence in said:
        assert not BLAME.search(sentence), sentence
    assert (CANNOT_TELL in said) == (sum("is odd" in sentence for sentence in said) == 1)


def test_covariates_that_cannot_explain_anything_are_not_named() -> None:
    text = " ".join(say(4))
    assert "site" not in text
    assert "n4" not in text


def test_a_patient_whose_value_others_have_is_told_how_many() -> None:
    known = read_covariates({f"P{number:02d}": {"sex": "FFM"[number % 3]} for number in range(12)})
    assert "sex F (7 others likewise)." in say(4, known=known)[0]
    assert "sex M (3 others likewise)." in say(5, known=known)[0]


def test_a_missing_covariate_of_the_patient_is_not_made_up() -> None:
    known = read_covariates(
        {f"P{number:02d}": {"sex": "NA" if number == 4 else "FM"[number % 2]} for number in range(12)}
    )
    assert "covariates" not in say(4, known=known)[0]
    assert "covariates" not in say(4, known=[])[0]


def test_several_odd_folds_that_share_a_level_name_it_and_point_to_the_comparison() -> None:
    *each, last = say(4, 7)
    assert ["Fold 04" in each[0], "Fold 07" in each[1], len(each)] == [True, True, 2]
    assert last.startswith("The 2 odd folds: they share sex M.")
    assert "tested in the comparison of subgroups, over all patients" in last
    assert CANNOT_TELL not in [*each, last]


def test_several_odd_folds_that_share_nothing_say_so() -> None:
    known = read_covariates({f"P{number:02d}": {"sex": "FM"[number % 2]} for number in range(12)})
    assert say(4, 7, known=known)[-1].startswith("The 2 odd folds: they share no value of any covariate.")


@pytest.mark.parametrize("odd", [(4, 7), (4, 5)])
def test_odd_folds_share_nothing_by_a_value_that_is_missing(odd: tuple[int, ...]) -> None:
    blank = {4, 7}
    known = read_covariates(
        {f"P{number:02d}": {"sex": "NA" if number in blank else "FM"[number % 2]} for number in range(12)}
    )
    assert say(*odd, known=known)[-1].startswith("The 2 odd folds: they share no value of any covariate.")


def test_a_good_cohort_has_one_sentence_that_names_its_worst_fold_and_does_not_accuse_it() -> None:
    (said,) = say(4, hits=47)
    assert said.startswith("No fold of resnet50 is odd. The least likely is fold 04, with 78.3%")
    assert "of cohorts without anything odd" in said


@pytest.mark.parametrize(
    ("hits", "reason"),
    [
        ([60] * 12, "the other patients have no wrong cell, so nothing tells how patients vary"),
        ([57, 52, 59, 54], "fewer than 3 other patients in the class"),
        ([], "no predictions"),
    ],
)
def test_where_nothing_can_be_judged_the_reason_is_said(hits: list[int], reason: str) -> None:
    results = [fold(number, own) for number, own in enumerate(hits)]
    said = describe("resnet50", odd_folds(results), influence({own.patient: own.counts for own in results}))
    assert said == [f"Of resnet50 no fold can be called odd or not: {reason}."]

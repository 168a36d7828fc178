"""The verdict: every branch of the rule, and every sentence where its rule holds and only there."""

from dataclasses import replace

import pytest

from msbatch.results import wording
from msbatch.results.intervals import Interval, clopper_pearson
from msbatch.results.metrics import Value
from msbatch.results.verdict import Category, Evidence, Verdict, judge

ROWS = ("colour", "size", "shape", "count")


def evidence(a: float = 0.001, per_class: tuple[int, int] = (12, 12), **beyond: float) -> Evidence:
    """Give one backbone's evidence; rows that are not named have p = .001."""
    rows = {row: {"net": Value(beyond.get(row, 0.001))} for row in ROWS}
    classes = dict(zip(("control", "ms"), per_class, strict=True))
    return Evidence(sum(per_class), classes, {"net": Value(a)}, rows)


def says(verdict: Verdict, *parts: str) -> bool:
    return any(all(part in sentence for part in parts) for sentence in verdict.further)


@pytest.mark.parametrize("p", [0.0501, 0.5, 1.0])
def test_without_an_association_nothing_is_claimed(p: float) -> None:
    verdict = judge(evidence(p))
    assert verdict.category is Category.NONE
    assert verdict.sentence.startswith("No evidence above chance in what was tested: ")
    assert verdict.backbones == verdict.not_exceeded == ()
    assert wording.NO_ABSENCE in verdict.further


def test_an_association_beyond_every_row_exceeds_them_all() -> None:
    verdict = judge(evidence(0.05, colour=0.025, count=0.025))
    assert verdict.category is Category.EXCEEDS
    assert verdict.sentence.endswith("exceeds every nuisance row measured: colour, size, shape and count.")
    assert verdict.backbones == ("net",)
    assert wording.CONFIRM in verdict.further
    assert wording.NO_ABSENCE not in verdict.further


def test_an_association_within_a_row_names_that_row() -> None:
    verdict = judge(evidence(colour=0.026))
    assert verdict.category is Category.ASSOCIATED
    assert verdict.sentence == "Image and label are associated, but not shown to exceed colour."
    assert verdict.not_exceeded == ("colour",)
    assert says(verdict, "Collect blood of both classes that was smeared, stained and imaged together")
    assert not says(verdict, "magnification")
    both = judge(evidence(colour=0.4, shape=0.03))
    assert both.sentence.endswith("not shown to exceed colour and shape.")
    assert says(both, "spread and dried alike")


def test_a_covariate_may_be_a_row() -> None:
    given = evidence()
    verdict = judge(replace(given, beyond={**given.beyond, "sex": {"net": Value(0.2)}}))
    assert verdict.sentence.endswith("not shown to exceed sex.")
    assert says(verdict, "Collect patients of both classes with like sex.")


def test_a_row_that_could_not_be_tested_is_not_exceeded_and_says_why() -> None:
    given = evidence()
    reason = "Without patient P1 the other cells do not decide the nuisance columns' coefficients."
    verdict = judge(replace(given, beyond={**given.beyond, "batch": {"net": Value(None, reason)}}))
    assert verdict.category is Category.ASSOCIATED
    assert verdict.not_exceeded == ("batch",)
    assert says(verdict, f"Beyond batch was not tested: {reason}")


def test_without_any_row_there_is_nothing_to_exceed() -> None:
    verdict = judge(replace(evidence(), beyond={}))
    assert verdict.category is Category.ASSOCIATED
    assert verdict.sentence.endswith("any nuisance row, since none was measured.")
    assert verdict.not_exceeded == ()


def test_a_covariate_that_separates_the_classes_goes_before_every_row() -> None:
    for given in (evidence(), evidence(colour=0.5)):
        verdict = judge(replace(given, separating=("sex", "batch")))
        assert verdict.category is Category.INSEPARABLE
        assert verdict.sentence.endswith("cannot be separated from sex and batch.")
        assert says(verdict, "No value of sex occurs in both classes.")
        assert says(verdict, "Collect patients of both classes, in like shares, at every value of batch.")
        assert not says(verdict, "stained")


def test_without_an_association_there_is_nothing_to_separate_but_it_is_said() -> None:
    verdict = judge(replace(evidence(0.3), separating=("sex",)))
    assert verdict.category is Category.NONE
    assert says(verdict, "No value of sex occurs in both classes.")


def test_an_association_that_was_not_tested_is_none() -> None:
    given = replace(evidence(), association={"net": Value(None, "the features do not vary")})
    verdict = judge(given)
    assert verdict.category is Category.NONE
    assert "net was not tested: the features do not vary." in verdict.further
    assert judge(replace(given, association={})).further[0] == "The association was not tested."


def test_backbones_are_corrected_for_their_number() -> None:
    given = replace(evidence(), association={"a": Value(0.03), "b": Value(0.2)}, beyond={})
    assert judge(given).category is Category.NONE
    assert judge(given).further[0] == (
        "p of the association after correction for their number (Holm), of which at most 0.05 is claimed from: "
        "a 0.060; b 0.200."
    )
    assert judge(replace(given, association={"a": Value(0.03)})).category is Category.ASSOCIATED
    # Holm: .02 x 2 and then .04 x 1; Bonferroni would stop at .08.
    both = judge(replace(given, association={"a": Value(0.02), "b": Value(0.04)}))
    assert both.backbones == ("a", "b")


def test_a_row_is_corrected_for_the_number_of_backbones_too() -> None:
    given = replace(evidence(), association={"a": Value(0.001), "b": Value(0.001)})
    rows = {"colour": {"a": Value(0.02), "b": Value(0.6)}}
    assert judge(replace(given, beyond=rows)).category is Category.ASSOCIATED
    rows["colour"]["a"] = Value(0.0125)
    verdict = judge(replace(given, beyond=rows))
    assert verdict.category is Category.EXCEEDS
    assert verdict.backbones == ("a",)
    assert says(verdict, "It holds for a, out of 2 backbones that were tried.")


def test_a_claim_needs_both_tests_of_one_backbone() -> None:
    given = replace(evidence(), association={"a": Value(0.001), "b": Value(0.9)})
    rows = {row: {"a": Value(0.9), "b": Value(0.001)} for row in ("colour", "size")}
    verdict = judge(replace(given, beyond=rows))
    assert verdict.category is Category.ASSOCIATED
    assert verdict.not_exceeded == ("colour", "size")
    missing = judge(replace(given, beyond={"colour": {"b": Value(0.001)}}))
    assert missing.category is Category.ASSOCIATED


def test_rows_of_the_backbone_that_comes_nearest_are_named() -> None:
    given = replace(evidence(), association={"a": Value(0.001), "b": Value(0.001)})
    rows = {
        "colour": {"a": Value(0.9), "b": Value(0.9)},
        "size": {"a": Value(0.9), "b": Value(0.001)},
    }
    verdict = judge(replace(given, beyond=rows))
    assert verdict.not_exceeded == ("colour",)
    assert verdict.backbones == ("b",)


def test_it_says_how_many_patients_it_rests_on() -> None:
    verdict = judge(evidence(per_class=(14, 10)))
    assert "This rests on 24 patients (14 control, 10 ms), however many cells they have." in verdict.further
    mixed = judge(replace(evidence(per_class=(14, 10)), patients=20))
    assert says(mixed, "This rests on 20 patients", "4 of them have cells of both classes")
    assert not says(mixed, "balanced")


@pytest.mark.parametrize(("per_class", "named"), [((6, 6), ""), ((6, 5), "5 of class ms"), ((5, 7), "5 of class con")])
def test_under_six_patients_in_a_class_it_is_indicative_only(per_class, named: str) -> None:
    verdict = judge(evidence(per_class=per_class))
    assert says(verdict, "Indicative only") == says(verdict, "Collect at least 1 more of class") == bool(named)
    assert not named or says(verdict, "Indicative only", named, "fewer than 6")


def test_two_short_classes_are_both_named() -> None:
    verdict = judge(evidence(per_class=(4, 5)))
    assert says(verdict, "Indicative only: there are 4 of class control and 5 of class ms, fewer than 6.")
    assert says(verdict, "Collect at least 2 more of class control and 1 more of class ms")


@pytest.mark.parametrize(
    ("per_class", "sentence"),
    [
        ((12, 12), "The cohort is balanced: it has as many patients of one class as of the other."),
        ((13, 11), "The cohort is balanced: it has nearly as many patients of one class as of the other."),
        (
            (9, 15),
            "The cohort is unbalanced: 1.7 patients of class ms for one of class control; "
            "calling everyone ms would be right for 62% of patients.",
        ),
        (
            (18, 6),
            "The cohort is severely unbalanced: 3.0 patients of class control for one of class ms; "
            "calling everyone control would be right for 75% of patients.",
        ),
    ],
)
def test_it_says_how_unbalanced_the_cohort_is(per_class, sentence: str) -> None:
    verdict = judge(evidence(per_class=per_class))
    assert sentence in verdict.further
    assert says(verdict, "Collect patients of class", "rather than") == ("unbalanced" in sentence)


def test_a_covariate_that_goes_with_the_label_is_said() -> None:
    given = replace(evidence(), covariates={"sex": Value(0.004), "batch": Value(0.4), "site": Value(None, "one level")})
    verdict = judge(given)
    assert "sex goes with the label (p 0.004): what is seen may be sex." in verdict.further
    assert "Collect patients of both classes, in like shares, at every value of sex." in verdict.further
    assert not says(verdict, "batch")
    assert not says(verdict, "site")
    complete = judge(replace(given, separating=("sex",)))
    assert says(complete, "No value of sex")
    assert not says(complete, "sex goes with")


@pytest.mark.parametrize(
    ("per_class", "least"), [((3, 3), 4), ((4, 4), 0), ((2, 6), 4), ((3, 5), 0), ((1, 9), 4), ((2, 8), 0)]
)
def test_too_few_arrangements_for_any_claim_are_said(per_class, least: int) -> None:
    # 3 and 3: 2/20 = .1. 4 and 4: 2/70 and 1/70. 2 and 6: 1/28 = .036 is above .025. 2 and 8: 1/45.
    verdict = judge(evidence(per_class=per_class))
    assert says(verdict, "not even perfect scores", f"at least {least} of each class") == bool(least)


def test_more_backbones_need_more_patients_for_any_claim() -> None:
    # 4 and 4: the smallest p is 2/70 = .029, and half of .05 is less.
    given = replace(evidence(per_class=(4, 4)), association={"a": Value(0.02), "b": Value(0.02)})
    assert says(judge(given), "not even perfect scores", "at least 5 of each class")


def test_estimates_stand_beside_it_with_their_intervals() -> None:
    none = Interval(Value(None, "one patient in a class"), Value(None, "one patient in a class"), "bootstrap")
    given = {
        "Sensitivity over patients": (Value(0.9), clopper_pearson(9, 10)),
        "MCC over patients": (Value(0.5), replace(none, note="indicative only")),
        "AUC": (Value(None, "one class only"), none),
    }
    verdict = judge(replace(evidence(), estimates=given))
    assert "Sensitivity over patients: 0.900 (95 % interval 0.555 to 0.997)." in verdict.further
    assert "MCC over patients: 0.500, no interval (one patient in a class); indicative only." in verdict.further
    assert "AUC: n/a (one class only)." in verdict.further


def test_a_small_p_is_not_written_as_zero() -> None:
    assert says(judge(evidence(0.0001)), "p of the association, ", ": net below 0.001.")


def test_one_class_only_is_no_claim_and_no_division_by_zero() -> None:
    given = replace(evidence(per_class=(5, 0)), association={"net": Value(None, "one class only")})
    verdict = judge(given)
    assert verdict.category is Category.NONE
    assert says(verdict, "Indicative only", "0 of class ms")
    assert not says(verdict, "balanced")


def test_a_p_of_few_refits_says_how_small_it_could_have_been() -> None:
    two = {"net": Value(0.001), "fine-tuned net": Value(0.333)}
    said = " ".join(judge(replace(evidence(), association=two, refits=2)).further)
    assert "rests on 2 trainings under permuted labels, so it cannot be below 0.333" in said
    assert "39 are the least" in said
    enough = judge(replace(evidence(), association=two, refits=39)).further
    assert "trainings under permuted labels" not in " ".join(enough)


def test_as_many_refits_as_are_asked_for_can_carry_a_claim() -> None:
    least = {"net": Value(0.9), "fine-tuned net": Value(1 / 40)}
    assert judge(replace(evidence(), association=least, refits=39)).category is Category.ASSOCIATED
    one_less = {**least, "fine-tuned net": Value(1 / 39)}
    assert judge(replace(evidence(), association=one_less, refits=38)).category is Category.NONE


def test_every_p_stands_beside_what_is_claimed_from() -> None:
    verdict = judge(evidence(colour=0.026))
    assert verdict.category is Category.ASSOCIATED
    assert says(verdict, "at most 0.05 is claimed from", "net 0.001")
    assert says(verdict, "p beyond each row (net), of which at most 0.025 is claimed from: colour 0.026; size 0.001")


def test_a_covariate_in_balance_asks_for_more_patients_and_not_for_balance() -> None:
    with_sex = replace(evidence(), beyond={"sex": {"net": Value(0.03)}}, covariates={"sex": Value(1.0)})
    assert says(judge(with_sex), "Collect more patients: sex does not go with the class here")
    assert not says(judge(with_sex), "like sex")
    linked = replace(with_sex, covariates={"sex": Value(0.01)})
    assert says(judge(linked), "at every value of sex")
    assert not says(judge(linked), "Collect more patients: sex")


def test_a_backbone_that_no_row_was_tried_on_is_said_to_be_untested_beyond_them() -> None:
    alone = {"net": Value(0.9), "fine-tuned net": Value(0.001)}
    said = judge(replace(evidence(), association=alone)).further
    assert "Beyond nuisance rows fine-tuned net was not tested." in said
    assert not says(judge(evidence()), "Beyond nuisance rows")


def test_backbones_without_refits_are_said_to_be_untested() -> None:
    said = " ".join(judge(replace(evidence(), untested=("swin", "vit"))).further)
    assert "The fine-tuned swin and vit were not tested" in said
    assert "--permute-labels 59" in said
    assert "not tested" not in " ".join(judge(evidence()).further)

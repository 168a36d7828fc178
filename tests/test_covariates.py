"""Columns of the cohort table, found by name."""

import pytest

from msbatch.covariates import check_covariates, covariate, strata
from msbatch.errors import MsbatchError

TABLE = [
    {"Sex": "F ", "Batch": "b1"},
    {"Sex": "f", "Batch": "b2"},
    {"Sex": "", "Batch": "B1"},
    {"Sex": "M", "Batch": "b1"},
]


def test_case_and_blanks_make_no_difference() -> None:
    assert [covariate(own, " sex") for own in TABLE] == ["f", "f", "", "m"]
    assert covariate(TABLE[0], "age") == ""


def test_a_missing_value_is_a_level_of_its_own() -> None:
    assert strata(TABLE, ["sex"]) == [1, 1, 0, 2]


def test_several_columns_are_crossed_and_none_make_one_stratum() -> None:
    assert len(set(strata(TABLE, ["sex", "batch"]))) == 4
    assert set(strata(TABLE, [])) == {0}


def test_an_unknown_column_is_refused_with_those_there_are() -> None:
    check_covariates(TABLE, ["BATCH", "sex"])
    with pytest.raises(MsbatchError, match="has no column batsh") as refusal:
        check_covariates(TABLE, ["sex", "batsh"])
    assert refusal.value.hint == "It has: Batch, Sex."


@pytest.mark.parametrize("text", ["", " ", "NA", "n/a", "unknown"])
def test_a_word_for_missing_is_a_missing_value(text: str) -> None:
    assert covariate({"sex": text}, "sex") == ""
    assert strata([{"sex": text}, {"sex": ""}, {"sex": "F"}], ["sex"]) == [0, 0, 1]

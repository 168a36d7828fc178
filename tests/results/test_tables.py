"""Every table as a spreadsheet and a script get it: headings, reasons, text that runs nothing, and strict JSON."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from packed import draw_study, read_header, read_rows
from runs import make_run

from msbatch.layout import RunDir
from msbatch.results.metrics import Value
from msbatch.results.reduce import reduce
from msbatch.results.show import as_json
from msbatch.results.tables import rounded, tables
from msbatch.text import safe

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?")
HOSTILE = ["=1+1", "+x", "-x", "@x", "-0.5x", "=cmd|' -C calc'!A0", "ordinary", "1,2"]


def strict(text: str) -> dict:
    """Read JSON that holds no NaN and no infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def every_field(run: RunDir) -> list[str]:
    """Give every field of every table, headings too."""
    fields = []
    for path in sorted(run.results.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as handle:
            fields += [field for row in csv.reader(handle) for field in row]
    return fields


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "-0.5", "="])
def test_text_that_a_spreadsheet_would_run_gets_a_quotation_mark(text: str) -> None:
    assert safe(text) == f"'{text}"


@pytest.mark.parametrize("value", [-0.5, -3, Value(-0.5), "P1", "n/a (one class only)", "a=b", ""])
def test_numbers_and_other_text_stay_as_they_are(value) -> None:
    assert safe(value) == value


def test_hostile_names_values_and_headings_run_nothing_in_any_table(tmp_path: Path) -> None:
    study = draw_study()
    names = dict(zip(study.labels, HOSTILE, strict=True))
    hostile = study.renamed(names)
    for number, traits in enumerate(hostile.attributes.values()):
        traits.update({"=site": HOSTILE[number // 2 % 2], "@ward": HOSTILE[number // 4 + 2]})
    run = hostile.write(tmp_path)
    reduce(run)
    dangerous = [field for field in every_field(run) if field[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert [field for field in dangerous if not NUMBER.fullmatch(field)] == []
    assert {row["patient"] for row in read_rows(run, "folds")} == {safe(name) for name in HOSTILE}
    assert {"'=site", "'@ward"} <= {row["covariate"] for row in read_rows(run, "covariates")}
    assert {"'=site", "'@ward"} <= set(read_header(run, "oddfolds"))


def test_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    study = draw_study()
    run = study.write(tmp_path)
    reduce(run)
    for row in read_rows(run, "folds"):
        logits = study.logits["resnet50"][row["patient"]]
        assert float(row["mean_score"]) == pytest.approx(sum(logits) / len(logits))
    assert min(float(row["mean_score"]) for row in read_rows(run, "folds")) < 0


@pytest.mark.parametrize("by_cell", [False, True])
@pytest.mark.parametrize("lost", [False, True])
def test_what_is_undefined_has_a_reason_in_every_table(tmp_path: Path, by_cell: bool, lost: bool) -> None:
    study = draw_study(by_cell=by_cell, backbones=("resnet50", "swin"))
    if lost:
        study = replace(study, logits={**study.logits, "resnet50": {}})
    run = study.write(tmp_path)
    reduce(run)
    fields = every_field(run)
    assert not {"nan", "inf", "-inf", "none"} & {field.casefold() for field in fields}
    undefined = [field for field in fields if field.startswith("n/a")]
    assert undefined
    assert all(re.fullmatch(r"n/a \(.+\)", field) for field in undefined)


def test_a_number_from_linear_algebra_is_rounded_and_a_reason_is_kept() -> None:
    assert rounded(Value(0.1234567890123)) == Value(0.123456789)
    assert rounded(Value(1234567.8901234)) == Value(1234567.89)
    assert rounded(Value(None, "why")) == Value(None, "why")


def test_every_table_has_its_heading_where_it_has_no_row(tmp_path: Path) -> None:
    labels = {f"P{number}": [number % 2] * 2 for number in range(4)}
    reduction = reduce(run := make_run(tmp_path / "run", labels, {"resnet50": {}}))
    wanted = {
        *("folds", "cells", "patients", "missing", "comparison", "oddfolds", "influence", "subgroups", "gaps"),
        *("calibration", "calibration_bins", "nuisance", "covariates", "probe", "tests"),
    }
    assert set(tables(reduction)) == {path.stem for path in run.results.glob("*.csv")} == wanted
    for table in wanted:
        assert all(read_header(run, table)), table
    assert read_rows(run, "oddfolds") == read_rows(run, "tests") == []


def test_a_column_of_the_cohort_called_as_a_column_of_a_table_hides_nothing(tmp_path: Path) -> None:
    study = draw_study()
    for traits in study.attributes.values():
        traits.update(odd="often", recall="high", size=traits["sex"])
    run = study.write(tmp_path)
    reduce(run)
    for row in read_rows(run, "oddfolds"):
        assert row["odd"] in ("yes", "no")
        assert float(row["recall"]) <= 1
        assert (row["covariate odd"], row["covariate recall"]) == ("often", "high")
        assert row["size"] == study.attributes[row["patient"]]["sex"]
    questions = [row["question"] for row in read_rows(run, "tests")]
    assert {"beyond size", "beyond covariate size"} <= set(questions)
    assert len(set(questions)) == len(questions) - 1  # the association, of the network and of what was measured


@pytest.mark.parametrize("by_cell", [False, True])
def test_a_script_gets_all_tables_and_the_verdict_as_strict_json(tmp_path: Path, by_cell: bool) -> None:
    study = draw_study(by_cell=by_cell, backbones=("resnet50", "swin"))
    run = study.write(tmp_path)
    run.task("swin", 2).predictions.unlink()
    reduction = reduce(run)
    plain = strict(json.dumps(as_json(reduction), allow_nan=False))
    for table, (header, rows) in tables(reduction).items():
        assert len(plain[table]) == len(rows) == len(read_rows(run, table)), table
        if table != "missing":
            assert all([*row][:-1] == header for row in plain[table]), table
    assert plain["verdict"] == strict((run.results / "verdict.json").read_text(encoding="utf-8"))
    assert plain["verdict"]["category"]
    assert plain["complete"] is False


def test_whether_all_arrangements_were_looked_at_is_said_alike_in_every_table(tmp_path: Path) -> None:
    run = draw_study(backbones=("resnet50", "swin")).write(tmp_path)
    reduce(run)
    for table in ("comparison", "gaps", "tests"):
        assert {row["exact"] for row in read_rows(run, table)} <= {"yes", "no"}, table


def test_json_numbers_and_reasons_are_those_of_the_tables(tmp_path: Path) -> None:
    run = draw_study().write(tmp_path)
    plain = as_json(reduce(run))
    for table in ("folds", "cells", "patients", "calibration", "nuisance", "tests"):
        for row, written in zip(plain[table], read_rows(run, table), strict=True):
            for key, text in written.items():
                if row[key] is None:
                    assert text == f"n/a ({row['undefined'][key]})"
                else:
                    assert text == str(row[key])


def test_the_verdict_of_a_study_is_in_words(tmp_path: Path) -> None:
    run = draw_study().write(tmp_path)
    reduction = reduce(run)
    said = strict((run.results / "verdict.json").read_text(encoding="utf-8"))
    assert reduction.cohort is not None
    assert said["sentence"] == reduction.cohort.verdict.sentence
    assert any("This rests on 8 patients (4 control, 4 MS)" in sentence for sentence in said["further"])
    assert any(sentence.startswith("Sensitivity of resnet50 over patients: ") for sentence in said["further"])
    assert list(said["odd_folds"]) == ["resnet50"]


def test_a_fold_whose_cells_were_called_wrong_is_odd_in_table_and_words(tmp_path: Path) -> None:
    study = draw_study(sizes=(30,) * 12)
    logits = {
        patient: [(2 * label - 1) * (-1 if cell % 10 == 0 else 1) for cell, label in enumerate(own)]
        for patient, own in study.labels.items()
    }
    logits["P04"] = [-logit for logit in logits["P04"]]
    run = replace(study, logits={"resnet50": logits}).write(tmp_path)
    reduce(run)
    assert [row["patient"] for row in read_rows(run, "oddfolds") if row["odd"] == "yes"] == ["P04"]
    first, *_, last = strict((run.results / "verdict.json").read_text())["odd_folds"]["resnet50"]
    assert "of patient P04" in first
    assert f"age {study.attributes['P04']['age']}" in first
    assert last.startswith("One patient cannot tell why")

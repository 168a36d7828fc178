"""Intervals beside every estimate: around it, with their method, and none where nothing is estimated."""

from pathlib import Path

import pytest
from packed import draw_study, read_rows

from msbatch.results.intervals import clopper_pearson
from msbatch.results.reduce import reduce

POOLED = ("sensitivity", "specificity", "balanced_accuracy", "f1_MS", "f1_control", "macro_f1", "mcc")
WITHIN = ("sensitivity", "specificity", "auc")


def summaries(folder: Path, table: str, *, by_cell: bool, backbone: str = "resnet50") -> list[dict[str, str]]:
    run = draw_study(5, (9, 12, 7, 10, 8, 11, 9, 14), by_cell=by_cell).write(folder)
    reduce(run)
    return [row for row in read_rows(run, table) if row["backbone"] == backbone]


@pytest.mark.parametrize(
    ("table", "by_cell", "measures"),
    [
        ("cells", False, POOLED),
        ("patients", False, POOLED),
        ("cells", True, POOLED),
        ("patients", True, WITHIN),
    ],
)
def test_an_interval_holds_its_estimate_and_is_not_the_whole_range(tmp_path: Path, table, by_cell, measures) -> None:
    rows = summaries(tmp_path, table, by_cell=by_cell)
    assert rows
    for row in rows:
        assert {key.removesuffix("_low") for key in row if key.endswith("_low")} == set(measures)
        for name in measures:
            low, estimate, high = (float(row[key]) for key in (f"{name}_low", name, f"{name}_high"))
            lowest = -1 if name == "mcc" else 0
            assert lowest <= low <= estimate <= high <= 1, name
            assert low < high
            assert high - low < 1 or name not in ("sensitivity", "specificity")
        assert "over patients" in row["intervals"]


def test_sensitivity_over_patients_has_the_exact_interval(tmp_path: Path) -> None:
    row = summaries(tmp_path, "patients", by_cell=False)[0]
    exact = clopper_pearson(int(row["tp"]), int(row["tp"]) + int(row["fn"]))
    assert [row["sensitivity_low"], row["sensitivity_high"]] == [str(exact.low), str(exact.high)]
    assert row["intervals"].startswith("sensitivity, specificity: Clopper-Pearson over patients")


def test_few_patients_are_said_to_be_indicative_only(tmp_path: Path) -> None:
    for table in ("cells", "patients"):
        assert "indicative only: 4 patients in a class" in summaries(tmp_path, table, by_cell=False)[0]["note"]


@pytest.mark.parametrize("by_cell", [False, True])
@pytest.mark.parametrize("table", ["cells", "patients"])
def test_calling_everything_positive_estimates_nothing(tmp_path: Path, table: str, by_cell: bool) -> None:
    (row,) = summaries(tmp_path, table, by_cell=by_cell, backbone="always-positive")
    ends = {value for key, value in row.items() if key.endswith(("_low", "_high"))}
    assert ends == {"n/a (nothing is estimated)"}
    assert row["intervals"] == ""
    assert float(row["sensitivity"]) == 1.0

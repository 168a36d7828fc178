"""How the tables look in a terminal of 80 columns and in a log, and what a script gets."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from runs import make_run

from msbatch.layout import RunDir
from msbatch.plan import Relabelling, load_plan, save_plan
from msbatch.results.reduce import Reduction, reduce
from msbatch.results.show import as_json, tables

BACKBONES = (
    "swin_tiny_patch4_window7_224",
    "resnet50",
    "efficientnet_b0",
    "vit_small_patch16_224",
    "tf_efficientnet_lite0",
    "hf-hub:someone/some_red_blood_cell_network",
)


def printed(reduction: Reduction, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False, markup=False, soft_wrap=True, force_terminal=terminal)
    for part in tables(reduction):
        console.print(part)
    return out.getvalue()


def study(root: Path, level: str = "patient", lost: bool = False, backbones: tuple[str, ...] = BACKBONES) -> Reduction:
    labels = {f"patient {i:02d}": [i % 2] * 6 if level == "patient" else [0, 1, 1, 0, 1, i % 2] for i in range(6)}
    labels["patient 00"] = [0] * 6
    rng = np.random.default_rng(3)
    logits = {name: {p: rng.normal(own).tolist() for p, own in labels.items()} for name in backbones}
    if lost:
        del logits[backbones[0]]["patient 03"]
    return reduce(make_run(root, labels, logits))


@pytest.mark.parametrize("level", ["patient", "cell"])
@pytest.mark.parametrize("lost", [False, True])
def test_tables_fit_into_80_columns(tmp_path: Path, level: str, lost: bool) -> None:
    text = printed(study(tmp_path / "run", level, lost))
    tables_only = text[: text.index("\n[1]")]
    assert max(len(line.rstrip()) for line in tables_only.splitlines()) <= 80


@pytest.mark.parametrize("level", ["patient", "cell"])
def test_every_summary_number_is_printed_whole(tmp_path: Path, level: str) -> None:
    reduction = study(tmp_path / "run", level)
    words = printed(reduction).split()
    for row in [*reduction.cells, *reduction.patients]:
        for key in ("sensitivity", "specificity"):
            assert f"{row[key].number:.3f}" in words


def test_a_log_gets_no_control_characters(tmp_path: Path) -> None:
    assert "\x1b" not in printed(study(tmp_path / "run", lost=True))


def test_a_partial_study_says_so_at_every_table_and_names_the_fold(tmp_path: Path) -> None:
    text = printed(study(tmp_path / "run", lost=True, backbones=("resnet50", "swin_tiny_patch4_window7_224")))
    lines = text.splitlines()
    headings = [i for i, line in enumerate(lines) if line.startswith(("Folds", "Cells", "Patients"))]
    assert {lines[i].split(",")[0].split(":")[0] for i in headings} == {"Folds", "Cells", "Patients"}
    assert {lines[i - 1] for i in headings} == {"PARTIAL: 11 of 12 folds"}
    assert "MISSING" in text
    assert "5/6" in text
    assert "resnet50 fold 03 (patient 03): No predictions; the task is waiting." in text


def test_a_complete_study_is_not_called_partial(tmp_path: Path) -> None:
    text = printed(study(tmp_path / "run"))
    assert "PARTIAL" not in text
    assert "MISSING" not in text


@pytest.mark.parametrize("lost", [False, True])
def test_further_trainings_that_are_not_there_make_no_table_partial(tmp_path: Path, lost: bool) -> None:
    study(tmp_path / "run", lost=lost, backbones=("resnet50",))
    run = RunDir(tmp_path / "run")
    plan = load_plan(run.plan)
    labels = {fold.held_out: fold.number % 2 for fold in plan.folds}
    more = [Relabelling(number=number, labels=labels, seed=None, folds=()) for number in (1, 2)]
    save_plan(run.plan, plan.with_seeds(2).with_relabellings(more))
    reduction = reduce(run)
    text = printed(reduction)
    assert not reduction.complete
    assert "18 further trainings (seeds, permuted labels) are not there yet" in text
    assert text.count("PARTIAL: 5 of 6 folds") == text.count("PARTIAL:") == (4 if lost else 0)
    assert ("1 of 6 folds missing:" in text) == lost
    assert ("MISSING" in text) == lost
    assert "fold 04 (" not in text


def test_how_intervals_were_made_is_said_once_where_it_holds_of_all(tmp_path: Path) -> None:
    reduction = study(tmp_path / "run", "cell", backbones=("resnet50", BACKBONES[0]))
    same = {"intervals": "bootstrap", "note": "few patients"}
    rows = [row | same if row["intervals"] else row for row in reduction.cells]
    text = printed(replace(reduction, cells=rows, patients=rows))
    assert [line for line in text.splitlines() if "95 %" in line] == ["95 % intervals: bootstrap; few patients."]


def test_how_intervals_were_made_names_the_backbones_where_they_differ(tmp_path: Path) -> None:
    reduction = study(tmp_path / "run", backbones=("resnet50", BACKBONES[0]))
    notes = {"resnet50": "", BACKBONES[0]: "3 resamples left out"}
    cells = [
        row | {"intervals": "bootstrap", "note": notes[row["backbone"]]} for row in reduction.cells if row["intervals"]
    ]
    patients = [row | {"intervals": "exact", "note": ""} for row in reduction.patients if row["intervals"]]
    text = printed(replace(reduction, cells=cells, patients=patients))
    assert [line for line in text.splitlines() if "95 %" in line] == [
        "95 % intervals: resnet50: bootstrap.",
        "95 % intervals: swin: bootstrap; 3 resamples left out.",
        "95 % intervals: exact.",
    ]


def test_what_is_undefined_has_a_footnote(tmp_path: Path) -> None:
    text = printed(study(tmp_path / "run", "cell", backbones=("resnet50",)))
    assert "n/a [1]" in text
    assert "[1] one class only" in text
    assert "nan" not in text.lower()


def test_a_wrong_call_of_a_patient_is_marked(tmp_path: Path) -> None:
    labels = {f"P{i}": [i % 2] * 2 for i in range(4)}
    logits = {"P0": [-1.0, -1.0], "P1": [-3.0, 1.0], "P2": [-1.0, -1.0], "P3": [1.0, 1.0]}
    text = printed(reduce(make_run(tmp_path / "run", labels, {"resnet50": logits})))
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith("0")}
    assert rows["P1"].rstrip().endswith("0.500 x")
    assert rows["P3"].rstrip().endswith("1.000")


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    labels = {f"[red]P{i}[/]": [i % 2] * 2 for i in range(4)}
    logits = {patient: [2.0 * label - 1 for label in own] for patient, own in labels.items()}
    text = printed(reduce(make_run(tmp_path / "run", labels, {"resnet50": logits})), terminal=True)
    assert "[red]P3[/]" in text


def test_json_has_null_and_a_reason_where_there_is_no_number(tmp_path: Path) -> None:
    plain = json.loads(
        json.dumps(as_json(study(tmp_path / "run", lost=True, backbones=("resnet50",))), allow_nan=False)
    )
    assert plain["complete"] is False
    assert plain["missing"][0]["patient"] == "patient 03"
    fold = plain["folds"][0]
    assert fold["auc"] is None
    assert fold["undefined"]["auc"] == "one class only"
    assert isinstance(fold["recall"], float)
    assert {row["backbone"] for row in plain["cells"]} == {"resnet50", "always-positive"}

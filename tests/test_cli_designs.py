"""Designs as a person asks for them: what the plan says of them, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from commands import Run

from msbatch.layout import list_runs
from msbatch.plan import load_plan

QUICK = """
[plan]
backbones = ["test_vit"]
[training]
steps = 4
eval_every = 2
input_px = 32
batch_size = 8
tta = false
[weights]
pretrained = false
"""


@pytest.fixture(autouse=True)
def study(tmp_path: Path, cohort_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a packed cohort the current one."""
    shutil.copy(cohort_folder / "cohort.h5", tmp_path)
    (tmp_path / "msbatch.toml").write_text(QUICK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plain_plan_speaks_of_no_design(cli: Run) -> None:
    out = cli("plan")[1]
    for word in ("dropped", "balance", "seeds", "permuted", "trains", "4 tasks"):
        assert word not in out


def test_a_plan_says_what_is_in_force(cli: Run) -> None:
    asked = ["--balance", "class,sex", "--rebalance", "--seeds", "2", "--permute-labels", "3", "--seed", "5"]
    code, out, _ = cli("plan", *asked)
    assert code == 0
    lines = out.splitlines()
    for line in (
        "cells are sampled in balance over class, sex",
        "a patient of the other class is dropped in 4 folds",
        "2 seeds: 5 to 6",
        "labels are permuted 3 times",
        "20 tasks",
        "test_vit: tasks 0 to 3",
        "test_vit.seed-1: tasks 4 to 7",
        "test_vit: 12 tasks under permuted labels",
    ):
        assert line in lines
    plan = load_plan(list_runs()[-1].plan)
    for fold in plan.folds:
        row = next(line.split() for line in lines if line.split()[:2] == [f"{fold.number:02d}", fold.held_out])
        assert row[-1:] == list(fold.dropped)


def test_a_dry_run_says_so_too_and_still_shows_the_balance_of_class_and_sex(cli: Run, study: Path) -> None:
    code, out, _ = cli("submit", "--dry-run", "--seeds", "3", "--balance", "class,batch")
    assert code == 0
    for said in ("balance over class, batch", "3 seeds: 0 to 2", "12 tasks", "patients by sex and class"):
        assert said in out
    assert not (study / "runs").exists()


@pytest.mark.parametrize(
    ("asked", "problem", "hint"),
    [
        (["--balance", "class,batsh"], "has no column batsh", "It has: age, batch, sex."),
        (["--train-on", "sex=F"], "to train on.", "at least two patients of each class"),
        (["--train-on", "sex"], "is not COLUMN=VALUE", ""),
        (["--permute-labels", "6"], "5 other ways", "--permute-labels 5"),
        (["--seeds", "0"], "plan.seeds", ""),
    ],
)
def test_what_cannot_be_planned_is_refused_in_two_lines_at_most(
    cli: Run, study: Path, asked: list[str], problem: str, hint: str
) -> None:
    code, _, error = cli("plan", *asked)
    assert code == 1
    assert problem in error
    assert hint in error
    assert len(error.splitlines()) <= 2
    assert not list_runs(study / "runs")


def test_a_backbone_stands_for_all_its_arms_when_it_is_run_again(cli: Run) -> None:
    cli("plan", "--seeds", "2", "--permute-labels", "1")
    for names, tasks in (("test_vit", 12), ("test_vit.seed-1", 4), ("test_vit.seed-1,test_vit.labels-01", 8)):
        assert f"{tasks} tasks of 12: test_vit" in cli("rerun", "--backbones", names, "--dry-run")[1]
    code, _, error = cli("rerun", "--backbones", "test_vit.seed-2", "--dry-run")
    assert code == 1
    assert "no backbone test_vit.seed-2: it has test_vit, test_vit.seed-1, test_vit.labels-01" in error


@pytest.mark.slow
def test_arms_are_trained_filed_and_missed_by_their_names(cli: Run) -> None:
    code, _, _ = cli("submit", "--local", "--folds", "1", "--seeds", "2", "--permute-labels", "1")
    assert code == 3
    (run,) = list_runs()
    arms = ["test_vit", "test_vit.labels-01", "test_vit.seed-1"]
    assert sorted(path.name for path in run.tasks.iterdir()) == arms
    assert all((run.tasks / arm / "fold-01" / "predictions.csv").is_file() for arm in arms)
    told = json.loads(cli("status", "--json")[1])
    assert told["counts"] == {"done": 3, "waiting": 9}
    assert "under permuted labels: 1 of 4 tasks done, 3 waiting" in cli("status")[1]
    missing = (run.results / "missing.csv").read_text()
    assert "test_vit.seed-1,0," in missing
    assert "test_vit.labels-01,3," in missing
    assert "test_vit.seed-1 fold 01 is done" in cli("logs", "--fold", "1", "--backbone", "test_vit.seed-1")[1]
    code, _, error = cli("logs", "--fold", "1", "--backbone", "test_vit.seed-4")
    assert code == 1
    assert "It has test_vit, test_vit.seed-1, test_vit.labels-01." in error

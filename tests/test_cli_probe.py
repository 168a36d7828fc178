"""The probe as a person types it: one run for frozen and fine-tuned backbones, and refusals in plain words."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from commands import QUICK, Run
from runs import make_store

from msbatch.layout import list_runs
from msbatch.plan import load_plan


@pytest.fixture
def study(tmp_path: Path, cohort_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a packed cohort and quick settings the current one."""
    shutil.copy(cohort_folder / "cohort.h5", tmp_path)
    (tmp_path / "msbatch.toml").write_text(QUICK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("study")
def test_a_probe_ends_with_its_tables_and_training_extends_the_same_run(cli: Run) -> None:
    code, out, error = cli("probe", "--permutations", "99")
    assert code == 0, error
    (run,) = list_runs()
    assert "test_vit.frozen" in out
    assert "The same folds by nuisance alone" in out
    assert "no predictions" not in out
    with (run.results / "patients.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {row["status"] for row in rows if row["backbone"] == "test_vit.frozen"} == {"complete"}
    assert cli("report")[0] == 0
    page = (run.results / "report.html").read_text()
    assert "Ridge regression with an unpenalised intercept" in page
    assert "weights that validate best" not in page, "nothing was trained"
    attempts = sorted(run.root.glob("tasks/*/*/attempts/*"))
    for fold in load_plan(run.plan).folds:
        said = cli("logs", "--fold", str(fold.number), "--backbone", "test_vit.frozen")[1]
        assert said.strip(), "also the log of a fold that shared its process says where to look"

    assert cli("probe", "--permutations", "99")[0] == 0
    assert sorted(run.root.glob("tasks/*/*/attempts/*")) == attempts, "what is embedded is not embedded again"

    assert cli("plan", "--json")[0] == 0
    assert list_runs() == [run]
    assert load_plan(run.plan).backbones == ["test_vit.frozen", "test_vit"]
    assert load_plan(run.plan).probe.permutations == 99, "training says nothing of how the probe is tested"
    code, out, _ = cli("probe", "--json")
    assert code == 0, "what is yet to be trained is no failure of the probe"
    assert {row["backbone"] for row in json.loads(out)["folds"]} == {"test_vit.frozen", "test_vit"}
    assert cli("report", "--allow-partial")[0] == 0
    assert "weights that validate best" in (run.results / "report.html").read_text()


@pytest.mark.usefixtures("study")
def test_without_weights_it_says_where_they_belong(cli: Run) -> None:
    code, _, error = cli("probe", "--pretrained")
    assert code == 1
    assert "weights/test_vit.safetensors" in error
    assert not list_runs()[0].results.exists()


@pytest.mark.parametrize(
    ("setting", "arguments", "words"),
    [
        ('train_on = "sex=F"', [], "learns from everyone but the held-out patient"),
        ("rebalance = true", [], "learns from everyone but the held-out patient"),
        ("", ["--covariates", "planet"], "The cohort has no column planet."),
        ("", ["--permutations", "3"], "probe.permutations"),
        ("", ["--backbones", "no_such_network"], "no backbone named no_such_network"),
    ],
)
def test_what_it_cannot_do_is_refused(study: Path, cli: Run, setting: str, arguments: list[str], words: str) -> None:
    (study / "msbatch.toml").write_text(QUICK.replace("[plan]", f"[plan]\n{setting}"))
    code, out, error = cli("probe", *arguments)
    assert code in (1, 3)
    assert words in out + error


@pytest.mark.parametrize("command", [["plan"], ["submit", "--local"]])
def test_a_frozen_backbone_in_a_study_is_held_to_the_same(study: Path, cli: Run, command: list[str]) -> None:
    code, _, error = cli(*command, "--backbones", "test_vit,test_vit.frozen", "--train-on", "sex=F")
    assert code == 1
    assert "learns from everyone but the held-out patient" in error
    assert not (study / "runs").exists()


def test_an_inner_penalty_needs_one_label_per_patient(study: Path, cli: Run) -> None:
    make_store(study / "cells.h5", {name: [0, 1] for name in "ABCDEF"})
    code, _, error = cli("probe", "cells.h5", "--lambda", "inner")
    assert code == 1
    assert "here cells carry the labels" in error
    assert cli("submit", "cells.h5", "--run", "runs/x", "--probe")[0] == 2


@pytest.mark.usefixtures("study", "slurm")
def test_on_a_cluster_it_is_an_array_of_embeddings_alone(cli: Run) -> None:
    assert cli("plan")[0] == 0
    code, out, error = cli("submit", "--probe", "--yes", "--runtime", "none")
    assert code == 0, error
    (run,) = list_runs()
    tasks = load_plan(run.plan).tasks
    assert [task.index for task in tasks if task.frozen] == [4, 5, 6, 7]
    assert "Submitted 4 tasks" in out

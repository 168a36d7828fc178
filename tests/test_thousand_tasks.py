"""A thousand tasks: every command takes them all, and asks Slurm no more often than for a few."""

import csv
import json
from pathlib import Path

import pytest
from commands import Run
from fake_slurm import FakeSlurm
from runs import make_plan, make_store, predict_all
from traces import attempted, ended, started, submitted

from msbatch.layout import RunDir, list_runs
from msbatch.plan import Plan, save_plan

BACKBONES = ("swin_tiny_patch4_window7_224", "resnet50")
SUBMIT = ("submit", "--backbones", ",".join(BACKBONES), "--no-pretrained", "--runtime", "none")

Labels = dict[str, list[int]]


def cohort(patients: int) -> Labels:
    return {f"P{number:03d}": [number % 2] * 3 for number in range(patients)}


LARGE, SMALL = cohort(500), cohort(4)


@pytest.fixture(scope="module")
def large() -> Plan:
    return make_plan(LARGE, BACKBONES)


def commands_of(slurm: FakeSlurm, before: int) -> list[str]:
    """Name Slurm's commands that were called since there were so many calls."""
    return [call.split()[0] for call in slurm.calls()[before:]]


@pytest.mark.slow
def test_all_are_submitted_as_one_array_and_slurm_is_asked_as_often_as_for_eight(
    cli: Run, slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for name, labels in (("small", SMALL), ("large", LARGE)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        make_store(Path("cohort.h5"), labels)
        before = len(slurm.calls())
        code, shown, _ = cli(*SUBMIT, "--dry-run")
        assert code == 0
        assert f"{2 * len(labels)} tasks of {2 * len(labels)}: swin" in shown
        assert f"#SBATCH --array=0-{2 * len(labels) - 1}%" in shown
        assert not list_runs()
        assert cli(*SUBMIT, "--yes")[0] == 0
        asked.append(commands_of(slurm, before))
    assert [job["tasks"] for job in slurm.jobs()] == [8, 1, 1000, 1]
    assert len(list(Path().glob("runs/*/jobs/*/102_*_submitted.pkl"))) == 1000
    assert asked[0] == asked[1]


def mixed(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    """Let tasks be queued, running, done, failed by their own words, failed by accounting's, and lost, in turn."""
    entry, queue, accounts = submitted(run, range(len(plan.tasks)), "12"), [], []
    for task in plan.tasks:
        number, folder = entry.element(task.index), run.task(task.backbone, task.fold)
        match task.index % 5:
            case 0:
                queue.append(f"{number}|PENDING|Priority|4:00:00|")
            case 1:
                queue.append(f"{number}|RUNNING|None|3:00:00|v1")
                attempted(run, task, started(entry, number), phase="running", step=30, steps=120)
            case 2:
                attempted(run, task, ended(entry, number, 0), phase="done")
                folder.predictions.touch()
                folder.manifest.touch()
            case 3:
                attempted(run, task, ended(entry, number, 1), phase="failed", reason="The loss became nan by step 40.")
            case 4:
                accounts.append(f"{number}|NODE_FAIL|0:0")
    slurm.holds(*queue)
    slurm.accounts(*accounts)


def test_the_status_of_all_takes_one_look_at_the_queue_and_one_at_accounting(
    cli: Run, slurm: FakeSlurm, tmp_path: Path, large: Plan
) -> None:
    run = RunDir(tmp_path / "run")
    save_plan(run.plan, large)
    mixed(run, large, slurm)
    code, out, _ = cli("status", str(run.root), "--json")
    assert code == 0
    told = json.loads(out)
    assert told["counts"] == {"queued": 200, "running": 200, "done": 200, "failed": 400}
    assert [task["index"] for task in told["tasks"]] == list(range(1000))
    assert [task["category"] for task in told["tasks"][-2:]] == ["non-finite loss", "node lost"]
    assert commands_of(slurm, 0) == ["squeue", "sacct"]
    assert "200 of 1000 tasks done" in cli("status", str(run.root))[1]


def rows(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))


def test_the_predictions_of_all_become_tables(cli: Run, tmp_path: Path, large: Plan) -> None:
    run = RunDir(tmp_path / "run")
    save_plan(run.plan, large)
    right = {patient: [2.0 * label - 1 for label in own] for patient, own in LARGE.items()}
    wrong = {patient: [-logit for logit in own] for patient, own in right.items()}
    predict_all(run, large, LARGE, {BACKBONES[0]: right, BACKBONES[1]: wrong})
    assert cli("reduce", str(run.root))[0] == 0
    tables = {name: rows(run.results / f"{name}.csv") for name in ("folds", "cells")}
    assert [(row["backbone"], row["patient"]) for row in tables["folds"]] == [
        (backbone, patient) for backbone in BACKBONES for patient in LARGE
    ]
    assert [(row["cells"], row["sensitivity"]) for row in tables["cells"]] == [
        ("1500", "1.0"),
        ("1500", "0.0"),
        ("1500", "1.0"),  # of always-positive
    ]

"""What is known of a task, from its files."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from msbatch.cluster.status import run_status, status_table, task_status
from msbatch.cohort.folds import draw_plan
from msbatch.config import parse_settings
from msbatch.files import write_json
from msbatch.layout import RunDir
from msbatch.plan import Plan
from msbatch.state import Attempt, TaskState


@pytest.fixture
def plan(cohort_folder: Path) -> Plan:
    settings = parse_settings({"plan": {"backbones": ["resnet50", "swin"]}}, "test")
    return draw_plan(cohort_folder / "cohort.h5", settings)


def test_a_task_goes_from_waiting_to_done(plan: Plan, tmp_path: Path) -> None:
    run, task = RunDir(tmp_path), plan.tasks[5]
    folder = run.task(task.backbone, task.fold)
    assert task_status(run, task).phase == "waiting"
    attempt = Attempt.claim(folder)
    attempt.write(phase="running", step=30, steps=120, best_validation=0.25)
    running = task_status(run, task)
    assert (running.mark, running.best_validation, running.attempt) == ("25 %", 0.25, 1)
    attempt.write(phase="done")
    assert task_status(run, task).phase == "waiting", "no predictions: it is not done, whatever its state says"
    folder.predictions.touch()
    folder.manifest.touch()
    assert task_status(run, task).phase == "done"


def test_a_task_that_fell_silent_is_doubted(plan: Plan, tmp_path: Path) -> None:
    run, task = RunDir(tmp_path), plan.tasks[0]
    state = TaskState(phase="running", attempt=1, step=3, steps=9, updated=time.time() - 3600)
    write_json(run.task(task.backbone, task.fold).state, state.model_dump(mode="json"))
    assert task_status(run, task).mark == "stopped?"


def test_the_table_has_a_row_per_fold_and_a_column_per_backbone(plan: Plan, tmp_path: Path) -> None:
    run, task = RunDir(tmp_path), plan.tasks[1]
    Attempt.claim(run.task(task.backbone, task.fold))
    Attempt.claim(run.task(task.backbone, task.fold)).write(phase="failed", reason="no space left")
    out = io.StringIO()
    Console(width=120, file=out).print(status_table(run_status(run, plan), plan))
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["fold", "resnet50", "swin_tiny_patch4_window7_224"]
    assert len(lines) == 1 + len(plan.folds)
    assert lines[2].split() == ["01", "failed", "attempt", "2", "waiting"]

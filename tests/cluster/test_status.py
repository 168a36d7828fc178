"""What is known of a task, from its own files."""

import time
from pathlib import Path

import pytest

from msbatch.cluster.status import task_status
from msbatch.cohort.folds import draw_plan
from msbatch.files import write_json
from msbatch.layout import RunDir
from msbatch.plan import Plan
from msbatch.settings_file import parse_settings
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
    assert (running.mark, running.best_validation, running.attempt) == ("30/120", 0.25, 1)
    assert running.live
    attempt.write(phase="done")
    assert task_status(run, task).phase == "waiting", "no predictions: it is not done, whatever its state says"
    folder.predictions.touch()
    folder.manifest.touch()
    assert task_status(run, task).phase == "done"


def test_a_task_that_fell_silent_is_doubted(plan: Plan, tmp_path: Path) -> None:
    run, task = RunDir(tmp_path), plan.tasks[0]
    state = TaskState(phase="running", attempt=1, step=3, steps=9, updated=time.time() - 3600)
    write_json(run.task(task.backbone, task.fold).state, state.model_dump(mode="json"))
    status = task_status(run, task)
    assert status.mark == "stopped?"
    assert not status.live


def test_a_damaged_state_is_told_and_hides_no_other_task(plan: Plan, tmp_path: Path) -> None:
    run, task = RunDir(tmp_path), plan.tasks[0]
    path = run.task(task.backbone, task.fold).state
    write_json(path, {"phase": "running"})
    path.write_text(path.read_text()[:-4])
    status = task_status(run, task)
    assert status.phase == "waiting"
    assert str(path) in status.reason

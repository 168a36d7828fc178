"""A reducer on another node than the tasks: files that it sees late, and files that never come."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import make_run

from msbatch.layout import RunDir, data_dir
from msbatch.state import Attempt

LABELS = {f"P{number}": [number % 2] * 3 for number in range(4)}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Give a run whose tasks have all ended, but one of them has not shown its predictions yet."""
    logits = {patient: [1.0] * 3 for patient in LABELS}
    run = make_run(tmp_path / "run", LABELS, {"resnet50": logits})
    Attempt.claim(run.task("resnet50", 2)).write(phase="done")
    run.task("resnet50", 2).manifest.rename(tmp_path / "hidden")
    return run


def start(run: RunDir, wait_s: float) -> "subprocess.Popen[str]":
    command = [sys.executable, str(data_dir("jobs") / "reduce.py"), str(run.root), "--wait-s", str(wait_s)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_predictions_that_are_seen_late_are_waited_for(run: RunDir, tmp_path: Path) -> None:
    with start(run, 120) as reducer:
        time.sleep(5)
        assert not run.results.exists(), "it waits"
        (tmp_path / "hidden").rename(run.task("resnet50", 2).manifest)
        assert reducer.wait(120) == 0


def test_predictions_that_never_come_are_missing(run: RunDir) -> None:
    with start(run, 2) as reducer:
        assert "resnet50 fold 2 is missing" in reducer.communicate(timeout=120)[1]
    assert reducer.returncode == 3


def test_a_task_that_failed_is_not_waited_for(run: RunDir) -> None:
    Attempt.claim(run.task("resnet50", 2)).write(phase="failed", reason="out of memory")
    with start(run, 3600) as reducer:
        assert reducer.wait(120) == 3

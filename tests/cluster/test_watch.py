"""What is shown of running tasks, on a terminal and in a log."""

from dataclasses import replace

import pytest

from msbatch.cluster.status import TaskStatus
from msbatch.cluster.watch import Watch

WAITING = TaskStatus(
    index=3,
    backbone="resnet50",
    fold=3,
    phase="waiting",
    attempt=0,
    step=0,
    steps=0,
    best_validation=None,
    reason="",
    silent_s=None,
)
RUNNING = replace(
    WAITING, phase="running", attempt=1, step=40, steps=320, best_validation=0.4321, silent_s=0, images_per_second=41.3
)


def watch_one(end: TaskStatus) -> None:
    with Watch(2) as watch:
        watch.started(WAITING)
        watch.running([RUNNING])
        watch.ended(end)


def test_a_log_gets_a_line_per_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    watch_one(replace(RUNNING, phase="done"))
    started, ended = capsys.readouterr().err.splitlines()
    assert started == "start  resnet50 fold 03"
    assert ended.startswith("[1/2] resnet50 fold 03 done")
    assert "left" in ended


def test_a_failure_is_told_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    watch_one(replace(RUNNING, phase="failed", reason="no space [left] on device\nFree some."))
    assert "FAILED: no space [left] on device  (" in capsys.readouterr().err


def test_a_terminal_shows_every_running_task_and_the_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with Watch(2) as watch:
        watch.started(WAITING)
        watch.running([RUNNING])
    shown = capsys.readouterr().err
    assert "resnet50 fold 03" in shown
    assert "40/320, 41 img/s, val 0.432" in shown
    assert "all tasks" in shown

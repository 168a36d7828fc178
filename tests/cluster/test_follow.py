"""Following a run until it stands still."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from msbatch.cluster import follow as module
from msbatch.cluster.follow import follow
from msbatch.cluster.status import ReducerStatus, RunStatus, TaskStatus

TASK = TaskStatus(0, "resnet50", 3, "queued", 1, 0, 120, None, "Resources", None, job="12")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.01)


def looks(*stages: dict[str, Any], reducer: ReducerStatus | None = None) -> Iterator[RunStatus]:
    for stage in stages:
        yield RunStatus([replace(TASK, **stage)], reducer, "", [])


def followed(stages: Iterator[RunStatus], terminal: bool) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal, markup=False, highlight=False)
    follow(lambda: next(stages), lambda status: f"[{status.tasks[0].mark}]", console)
    return out.getvalue().splitlines()


def test_a_log_gets_a_line_per_change_and_the_table_at_the_end() -> None:
    stages = looks({}, {}, {"phase": "running", "node": "v1"}, {"phase": "running", "step": 9}, {"phase": "done"})
    first, *lines, last = followed(stages, terminal=False)
    assert first.endswith("0 of 1 tasks done, 1 queued")
    said = [line.split("  ", 1)[1] for line in lines]
    assert said == ["resnet50 fold 03  queued -> running on v1", "resnet50 fold 03  running -> done"]
    assert last == "[done]"


def test_a_failure_is_told_with_its_reason() -> None:
    failed = {"phase": "failed", "reason": "its node was lost"}
    assert followed(looks({}, failed), terminal=False)[-2].endswith("queued -> failed: its node was lost")


def test_a_terminal_is_redrawn_until_nothing_is_queued_or_running() -> None:
    lines = followed(looks({}, {"phase": "running", "step": 9}, {"phase": "done"}), terminal=True)
    shown = "\n".join(lines)
    assert "[queued]" in shown
    assert "[9/120]" in shown
    assert "Ctrl-C" in shown
    assert lines[-1].endswith("[done]")


def test_the_reducer_is_waited_for() -> None:
    running, done = ReducerStatus("9", "running"), ReducerStatus("9", "done")
    stages = iter([*looks({"phase": "done"}, reducer=running), *looks({"phase": "done"}, reducer=done)])
    assert followed(stages, terminal=False)[-2].endswith("reducer  running -> done")
    assert next(stages, None) is None


@pytest.mark.parametrize("terminal", [False, True])
def test_a_slurm_that_does_not_answer_for_a_while_ends_nothing(terminal: bool) -> None:
    silent = replace(next(looks({"phase": "waiting"})), note="Slurm does not answer", silent=True)
    stages = iter([silent, *looks({"phase": "running"}), silent, silent, *looks({"phase": "done"})])
    lines = followed(stages, terminal)
    assert lines[-1].endswith("[done]")
    assert next(stages, None) is None
    assert not any("running -> waiting" in line for line in lines)


def test_a_task_that_fell_silent_is_not_waited_for() -> None:
    assert followed(looks({"phase": "running", "silent_s": 4000}), terminal=False)[-1] == "[stopped?]"

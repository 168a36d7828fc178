"""A task that its launcher asks to stop leaves at the next step and loses nothing."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tasks import end, finish, folder, scalars, start, wait_for_a_round, wait_until

from msbatch.errors import StoppedError
from msbatch.layout import RunDir
from msbatch.state import read_attempts, read_state
from msbatch.training.task import run_task

STEPS = 120
LONG = {"batch_size": 3, "steps": STEPS, "patience": 1000, "drop_rate": 0.2, "drop_path": 0.2}


def ask(launch: Path, cause: str = "time limit") -> None:
    launch.with_name(f"{launch.name}.stop").write_text(f"{cause}\n")


def stop_later(run: RunDir, launch: Path, seconds: float) -> int:
    """Start a task, ask it to stop some time after its first round, and give the step at which it stopped."""
    process = start(run, MSBATCH_LAUNCH=launch)
    wait_for_a_round(run, process)
    time.sleep(seconds)
    ask(launch)
    code, output = end(process)
    assert code == 75, output
    state = read_state(folder(run))
    assert state.phase == "waiting"
    assert state.reason == f"stopped at step {state.step} of {STEPS}: time limit"
    assert (folder(run).checkpoints / f"step-{state.step:07d}.sha256").is_file()
    return state.step


@pytest.mark.parametrize("processes", [1, 3])
def test_a_stopped_task_resumes_as_if_nothing_had_happened(processes: int, make_run: Any, tmp_path: Path) -> None:
    calm, stopped = (make_run(name, compute={"processes": processes}, **LONG) for name in ("calm", "stopped"))
    finish(calm)
    round_steps = scalars(calm)["train/loss"][0][0]
    at = [0]
    while at[-1] % round_steps == 0:  # until a stop comes in the middle of a round
        at.append(stop_later(stopped, tmp_path / f"9_0.{len(at)}", 0.1 * len(at)))
    assert f"Resuming from step {at[-1]} of {STEPS}" in finish(stopped, MSBATCH_LAUNCH=tmp_path / "9_0.9")
    assert folder(stopped).predictions.read_bytes() == folder(calm).predictions.read_bytes()
    assert folder(stopped).weights.read_bytes() == folder(calm).weights.read_bytes()
    assert scalars(stopped) == scalars(calm)
    assert [record.start_step for record in read_attempts(folder(stopped))] == at


def test_a_task_asked_before_its_first_step_stops_too(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run")
    monkeypatch.setenv("MSBATCH_LAUNCH", str(tmp_path / "9.0"))
    ask(tmp_path / "9.0", "preempted")
    with pytest.raises(StoppedError, match="stopped at step 0 of 20: preempted"):
        run_task(run, 0)
    assert read_state(folder(run)).phase == "waiting"
    monkeypatch.setenv("MSBATCH_LAUNCH", str(tmp_path / "9.1"))
    run_task(run, 0)
    assert read_state(folder(run)).phase == "done"
    assert read_state(folder(run)).reason == ""


def test_a_task_stopped_at_one_step_over_and_over_fails(
    make_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run")
    for restart in range(4):
        monkeypatch.setenv("MSBATCH_LAUNCH", str(tmp_path / f"9_0.{restart}"))
        ask(tmp_path / f"9_0.{restart}")
        with pytest.raises(Exception, match="stopped at step 0" if restart < 3 else "started 4 times at step 0"):
            run_task(run, 0)
    state = read_state(folder(run))
    assert (state.phase, state.reason) == (
        "failed",
        "it was started 4 times at step 0 without progress; see its log",
    )


def test_a_task_beats_while_it_works(make_run: Any, tmp_path: Path) -> None:
    run, beat = make_run("run", **{**LONG, "steps": 100_000}), tmp_path / "9.0.beat"
    process = start(run, MSBATCH_LAUNCH=tmp_path / "9.0")
    wait_for_a_round(run, process)
    before = beat.stat().st_mtime
    wait_until(lambda: beat.stat().st_mtime > before, process)
    assert beat.stat().st_mtime - before < 10
    ask(tmp_path / "9.0", "terminated")
    assert end(process)[0] == 75


def test_without_a_launcher_there_is_no_trace_of_one(make_run: Any, tmp_path: Path) -> None:
    run = make_run("run")
    run_task(run, 0)
    assert not list(tmp_path.rglob("*.beat"))
    assert read_attempts(folder(run))[0].launch is None


@pytest.mark.filterwarnings("ignore:This DataLoader will create 1 worker")
def test_a_signal_that_is_the_launchers_business_changes_nothing(make_run: Any, tmp_path: Path) -> None:
    compute = {"processes": 3, "workers": 1}
    run = make_run("run", compute=compute, **{**LONG, "steps": 100_000})
    process = start(run, MSBATCH_LAUNCH=tmp_path / "9.0")
    wait_for_a_round(run, process)
    os.killpg(process.pid, signal.SIGTERM)
    wait_for_a_round(run, process)
    ask(tmp_path / "9.0", "terminated")
    code, output = end(process)
    assert code == 75, output
    assert re.search(r"stopped at step \d+ of 100000: terminated", output)

"""Tasks on this machine: how many at once, what they run, and how they end."""

import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
from fake_slurm import FakeSlurm
from traces import submitted
from waiting import wait_until

from msbatch.cluster.freeze import code_digest
from msbatch.cluster.local import default_jobs
from msbatch.cluster.status import task_status
from msbatch.config import ComputeSettings
from msbatch.plan import load_plan

if TYPE_CHECKING:
    from conftest import Study


def attempts(study: "Study") -> list[tuple[str, int]]:
    return [
        (status.phase, status.attempt)
        for status in (task_status(study.run, task) for task in load_plan(study.run.plan).tasks)
    ]


def test_every_task_runs_and_tables_follow(study: "Study") -> None:
    code, out, error = study.submit("predicts", "--jobs", "2", "--threads", "3", CUDA_VISIBLE_DEVICES="5")
    assert code == 0, error
    assert attempts(study) == [("done", 1)] * 4
    assert (study.run.results / "cells.csv").is_file()
    assert str(study.run.results.relative_to(study.folder)) in out
    assert "[4/4] test_vit fold" in error
    assert "threads 3" in study.log(0).read_text()
    assert "devices 5" in study.log(0).read_text()
    assert study.submit("dies at once")[0] == 0, "what is done must not run again"
    assert attempts(study) == [("done", 1)] * 4


def test_no_more_tasks_at_once_than_asked_for(study: "Study") -> None:
    process = study.start("waits", "--jobs", "2")
    wait_until(lambda: len(study.processes()) == 2, "two tasks")
    time.sleep(2)
    running = len(study.processes())
    (study.folder / "go").touch()
    process.communicate(timeout=120)
    assert running == 2
    assert process.returncode == 0


def test_an_edited_checkout_changes_nothing_until_the_next_submission(study: "Study") -> None:
    process = study.start("waits", "--jobs", "1")
    wait_until(lambda: bool(study.processes()), "a task")
    study.script.write_text(study.script.read_text().replace("edition 1", "edition 2"))
    (study.checkout / "msbatch" / "predictions.py").write_text("raise RuntimeError('half-edited')\n")
    (study.folder / "go").touch()
    process.communicate(timeout=120)
    (code,) = study.run.code.resolve().iterdir()
    frozen = f"code {code / 'msbatch' / '__init__.py'} edition 1"
    assert [frozen in study.log(fold).read_text() for fold in range(4)] == [True] * 4
    assert attempts(study) == [("done", 1)] * 4
    line = json.loads(study.run.submissions.read_text().splitlines()[0])
    assert line["code_sha256"] == code_digest(code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_submission_leaves_no_task_behind_and_resumes(study: "Study", number: signal.Signals) -> None:
    process = study.start("waits", "--jobs", "2")
    wait_until(lambda: len(study.processes()) == 2, "two tasks")
    wait_until(lambda: attempts(study)[0] == ("running", 1), "a running task")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does it
    else:
        process.send_signal(number)
    _, error = process.communicate(timeout=60)
    wait_until(lambda: not study.processes(), "the end of all tasks")
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert "same command goes on" in error
        assert "Traceback" not in error
    assert study.submit("predicts")[0] == 0
    phases = attempts(study)
    assert [phase for phase, _ in phases] == ["done"] * 4
    assert phases[0] == ("done", 2)


def test_a_failed_task_is_named_with_its_reason(study: "Study") -> None:
    code, _, error = study.submit("fails", "--folds", "0,2", "--jobs", "2")
    assert code == 3
    assert "2 of 2 tasks failed" in error
    assert "test_vit fold 02: the loss became nan" in error
    assert "Traceback" not in error


def test_a_task_that_dies_is_not_blamed_on_an_older_reason(study: "Study") -> None:
    study.submit("fails", "--folds", "3")
    code, _, error = study.submit("dies at once", "--folds", "3")
    assert code == 3
    assert "test_vit fold 03: it ended without a word" in error
    assert "nan" not in error
    assert str(study.log(3).relative_to(study.folder)) in error


def test_two_submissions_do_not_share_a_run(study: "Study") -> None:
    process = study.start("waits", "--jobs", "1")
    wait_until(lambda: bool(study.processes()), "a task")
    code, _, error = study.submit("predicts")
    (study.folder / "go").touch()
    process.communicate(timeout=120)
    assert code == 1
    assert f"being worked on by process {process.pid}" in error
    assert process.returncode == 0


def test_tasks_that_slurm_holds_are_not_run_here(study: "Study", slurm: FakeSlurm) -> None:
    assert study.submit("predicts", "--folds", "0")[0] == 3
    assert not slurm.calls(), "nothing of the run was ever submitted"
    submitted(study.run, [0, 1, 2], "12")
    slurm.holds("12_1|PENDING|Resources|9:00|", "12_2|RUNNING|None|9:00|v1")
    code, _, error = study.submit("predicts")
    assert code == 1
    assert "test_vit fold 01 is queued or running under Slurm, as 12_1, and 1 more are." in error
    assert f"msbatch cancel {study.run.root.relative_to(study.folder)}" in error
    code, _, error = study.submit("predicts", "--processes", "2")
    assert (code, "queued with other processes" in error) == (1, True)
    assert load_plan(study.run.plan).compute.processes == 1
    assert study.submit("predicts", "--folds", "3")[0] == 3, "Slurm does not hold this one"
    slurm.refuses("squeue", "squeue: error: Unable to contact slurm controller")
    code, _, error = study.submit("predicts")
    assert code == 1
    assert "try again later" in error
    bare = study.folder / "bin"
    bare.mkdir()
    (bare / "env").symlink_to(shutil.which("env") or "")
    assert study.submit("predicts", PATH=str(bare))[0] == 0, "on a machine without Slurm there is nobody to ask"


def test_jobs_share_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_jobs(ComputeSettings()) == cores
    assert default_jobs(ComputeSettings(threads=cores, processes=2)) == 1
    assert default_jobs(ComputeSettings(device="cuda")) == 1

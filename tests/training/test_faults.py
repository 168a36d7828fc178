"""Whatever ends a task, its state says so in words."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from disks import fill, mounted
from tasks import SCRIPT, end, files, finish, folder, ranks_of, start, wait_for_a_round

from msbatch.config import ComputeSettings
from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.state import read_state
from msbatch.training.ddp import Crew, World, launch
from msbatch.training.faults import as_told
from msbatch.training.nodes import Node
from msbatch.training.task import run_task

LONG = {"steps": 4000, "patience": 10_000}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "process 1 was killed (SIGKILL), probably out of memory"),
        (signal.SIGBUS, "process 1 was killed (SIGBUS)"),
    ],
)
def test_a_killed_process_fails_the_task_and_its_peers_end(number: signal.Signals, words: str, make_run: Any) -> None:
    run = make_run("run", compute={"processes": 2}, **LONG)
    process = start(run)
    wait_for_a_round(run, process)
    ranks = ranks_of(process)
    os.kill(ranks[-1], number)
    code, output = end(process)
    assert code == 1
    state = read_state(folder(run))
    assert state.phase == "failed"
    assert state.reason.splitlines()[0] == words, output
    assert "Traceback" not in output
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


def fail_and_abort(world: World) -> None:
    if world.rank == 1:
        raise MsbatchError("the loss became nan")
    try:
        world.barrier()
    finally:  # as NCCL does in a process that lost a peer
        os.abort()


def test_a_process_that_aborts_when_it_loses_a_peer_is_no_cause() -> None:
    with pytest.raises(MsbatchError, match="the loss became nan"):
        launch(fail_and_abort, Crew(ComputeSettings(processes=2), Node(0, 1, 2)))


def limit_files(run: RunDir, kilobytes: int) -> tuple[int, str]:
    """Run a task where no file can grow beyond a size."""
    limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", sys.executable, str(SCRIPT)]
    done = subprocess.run([*limited, str(run.root), "--task", "0"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_checkpoint_that_cannot_be_written_fails_the_task_and_keeps_what_is_there(make_run: Any) -> None:
    calm, limited = make_run("calm"), make_run("limited")
    run_task(calm, 0)
    code, output = limit_files(limited, 300)
    assert code == 1
    assert "could not be written: File too large" in read_state(folder(limited)).reason, output
    assert "Traceback" not in output
    assert not list(folder(limited).root.rglob("*.tmp.*"))
    run_task(limited, 0)
    assert folder(limited).predictions.read_bytes() == folder(calm).predictions.read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "32m"):
        yield disk


@pytest.mark.parametrize("leave_bytes", [0, 20_000, 9_000_000])
def test_a_full_disk_is_named_whatever_was_being_written(leave_bytes: int, make_run: Any, small_disk: Path) -> None:
    calm, run = make_run("calm"), make_run("disk/run")
    run_task(calm, 0)
    ballast = fill(small_disk, leave_bytes)
    code, output = end(start(run))
    assert code == 1
    assert "the disk is full" in output
    if leave_bytes:
        assert "the disk is full" in read_state(folder(run)).reason
    ballast.unlink()
    run_task(run, 0)
    assert folder(run).predictions.read_bytes() == folder(calm).predictions.read_bytes()
    assert not list(run.root.rglob("*.tmp.*"))


def test_a_disk_too_full_for_tensorboard_fails_the_task_and_keeps_its_checkpoints(
    make_run: Any,
) -> None:
    calm, run = make_run("calm"), make_run("run")
    run_task(calm, 0)
    events = folder(run).tensorboard
    events.mkdir(parents=True)
    with mounted(events, "4k"):
        (events / "ballast").write_bytes(b"0" * 4096)
        code, output = end(start(run))
        assert code == 1
        assert "the disk is full" in read_state(folder(run)).reason, output
        assert not folder(run).done
    run_task(run, 0)
    assert folder(run).predictions.read_bytes() == folder(calm).predictions.read_bytes()


def test_a_store_that_is_missing_on_the_node_is_named(make_run: Any) -> None:
    run = make_run("run")
    plan = load_plan(run.plan)
    record = plan.store.model_copy(update={"path": "/nowhere/cohort.h5"})
    run.plan.write_text(plan.model_copy(update={"store": record}).model_dump_json())
    with pytest.raises(MsbatchError, match=r"/nowhere/cohort\.h5 does not exist"):
        run_task(run, 0)
    assert read_state(folder(run)).reason.splitlines()[0] == "/nowhere/cohort.h5 does not exist."


def too_much_memory() -> None:
    torch.empty(2**50)


def too_little_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/state.json")


def wrapped_by_torch() -> None:
    try:
        too_little_disk()
    except OSError:
        raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904


def a_lost_peer() -> None:
    raise RuntimeError("[pair.cc:534] Connection closed by peer [10.0.0.2]:4242\nmore")


def a_killed_loader() -> None:
    raise RuntimeError("DataLoader worker (pid 77) is killed by signal: Killed. ")


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (too_much_memory, "out of memory: "),
        (too_little_disk, "the disk is full: [Errno 28]"),
        (wrapped_by_torch, "the disk is full: unexpected pos"),
        (a_lost_peer, "another process of the task, or its node, was lost: [pair.cc:534] Connection closed"),
        (a_killed_loader, "a loader process was killed (SIGKILL), probably out of memory"),
    ],
)
def test_what_happens_on_clusters_is_told_in_one_line(fail: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        fail()
    told = as_told(caught.value)
    assert told.problem.startswith(words)
    assert "\n" not in told.problem
    assert not caplog.records


def test_the_trace_of_a_surprise_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        print(1 / 0)
    assert as_told(caught.value).problem == "ZeroDivisionError: division by zero"
    assert "print(1 / 0)" in caplog.text


@pytest.mark.parametrize("processes", [1, 2])
def test_an_attempt_that_comes_back_from_a_lost_node_writes_nothing(processes: int, make_run: Any) -> None:
    run = make_run("run", compute={"processes": processes}, steps=60, batch_size=2)
    lost = start(run)
    wait_for_a_round(run, lost)
    os.killpg(lost.pid, signal.SIGSTOP)
    finish(run)
    before = files(run)
    os.killpg(lost.pid, signal.SIGCONT)
    code, output = end(lost)
    assert code == 1
    assert "attempt 1 was superseded by attempt 2" in output
    assert "Traceback" not in output
    assert files(run) == before
    assert read_state(folder(run)).phase == "done"

"""A task that is killed or warned, as often as one likes, comes to the bytes of one that nobody disturbed."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tasks import (
    SCRIPT,
    Process,
    children,
    end,
    finish,
    folder,
    ranks_of,
    scalars,
    start,
    started,
    wait_for_a_round,
    wait_until,
)

from msbatch.cluster.sites import launch_conf
from msbatch.config import ClusterSettings
from msbatch.files import make_dir, sha256
from msbatch.layout import PACKAGE, RunDir, data_dir
from msbatch.state import read_state
from msbatch.training.checkpoint import newest_step

RECIPE = {"batch_size": 2, "steps": 120, "patience": 1000, "drop_rate": 0.2, "drop_path": 0.2}
SITE = ClusterSettings(runtime="none")

MakeStraight = Callable[[int], RunDir]


@pytest.fixture(scope="module")
def straight(make_run_in: Any, tmp_path_factory: pytest.TempPathFactory) -> MakeStraight:
    """Give the run of so many processes whose task was never disturbed."""

    @cache
    def make(processes: int) -> RunDir:
        run: RunDir = make_run_in(tmp_path_factory.mktemp("straight"))(
            "run", compute={"processes": processes}, **RECIPE
        )
        finish(run)
        return run

    return make


def begun_anew(run: RunDir, root: Path) -> RunDir:
    """Give a run of the same plan that has done nothing yet."""
    new = RunDir(make_dir(root))
    new.plan.write_bytes(run.plan.read_bytes())
    return new


def outcome(run: RunDir) -> tuple[str, str]:
    return sha256(folder(run).predictions), sha256(folder(run).weights)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("processes", [1, 2])
def test_kills_after_the_first_a_middle_and_the_last_validation_but_one_change_no_bit(
    processes: int, straight: MakeStraight, tmp_path: Path
) -> None:
    """What is an epoch elsewhere is a round here: the steps up to a validation, which its checkpoint ends.

    The same run is struck after all three, so that each resuming but the last leads to the next kill.
    """
    calm = straight(processes)
    rounds = [step for step, _ in scalars(calm)["validation/loss"]]
    killed = begun_anew(calm, tmp_path / "run")
    for step in (rounds[0], rounds[len(rounds) // 2], rounds[-2]):
        kill_after(killed, step)
        assert not folder(killed).done
    assert f"Resuming from step {rounds[-2]} of {rounds[-1]}" in finish(killed)
    assert outcome(killed) == outcome(calm)
    assert scalars(killed) == scalars(calm)


def kill_after(run: RunDir, step: int) -> None:
    """Kill all processes of a task as soon as the checkpoint of a step stands."""
    process = start(run)
    wait_until((folder(run).checkpoints / f"step-{step:07d}.sha256").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert newest_step(folder(run).checkpoints) == step


class Node:
    """A node on which Slurm starts the same task again and again; commands of Slurm are stand-ins."""

    def __init__(self, root: Path, run: RunDir) -> None:
        self.root = root
        self.run = run
        self.conf = root / "launch.conf"
        self.asked = root / "asked"
        self.conf.touch(0o600)
        paths = {"RUN": run.root, "CODE": PACKAGE.parent, "STORE": "", "WEIGHTS": ""}
        site = SITE.model_copy(update={"scratch": str(root / "scratch")})
        self.conf.write_text(
            launch_conf(site, {**paths, "IMAGE": "", "IMAGE_BYTES": "", "IMAGE_SHA256": ""}, gpus=False)
        )
        (root / "bin").mkdir()
        for name, does in {"scontrol": f'echo "$*" >>{self.asked}', "srun": "exec sleep 600"}.items():
            (root / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
            (root / "bin" / name).chmod(0o755)

    def launch(self, restart: int, limit_s: float) -> Process:
        """Start the launcher as Slurm does, with so many seconds before the time limit."""
        element = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
        times = {"SLURM_RESTART_COUNT": f"{restart}", "SLURM_JOB_END_TIME": f"{time.time() + limit_s:.0f}"}
        path = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [
                "bash",
                str(data_dir("jobs") / "launch.sh"),
                str(self.conf),
                str(SCRIPT),
                str(self.run.root),
                "--task",
                "0",
            ],
            env={**os.environ, **element, **times, **path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    def end(self, restart: int) -> dict[str, Any]:
        return dict(json.loads((self.root / "launches" / f"7_0.{restart}.end").read_text()))


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[[RunDir], Node]]:
    yield lambda run: Node(tmp_path, run)
    for process in started:  # a task has a session of its own
        for task in children(process.pid, b"fold.py") if process.poll() is None else []:
            with suppress(ProcessLookupError):  # a fork of the launcher leads no group
                os.killpg(task, signal.SIGKILL)


PREEMPTED_S = 7200.0
TIME_LIMIT_S = SITE.signal_lead_s + 70.0
UNWARNED_S = SITE.signal_lead_s + 1.0  # the launcher's own clock asks at once, that is before the first step

WARNINGS = [
    ("preempted", PREEMPTED_S, 0),
    ("preempted", PREEMPTED_S, 1),
    ("time limit", TIME_LIMIT_S, 0),
    ("time limit", TIME_LIMIT_S, 1),
    ("time limit", UNWARNED_S, None),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_task_of_two_processes_is_requeued_whichever_of_them_is_warned(
    straight: MakeStraight, make_node: Callable[[RunDir], Node], tmp_path: Path
) -> None:
    """One run is warned again and again: one process of the task and its launcher, or, the last time, nobody."""
    calm = straight(2)
    run = begun_anew(calm, tmp_path / "run")
    node = make_node(run)
    for restart, (cause, limit_s, rank) in enumerate(WARNINGS):
        process = node.launch(restart, limit_s)
        if rank is not None:
            warn(run, process, rank)
        wait_until(lambda: node.asked.exists(), process)
        node.asked.unlink()
        os.killpg(process.pid, signal.SIGKILL)  # so does Slurm end what it requeues
        process.communicate()
        found = node.end(restart)
        assert (found["exit"], found["requeued"], found["cause"]) == (75, True, cause)
        state = read_state(folder(run))
        assert (state.phase, folder(run).done) == ("waiting", False)
        assert state.reason.endswith(f"of {RECIPE['steps']}: {cause}")
    code, output = end(node.launch(len(WARNINGS), PREEMPTED_S))
    assert code == 0, output
    assert f"Resuming from step {state.step} of" in output
    assert outcome(run) == outcome(calm)
    assert scalars(run) == scalars(calm)


def warn(run: RunDir, process: Process, rank: int) -> None:
    """Send USR2 to a process of a task, where it changes nothing, and then to the launcher, who alone answers it."""
    wait_for_a_round(run, process)
    # For a moment a fork of the launcher looks like the task.
    ranks = [children(task, b"spawn_main") for task in children(process.pid, b"fold.py")]
    os.kill(max(ranks, key=len)[rank], signal.SIGUSR2)
    process.send_signal(signal.SIGUSR2)


@pytest.mark.parametrize("rank", [0, 1])
def test_without_a_launcher_the_process_that_is_signalled_is_named_and_nothing_is_done(
    rank: int, straight: MakeStraight, tmp_path: Path
) -> None:
    run = begun_anew(straight(2), tmp_path / "run")
    process = start(run)
    wait_for_a_round(run, process)
    os.kill(ranks_of(process)[rank], signal.SIGUSR2)
    assert end(process)[0] == 1
    assert (read_state(folder(run)).phase, folder(run).done) == ("failed", False)
    assert read_state(folder(run)).reason.splitlines()[0] == f"process {rank} was killed (SIGUSR2)"
    assert newest_step(folder(run).checkpoints) > 0

"""Run the tasks of a plan on this machine, a few at a time."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import submitit

from msbatch.cluster.freeze import freeze_code
from msbatch.cluster.held import held_if_submitted
from msbatch.cluster.jobcall import JobCall
from msbatch.cluster.ledger import record
from msbatch.cluster.slurm import SlurmError
from msbatch.cluster.status import TaskStatus, is_done, task_status
from msbatch.cluster.submit import LOCK_WAIT_S
from msbatch.cluster.watch import Watch
from msbatch.config import ComputeSettings
from msbatch.errors import MsbatchError
from msbatch.files import make_dir
from msbatch.layout import RunDir
from msbatch.lock import run_lock
from msbatch.plan import Plan, Task

POLL_S = 0.5
NO_TIME_LIMIT_MIN = 60 * 24 * 365


def default_jobs(compute: ComputeSettings) -> int:
    """How many tasks fit on this machine at once: cores over threads, or one where GPUs are used."""
    if compute.device == "cuda":
        return 1
    return max(1, len(os.sched_getaffinity(0)) // (compute.threads * compute.processes))


def run_local(run: RunDir, plan: Plan, tasks: Sequence[Task], jobs: int) -> list[TaskStatus]:
    """Run tasks through submitit's local executor and wait for all of them.

    Tasks end with this process: interrupted or killed, it leaves none behind.

    Parameters
    ----------
    run : RunDir
        The run; its code is frozen first.
    plan : Plan
        The run's plan.
    tasks : sequence of Task
        What to run; tasks that have their predictions are passed over.
    jobs : int
        Tasks at once.

    Returns
    -------
    list of TaskStatus
        The tasks that failed, each with its reason.

    Raises
    ------
    MsbatchError
        If another submission works on the run, or Slurm holds one of the tasks.
    KeyboardInterrupt
        If this process is asked to end.
    """
    todo = [task for task in tasks if not is_done(run, task)]
    if not todo:
        return []
    with _terminable(), _alone(run, todo), Watch(len(todo)) as watch:
        digest = freeze_code(run)
        record(run, "local", tasks=[task.index for task in todo], code_sha256=digest)
        crew, waiting = _Crew(run, plan, watch, run.frozen(digest).resolve()), deque(_together(todo, jobs))
        while waiting or crew.jobs:
            while waiting and len(crew.jobs) < jobs:
                crew.start(waiting.popleft())
            time.sleep(POLL_S)
            crew.look()
        return crew.failed


def _together(tasks: Sequence[Task], jobs: int) -> list[list[Task]]:
    """Give the tasks of each process: one to train, or a share of the patients that a frozen backbone embeds."""
    trained = [[task] for task in tasks if not task.frozen]
    backbones = dict.fromkeys(task.backbone for task in tasks if task.frozen)
    frozen = [[task for task in tasks if task.backbone == backbone] for backbone in backbones]
    return [own[start::jobs] for own in frozen for start in range(min(jobs, len(own)))] + trained


class _Crew:
    """The processes that run just now, their tasks, and the tasks that failed."""

    def __init__(self, run: RunDir, plan: Plan, watch: Watch, code: Path) -> None:
        self.run = run
        self.code = code
        self.plan = plan
        self.watch = watch
        self.jobs: list[tuple[Any, list[Task]]] = []
        self.attempts: dict[Task, int] = {}  # before ours, of tasks that have not ended
        self.failed: list[TaskStatus] = []
        self._executor = _executor(run, code)

    def start(self, tasks: list[Task]) -> None:
        statuses = [task_status(self.run, task) for task in tasks]
        _say_where_logged(self.run, tasks)
        with _shielded():
            self.jobs.append((self._executor.submit(_call(self.run, self.plan, tasks, self.code)), tasks))
        self.attempts |= {task: status.attempt for task, status in zip(tasks, statuses, strict=True)}
        self.watch.started(statuses[0])

    def look(self) -> None:
        over = {task for job, tasks in self.jobs if job.done() for task in tasks}
        self.jobs = [(job, tasks) for job, tasks in self.jobs if not job.done()]
        for task in [task for task in self.attempts if task in over or is_done(self.run, task)]:
            ended = _outcome(self.run, task, self.attempts.pop(task))
            self.watch.ended(ended)
            self.failed += [ended] if ended.phase != "done" else []
        statuses = [task_status(self.run, task) for task in self.attempts]
        self.watch.running([status for status in statuses if status.phase == "running"])


def _executor(run: RunDir, code: Path) -> submitit.LocalExecutor:
    # A folder of its own: submitit names files by process, and the numbers of processes come again.
    folder = make_dir(run.jobs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}")
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    python = ["env", f"PYTHONPATH={os.pathsep.join(paths)}", sys.executable, "-P"]
    executor = submitit.LocalExecutor(folder=folder, python=shlex.join(python))
    executor.update_parameters(timeout_min=NO_TIME_LIMIT_MIN)
    return executor


def _call(run: RunDir, plan: Plan, tasks: Sequence[Task], code: Path) -> JobCall:
    root = RunDir(run.root.resolve())
    return JobCall(
        script=str(code / "jobs" / "fold.py"),
        run=str(root.root),
        log=str(root.task(tasks[0].arm, tasks[0].fold).log),
        tasks=tuple(task.index for task in tasks),
        threads=plan.compute.threads,
        devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        owner=os.getpid(),
    )


def _say_where_logged(run: RunDir, tasks: Sequence[Task]) -> None:
    """Leave a word in the log of every task but the first, which has the log of the process."""
    first, *others = [run.task(task.arm, task.fold) for task in tasks]
    for folder in others:
        make_dir(folder.root)
        with folder.log.open("a", encoding="utf-8") as log:
            log.write(f"One process does several folds; what it says is in {first.log}\n")


def _outcome(run: RunDir, task: Task, attempt_before: int) -> TaskStatus:
    status = task_status(run, task)
    told = status.phase == "failed" and status.attempt > attempt_before
    if status.phase == "done" or told:
        return status
    log = run.task(task.arm, task.fold).log
    return replace(status, phase="failed", reason=f"it ended without a word, perhaps killed: see {log}")


@contextmanager
def _alone(run: RunDir, tasks: Iterable[Task]) -> Iterator[None]:
    """Hold the run; between the look at Slurm's queue and that, nobody submits anything."""
    with ExitStack() as kept:
        with run_lock(run.submit_lock, LOCK_WAIT_S):
            _refuse_held(run, tasks)
            kept.enter_context(run_lock(run.local_lock))
        yield


def _refuse_held(run: RunDir, tasks: Iterable[Task]) -> None:
    try:
        numbers = held_if_submitted(run).tasks
    except SlurmError as error:
        hint = f"It may still hold tasks of {run.root}: try again later, or make another run with --new."
        raise MsbatchError(error.problem, hint) from None
    busy = [(task, numbers[task.index]) for task in tasks if task.index in numbers]
    for task, number in busy[:1]:
        others = f", and {len(busy) - 1} more are" if len(busy) > 1 else ""
        raise MsbatchError(
            f"{task.arm} fold {task.fold:02d} is queued or running under Slurm, as {number}{others}.",
            f"Wait, or stop them first with: msbatch cancel {run.root}",
        )


@contextmanager
def _shielded() -> Iterator[None]:
    """Start processes that leave an interrupt from the keyboard to this one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _terminable() -> Iterator[None]:
    """Take a request to end as an interrupt, so that the lock is released."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""Run the tasks of a plan on this machine, a few at a time."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import submitit

from msbatch.cluster.freeze import freeze_code
from msbatch.cluster.jobcall import JobCall
from msbatch.cluster.lock import run_lock
from msbatch.cluster.status import TaskStatus, is_done, task_status
from msbatch.cluster.watch import Watch
from msbatch.config import ComputeSettings
from msbatch.files import make_dir
from msbatch.layout import RunDir
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
        If another submission works on the run.
    """
    waiting = deque(task for task in tasks if not is_done(run, task))
    if not waiting:
        return []
    with run_lock(run.root / "local.lock"), Watch(len(waiting)) as watch:
        _record(run, [task.index for task in waiting], freeze_code(run))
        return _run_all(run, plan, waiting, jobs, watch)


def _run_all(run: RunDir, plan: Plan, waiting: deque[Task], jobs: int, watch: Watch) -> list[TaskStatus]:
    executor = _executor(run, plan.compute)
    running: dict[Task, Any] = {}
    failed = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.popleft()
                running[task] = executor.submit(_call(run, plan, task))
                watch.started(task_status(run, task))
            time.sleep(POLL_S)
            for task in [task for task, job in running.items() if job.done()]:
                del running[task]
                ended = _outcome(run, task)
                watch.ended(ended)
                failed += [ended] if ended.phase != "done" else []
            watch.running(task_status(run, task) for task in running)
    finally:
        for job in running.values():
            job.cancel()
    return failed


def _executor(run: RunDir, compute: ComputeSettings) -> submitit.LocalExecutor:
    executor = submitit.LocalExecutor(folder=make_dir(run.jobs))
    gpus = compute.processes if compute.device == "cuda" else 0
    executor.update_parameters(timeout_min=NO_TIME_LIMIT_MIN, gpus_per_node=gpus)
    return executor


def _call(run: RunDir, plan: Plan, task: Task) -> JobCall:
    root = run.root.resolve()
    folder = RunDir(root).task(task.backbone, task.fold)
    script = root / "code" / "jobs" / "fold.py"
    return JobCall(str(script), str(root), str(folder.log), task.index, plan.compute.threads)


def _outcome(run: RunDir, task: Task) -> TaskStatus:
    status = task_status(run, task)
    if status.phase in ("done", "failed"):
        return status
    log = run.task(task.backbone, task.fold).log
    return replace(status, phase="failed", reason=f"it ended without a word, perhaps killed: see {log}")


def _record(run: RunDir, indices: list[int], code: str) -> None:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "where": "local",
        "tasks": indices,
        "code_sha256": code,
    }
    with open(os.open(run.submissions, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as out:  # noqa: PTH123
        out.write(json.dumps(line) + "\n")

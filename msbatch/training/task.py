"""One attempt at a task: claimed, shared out among processes, and its end written down."""

from __future__ import annotations

import logging
from contextlib import nullcontext

from msbatch.errors import MsbatchError, StoppedError
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Plan, Task, load_plan
from msbatch.state import Attempt
from msbatch.store import verify_store
from msbatch.training import stop
from msbatch.training.checkpoint import newest_step
from msbatch.training.ddp import Crew, World, check_devices, launch
from msbatch.training.faults import as_told
from msbatch.training.job import Job
from msbatch.training.nodes import Node, find_meeting, hear, host_meeting, tell, this_node

log = logging.getLogger(__name__)


def run_task(run: RunDir, index: int) -> None:
    """Train one task, or resume it, and write its predictions; do nothing if it has them.

    A frozen one embeds its held-out patient.

    Parameters
    ----------
    run : RunDir
        The run.
    index : int
        The task's number in the plan.

    Raises
    ------
    StoppedError
        If the launcher asked the task to stop; it waits to be resumed from its checkpoint.
    SupersededError
        If a newer attempt owns the task; this one wrote nothing since.
    MsbatchError
        If the task cannot be done; its state says so too.
    """
    plan = load_plan(run.plan)
    if index not in range(len(plan.tasks)):
        raise MsbatchError(f"{run.root} has no task {index}: its tasks are 0 to {len(plan.tasks) - 1}.")
    task = plan.tasks[index]
    folder = run.task(task.arm, task.fold)
    if folder.done:
        log.info("%s fold %d is done already.", task.arm, task.fold)
        return
    node = this_node(plan.compute)
    try:
        _lead(plan, task, folder, node) if node.rank == 0 else _assist(plan, task, folder, node)
    except Exception as error:
        raise as_told(error) from None


def _lead(plan: Plan, task: Task, folder: TaskDir, node: Node) -> None:
    """Make a new attempt at a task and write down how it ends."""
    files = stop.launch()
    attempt = Attempt.claim(folder, str(files.prefix) if files else None, newest_step(folder.checkpoints))
    try:
        attempt.clean()
        attempt.write(phase="running", reason="")
        attempt.check_progress()
        with host_meeting(attempt.number) if node.count > 1 else nullcontext() as meeting:
            _attempt(Job(plan, task, folder, attempt), Crew(plan.compute, node, meeting))
    except Exception as error:
        told = hear(as_told(error), node)
        _write_end(attempt, told)
        raise told from None


def _assist(plan: Plan, task: Task, folder: TaskDir, node: Node) -> None:
    """Share in the first node's attempt, which alone writes the files of the task; say what ends this node."""
    try:
        meeting = find_meeting()
        _attempt(Job(plan, task, folder, Attempt(folder, meeting.attempt)), Crew(plan.compute, node, meeting))
    except Exception as error:
        told = as_told(error)
        tell(told)
        raise told from None


def _write_end(attempt: Attempt, told: MsbatchError) -> None:
    attempt.check()  # whatever ended a superseded attempt, the newer one may well be the cause
    try:
        attempt.write(phase="waiting" if isinstance(told, StoppedError) else "failed", reason=str(told))
    except OSError as error:
        log.error("%s could not be written: %s", attempt.task.state, error.strerror)


def _attempt(job: Job, crew: Crew) -> None:
    check_devices(crew)
    stop.beat()
    verify_store(job.store, job.plan.store.sha256)
    stop.beat()
    if not job.task.frozen:
        _check_batch(job.plan)
    sharing = crew.node.processes > 1 and not job.task.frozen
    launch(_work, crew, job.with_shared_cells() if sharing else job)


def _check_batch(plan: Plan) -> None:
    batch, processes = plan.settings["training"]["batch_size"], plan.compute.processes
    if batch % processes:
        raise MsbatchError(
            f"A batch of {batch} cannot be shared evenly by {processes} processes.", "Change training.batch_size."
        )


def _work(world: World, job: Job) -> None:
    # Imported where the work is done: a parent that only waits for its processes needs no network and no augmentation.
    if job.task.frozen:
        from msbatch.training.embed import embed as work
    else:
        from msbatch.training.work import work

    work(world, job)

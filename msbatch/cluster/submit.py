"""Tasks to Slurm: arrays of them, and one reducer behind; never the same task twice."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msbatch.cluster import slurm
from msbatch.cluster.aside import put_back
from msbatch.cluster.batchcall import BatchCall
from msbatch.cluster.freeze import freeze_code
from msbatch.cluster.held import held, held_if_submitted
from msbatch.cluster.ledger import Kind, Submission, read_ledger, record
from msbatch.cluster.sbatch import Sbatch, check_own, settle
from msbatch.cluster.sites import launch_conf, reducer_parameters, task_parameters
from msbatch.cluster.status import is_done
from msbatch.config import ClusterSettings
from msbatch.errors import MsbatchError
from msbatch.files import make_dir, write_text
from msbatch.layout import JobDir, RunDir
from msbatch.lock import check_free, run_lock
from msbatch.plan import Plan, Task, load_plan

LOCK_WAIT_S = 60
LATE_FILES_S = "60"  # a shared file system may show the last files of other nodes late


@dataclass(frozen=True)
class Image:
    """The container image of a submission; all empty where tasks run without one."""

    path: Path | None = None
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Order:
    """A run and how its tasks are to be run on this cluster.

    Attributes
    ----------
    image : Image
        Checked beforehand.
    """

    run: RunDir
    plan: Plan
    site: ClusterSettings
    image: Image = field(default_factory=Image)

    @property
    def home(self) -> RunDir:
        """The run, from wherever a job looks."""
        return RunDir(self.run.root.resolve())


def waiting(run: RunDir, tasks: Sequence[Task]) -> list[Task]:
    """Give the tasks that are neither done nor in Slurm's queue.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    busy = held(run).tasks
    return [task for task in tasks if not is_done(run, task) and task.index not in busy]


def submit(order: Order, tasks: Sequence[Task]) -> list[Submission]:
    """Submit the given tasks that are neither done nor queued, and a reducer behind all that is queued.

    Parameters
    ----------
    order : Order
        What to submit it with.
    tasks : sequence of Task
        Any tasks of the plan; nothing is submitted twice, whoever submits at the same time.

    Returns
    -------
    list of Submission
        The arrays and the reducer; empty where nothing was left to submit.

    Raises
    ------
    MsbatchError
        If another submission works on this run, or tasks of it run outside Slurm. Also if Slurm refuses; then
        nothing of the refused part is queued.
    """
    with submitting(order.run):
        todo = waiting(order.run, tasks)
        if todo:
            return submit_all(order, todo)
        return [submit_reducer(order, freeze_code(order.run))] if _unreduced(order.run) else []


@contextmanager
def submitting(run: RunDir) -> Iterator[None]:
    """Be the only one to submit tasks of a run, none of which runs outside Slurm; what was broken off is settled.

    Raises
    ------
    MsbatchError
        If another submission works on this run, tasks of it run outside Slurm, or Slurm does not answer.
    """
    with run_lock(run.submit_lock, LOCK_WAIT_S):
        check_free(run.local_lock)
        settle(run)
        put_back(run)
        yield


def refuse_other_resources(run: RunDir, plan: Plan) -> None:
    """Refuse to change what live tasks of a run were planned with: they read it when they start.

    Raises
    ------
    MsbatchError
        If tasks of the run are queued or running, and its plan says other resources.
    """
    if not run.plan.is_file() or _read_at_start(load_plan(run.plan)) == _read_at_start(plan):
        return
    check_free(run.local_lock)
    if held_if_submitted(run).tasks:
        raise MsbatchError(
            f"Tasks of {run.root} are queued with other processes, threads, device, store or weights than these.",
            "Wait for them or stop them (msbatch cancel), or make another run with --new.",
        )


def _read_at_start(plan: Plan) -> tuple[object, ...]:
    return plan.compute, plan.store.path, plan.weights_dir


def _unreduced(run: RunDir) -> bool:
    """Say whether a submission was broken off between its last array and its reducer."""
    taken = [entry for entry in read_ledger(run) if entry.job]
    return bool(taken) and taken[-1].kind == "fold"


def submit_all(order: Order, tasks: Sequence[Task]) -> list[Submission]:
    """Submit exactly these tasks and a reducer; the caller holds the run's lock."""
    digest = freeze_code(order.run)
    made: list[Submission] = []
    try:
        for chunk in _chunks(tasks, slurm.max_array_size()):
            made.append(_submit(order, digest, "fold", chunk))  # noqa: PERF401  # what Slurm took is kept
    except MsbatchError:
        if made:  # a limit on jobs, say: what is queued is reduced all the same
            submit_reducer(order, digest)
        raise
    return [*made, submit_reducer(order, digest)]


def submit_reducer(order: Order, digest: str) -> Submission:
    """Submit a reducer behind every array of the run that Slurm still holds."""
    arrays = held(order.run).arrays
    behind = {"dependency": f"afterany:{':'.join(arrays)}"} if arrays else {}
    return _submit(order, digest, "reduce", (), behind)


def sbatch_texts(order: Order, tasks: Sequence[Task]) -> list[str]:
    """Write what sbatch would be given for these tasks, without submitting or writing anything."""
    try:
        size = slurm.max_array_size()
    except slurm.SlurmError:
        size = slurm.DEFAULT_MAX_ARRAY
    folder, code = order.home.jobs / "<time>-<8 hex>", order.home.frozen("<12 hex>")
    texts = [
        Sbatch(folder, code, _parameters(order, "fold", "msb-<8 hex>")).text(len(chunk))
        for chunk in _chunks(tasks, size)
    ]
    behind = {"dependency": "afterany:<the arrays>"}
    reducer = Sbatch(folder, code, {**_parameters(order, "reduce", "msb-<8 hex>"), **behind})
    return [*texts, reducer.text(1)]


def prepare(order: Order) -> Path:
    """Freeze the code and write the launcher's settings for people who call sbatch themselves; give their folder."""
    with run_lock(order.run.submit_lock, LOCK_WAIT_S):
        code = order.run.frozen(freeze_code(order.run)).resolve()
        folder = order.home.by_hand
        write_text(folder.conf, conf_text(order, code, "fold"))
    return folder.root


def _chunks(tasks: Sequence[Task], size: int) -> list[Sequence[Task]]:
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


def _submit(
    order: Order, digest: str, kind: Kind, tasks: Sequence[Task], behind: Mapping[str, Any] | None = None
) -> Submission:
    number = uuid.uuid4().hex[:8]
    name = f"msb-{order.plan.signature[:8]}-{number}"
    folder = make_dir(order.home.jobs / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{number}")
    code = order.run.frozen(digest).resolve()
    _refuse_open(folder)
    write_text(JobDir(folder).conf, conf_text(order, code, kind))
    entry = Submission(name, kind, folder, tuple(task.index for task in tasks))
    told = {"kind": kind, "folder": f"jobs/{folder.name}", "tasks": list(entry.tasks)}
    record(order.run, "submitting", name=name, **told, code_sha256=digest, image_sha256=order.image.sha256)
    sbatch = Sbatch(folder, code, {**_parameters(order, kind, name), **(behind or {})})
    return sbatch.submit(order.run, entry, _calls(order, code, kind, tasks))


def _refuse_open(folder: Path) -> None:
    """Refuse file systems that let everybody write, whatever is asked for: each task would refuse it too."""
    try:
        check_own(folder)
    except MsbatchError:
        folder.rmdir()
        raise


def _parameters(order: Order, kind: Kind, name: str) -> dict[str, Any]:
    compute = order.plan.compute
    chosen = task_parameters(order.site, compute) if kind == "fold" else reducer_parameters(order.site)
    return {"job_name": name, **chosen}


def _calls(order: Order, code: Path, kind: Kind, tasks: Sequence[Task]) -> list[BatchCall]:
    root, threads = str(order.home.root), order.plan.compute.threads
    if kind == "reduce":
        return [BatchCall(str(code / "jobs" / "reduce.py"), (root, "--wait-s", LATE_FILES_S), "", threads)]
    script = str(code / "jobs" / "fold.py")
    logs = [str(order.home.task(task.arm, task.fold).log) for task in tasks]
    numbers = [str(task.index) for task in tasks]
    return [BatchCall(script, (root, "--task", n), log, threads) for n, log in zip(numbers, logs, strict=True)]


def conf_text(order: Order, code: Path, kind: Kind) -> str:
    """Write what the launcher of this order's tasks, or of their reducer, reads."""
    paths: dict[str, Path | str | None] = {
        "RUN": order.home.root,
        "CODE": code,
        "STORE": order.plan.store.path,
        "WEIGHTS": order.plan.weights_dir,
        "IMAGE": order.image.path,
        "IMAGE_BYTES": str(order.image.bytes),
        "IMAGE_SHA256": order.image.sha256,
    }
    if kind == "reduce":
        return launch_conf(order.site, paths, gpus=False, watched=False)
    return launch_conf(order.site, paths, gpus=order.plan.compute.device == "cuda")

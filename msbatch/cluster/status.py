"""How tasks and runs stand: what is known of them, and what a task's own files say."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from msbatch.errors import MsbatchError
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Task, arm_name
from msbatch.state import TaskState, read_state

SILENT_AFTER_S = 900


@dataclass(frozen=True)
class TaskStatus:
    """What is known of one task.

    Attributes
    ----------
    index, backbone, fold, repeat, relabelling
        Which task.
    phase : str
        ``waiting`` (not submitted), ``queued`` (Slurm holds it), ``running``, ``done`` or ``failed``.
    attempt : int
        The newest attempt's number.
    step, steps : int
        How far it is.
    best_validation : float or None
        The lowest validation loss so far.
    reason : str
        Why it failed, or what it waits for.
    silent_s : int or None
        How long ago it last said something, where only its own files say that it runs.
    category, hint, options : str
        Of a failure, as `msbatch.cluster.reasons` gives them.
    job : str
        Slurm's number of it.
    left, node : str
        Time left and the node, while Slurm runs it.
    images_per_second, input_wait : float or None
        Of its last round: speed of training, and the share of time in which it waited for images.
    """

    index: int
    backbone: str
    fold: int
    phase: str
    attempt: int
    step: int
    steps: int
    best_validation: float | None
    reason: str
    silent_s: int | None
    category: str = ""
    hint: str = ""
    options: str = ""
    job: str = ""
    left: str = ""
    node: str = ""
    repeat: int = 0
    relabelling: int | None = None
    images_per_second: float | None = None
    input_wait: float | None = None

    @property
    def arm(self) -> str:
        """What it is filed and shown under, together with its fold."""
        return arm_name(self.backbone, self.repeat, self.relabelling)

    @property
    def silent(self) -> bool:
        """Whether it has said nothing for so long that it may have been killed."""
        return self.silent_s is not None and self.silent_s > SILENT_AFTER_S

    @property
    def live(self) -> bool:
        """Whether it will change without anybody doing anything."""
        return self.phase in ("queued", "running") and not self.silent

    @property
    def speed(self) -> str:
        """How fast it trains, while it does."""
        running = self.phase == "running" and not self.silent and self.images_per_second is not None
        return f"{self.images_per_second:.0f} img/s" if running else ""

    @property
    def mark(self) -> str:
        """One word or two for a table cell."""
        if self.silent:
            return "stopped?"
        step = f"{self.step}/{self.steps}" if self.steps else ""
        if self.phase == "running":
            return step or "starting"
        if self.phase == "queued" and self.step:
            return f"queued at {step}"
        return "cancelled" if self.category == "cancelled" else self.phase


@dataclass(frozen=True)
class ReducerStatus:
    """What is known of the newest reducer job of a run.

    Attributes
    ----------
    job : str
        Slurm's number.
    phase : str
        ``queued``, ``running``, ``done``, ``partial`` (folds were missing), ``failed`` or ``unknown``.
    reason : str
        Why it failed, or what it waits for.
    """

    job: str
    phase: str
    reason: str = ""

    @property
    def live(self) -> bool:
        """Whether it will change without anybody doing anything."""
        return self.phase in ("queued", "running")


@dataclass(frozen=True)
class RunStatus:
    """What is known of a run.

    Attributes
    ----------
    tasks : list of TaskStatus
        In the order of the plan.
    reducer : ReducerStatus or None
        The newest one.
    note : str
        Why Slurm could not be asked; empty where it answered, or where the run has nothing to do with it.
    unsettled : list of str
        Names of submissions of which nobody knows whether Slurm took them.
    silent : bool
        Whether there is a Slurm that did not answer: what it holds is not known.
    """

    tasks: list[TaskStatus]
    reducer: ReducerStatus | None
    note: str
    unsettled: list[str]
    silent: bool = False

    @property
    def counts(self) -> Counter[str]:
        """How many tasks are in each phase."""
        return Counter(task.phase for task in self.tasks)

    @property
    def failed(self) -> list[TaskStatus]:
        """The tasks that failed."""
        return [task for task in self.tasks if task.phase == "failed"]

    @property
    def live(self) -> bool:
        """Whether anything will change without anybody doing anything."""
        return self.silent or any(task.live for task in self.tasks) or (self.reducer is not None and self.reducer.live)

    def as_json(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {"counts": dict(self.counts), **asdict(self)}


def is_done(run: RunDir, task: Task) -> bool:
    """Say whether a task has what it was for."""
    return run.task(task.arm, task.fold).done


def task_status(run: RunDir, task: Task) -> TaskStatus:
    """Read one task's state; predictions decide whether it is done."""
    state = _state(run.task(task.arm, task.fold))
    phase = "done" if is_done(run, task) else ("waiting" if state.phase == "done" else state.phase)
    silent = int(time.time() - state.updated) if phase == "running" else None
    told = state.model_dump(
        include={"attempt", "step", "steps", "best_validation", "reason", "images_per_second", "input_wait"}
    )
    which = {name: getattr(task, name) for name in ("index", "backbone", "fold", "repeat", "relabelling")}
    return TaskStatus(phase=phase, silent_s=silent, **told, **which)


def _state(folder: TaskDir) -> TaskState:
    try:
        return read_state(folder)
    except MsbatchError as error:  # one damaged file must not hide all the other tasks
        return TaskState(reason=error.problem)

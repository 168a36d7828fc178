"""How far the tasks of a run are, read from their files alone."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from msbatch.layout import RunDir
from msbatch.plan import Plan, Task
from msbatch.state import read_state

SILENT_AFTER_S = 900


@dataclass(frozen=True)
class TaskStatus:
    """What is known of one task."""

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

    @property
    def mark(self) -> str:
        """One word or two for a table cell."""
        if self.phase != "running":
            return self.phase
        if self.silent_s is not None and self.silent_s > SILENT_AFTER_S:
            return "stopped?"
        return f"{100 * self.step // self.steps} %" if self.steps else "starting"


def is_done(run: RunDir, task: Task) -> bool:
    """Say whether a task has its predictions."""
    folder = run.task(task.backbone, task.fold)
    return folder.manifest.is_file() and folder.predictions.is_file()


def task_status(run: RunDir, task: Task) -> TaskStatus:
    """Read one task's state; predictions decide whether it is done."""
    state = read_state(run.task(task.backbone, task.fold))
    phase = "done" if is_done(run, task) else ("waiting" if state.phase == "done" else state.phase)
    silent = int(time.time() - state.updated) if phase == "running" else None
    fields = state.model_dump(include={"attempt", "step", "steps", "best_validation", "reason"})
    return TaskStatus(index=task.index, backbone=task.backbone, fold=task.fold, phase=phase, silent_s=silent, **fields)


def run_status(run: RunDir, plan: Plan) -> list[TaskStatus]:
    """Read the state of every task of a run, in the order of the plan."""
    return [task_status(run, task) for task in plan.tasks]


def as_json(statuses: list[TaskStatus]) -> list[dict[str, Any]]:
    """Give statuses as JSON values."""
    return [asdict(status) for status in statuses]


def status_table(statuses: list[TaskStatus], plan: Plan) -> Table:
    """Lay statuses out as folds by backbones."""
    table = Table("fold", *plan.backbones, title=None, box=None, pad_edge=False)
    by_place = {(status.backbone, status.fold): status for status in statuses}
    for fold in plan.folds:
        table.add_row(f"{fold.number:02d}", *(_cell(by_place[backbone, fold.number]) for backbone in plan.backbones))
    return table


def _cell(status: TaskStatus) -> str:
    score = f"  val {status.best_validation:.3f}" if status.best_validation is not None else ""
    again = f"  attempt {status.attempt}" if status.attempt > 1 else ""
    return f"{status.mark}{score}{again}"

"""What every process of a task needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msbatch.layout import TaskDir
from msbatch.plan import Fold, Plan, Task
from msbatch.state import Attempt
from msbatch.store import Store
from msbatch.training.data import Cells, load_cells


@dataclass(frozen=True)
class Job:
    """One task of a plan, and the attempt at it."""

    plan: Plan
    task: Task
    folder: TaskDir
    attempt: Attempt

    @property
    def fold(self) -> Fold:
        """The fold of this task."""
        return self.plan.folds[self.task.fold]

    @property
    def identity(self) -> dict[str, Any]:
        """What this task's checkpoints and predictions belong to."""
        return {"signature": self.plan.signature, "backbone": self.task.backbone, "fold": self.task.fold}

    @property
    def store(self) -> Path:
        """The store that the plan was drawn from."""
        return Path(self.plan.store.path)

    def cells(self, patients: Sequence[str]) -> Cells:
        """Read the cells of some patients."""
        with Store(self.store) as store:
            return load_cells(store, patients)

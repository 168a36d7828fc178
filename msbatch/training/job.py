"""What every process of a task needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msbatch.config import CLASS
from msbatch.covariates import strata
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
        return self.plan.fold_of(self.task)

    @property
    def seed(self) -> int:
        """Of initial weights, sampling, augmentation and random layers."""
        return self.plan.seed + self.task.repeat

    @property
    def identity(self) -> dict[str, Any]:
        """What this task's checkpoints and predictions belong to."""
        return self.plan.identity(self.task)

    @property
    def store(self) -> Path:
        """The store that the plan was drawn from."""
        return Path(self.plan.store.path)

    def cells(self, patients: Sequence[str]) -> Cells:
        """Read the cells of patients to learn from, under the labels that this task is to learn."""
        with Store(self.store) as store:
            return load_cells(store, patients, self.plan.relabelling_of(self.task))

    def held_out(self) -> Cells:
        """Read the cells of the held-out patient, under their true labels."""
        with Store(self.store) as store:
            return load_cells(store, [self.fold.held_out])

    def strata(self, patients: Sequence[str]) -> NDArray[np.int64]:
        """Give the stratum of each patient, shape (len(patients),), by the columns that sampling is balanced over."""
        columns = [name for name in self.plan.settings.get("balance", ()) if name != CLASS]
        with Store(self.store) as store:
            return np.array(strata([store.attributes(patient) for patient in patients], columns), np.int64)

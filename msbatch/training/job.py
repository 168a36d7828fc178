"""What every process of a task needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msbatch.config import CLASS
from msbatch.covariates import strata
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Fold, Plan, Task
from msbatch.state import Attempt
from msbatch.store import Store
from msbatch.training.data import Cells, fits, load_cells, read_images
from msbatch.training.images import Images, StoredImages


@dataclass(frozen=True)
class Job:
    """One task of a plan, and the attempt at it."""

    plan: Plan
    task: Task
    folder: TaskDir
    attempt: Attempt
    shared: tuple[Cells, Cells] | None = None  # cells to learn from, of which the processes of a node hold one copy

    @property
    def fold(self) -> Fold:
        """The fold of this task."""
        return self.plan.fold_of(self.task)

    @property
    def seed(self) -> int:
        """Of initial weights, sampling, augmentation and random layers."""
        return self.plan.seed + self.task.repeat

    @property
    def leads_arm(self) -> bool:
        """Whether it is the first training of its backbone."""
        return (self.task.fold, self.task.repeat, self.task.relabelling) == (0, 0, None)

    @property
    def run(self) -> RunDir:
        """The run that the task belongs to."""
        return RunDir(self.folder.root.parents[2])

    @property
    def identity(self) -> dict[str, Any]:
        """What this task's checkpoints and predictions belong to."""
        return self.plan.identity(self.task)

    @property
    def store(self) -> Path:
        """The store that the plan was drawn from."""
        return Path(self.plan.store.path)

    def with_shared_cells(self) -> Job:
        """Read the cells to learn from where the processes that are given this job are to share them."""
        return replace(self, shared=self._learning(partial(read_images, shared=True))) if self._fits() else self

    def cells(self) -> tuple[Cells, Cells]:
        """Give the cells to train on and those to validate on, under the labels that this task is to learn.

        Raises
        ------
        MsbatchError
            If the budget of memory is less than one patient takes.
        """
        if self.shared is not None:
            return self.shared
        return self._learning(read_images if self._fits() else StoredImages)

    def held_out(self) -> Cells:
        """Give the cells of the held-out patient, under their true labels; each is needed once, so none is kept."""
        with Store(self.store) as store:
            patients = [self.fold.held_out]
            return load_cells(store, patients, StoredImages(store, patients))

    def _fits(self) -> bool:
        with Store(self.store) as store:
            patients = [*self.fold.training, *self.fold.validation]
            return fits(store, patients, self.plan.compute.memory_budget_gb)

    def _learning(self, images_of: Callable[[Store, Sequence[str]], Images]) -> tuple[Cells, Cells]:
        relabelling = self.plan.relabelling_of(self.task)
        with Store(self.store) as store:
            training, validation = (
                load_cells(store, patients, images_of(store, patients), relabelling)
                for patients in (self.fold.training, self.fold.validation)
            )
        return training, validation

    def strata(self, patients: Sequence[str]) -> NDArray[np.int64]:
        """Give the stratum of each patient, shape (len(patients),), by the columns that sampling is balanced over."""
        columns = [name for name in self.plan.settings.get("balance", ()) if name != CLASS]
        with Store(self.store) as store:
            return np.array(strata([store.attributes(patient) for patient in patients], columns), np.int64)

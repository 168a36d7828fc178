"""The frozen plan of a run: its format, its laws and its identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from msbatch.config import ComputeSettings
from msbatch.errors import MsbatchError
from msbatch.files import read_json, sha256_json, write_json


class Record(BaseModel):
    """A part of the plan: immutable, and it refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fold(Record):
    """One held-out patient, and who trains and validates the model that predicts them."""

    number: int
    held_out: str
    validation: tuple[str, ...]
    training: tuple[str, ...]
    early_stopping: bool = Field(description="whether validation holds both classes")
    counts: dict[str, Any] = Field(description="patients and cells per class in each part, for readers")

    @model_validator(mode="after")
    def _disjoint(self) -> Fold:
        twice = [p for p, n in Counter([self.held_out, *self.validation, *self.training]).items() if n > 1]
        if twice:
            raise ValueError(f"fold {self.number}: {twice[0]} stands in two parts")
        if not self.training:
            raise ValueError(f"fold {self.number} has no training patient")
        return self


class Task(Record):
    """One backbone on one fold; the unit that is trained, resumed and rerun."""

    index: int
    backbone: str
    fold: int


class StoreRecord(Record):
    """The store that the plan was drawn from."""

    path: str
    sha256: str
    format: int


class Plan(Record):
    """Folds, tasks and settings of a run."""

    version: Literal[1] = 1
    store: StoreRecord
    classes: tuple[str, str] = Field(description="the negative class, then the positive one")
    level: Literal["patient", "cell"] = Field(description="what carries the label")
    seed: int
    settings: dict[str, Any] = Field(description="what can change a result")
    weights_dir: str
    compute: ComputeSettings
    folds: tuple[Fold, ...]
    tasks: tuple[Task, ...]

    @model_validator(mode="after")
    def _laws(self) -> Plan:
        patients = Counter(fold.held_out for fold in self.folds)
        if max(patients.values(), default=0) != 1:
            raise ValueError("every patient must be held out exactly once")
        for position, fold in enumerate(self.folds):
            strangers = ({*fold.validation, *fold.training}) - set(patients)
            if fold.number != position or strangers:
                raise ValueError(f"fold {fold.number} is out of order or names a patient that no fold holds out")
        known = {(task.backbone, task.fold) for task in self.tasks}
        if len(known) != len(self.tasks) or any(
            not 0 <= t.fold < len(self.folds) or t.index != i for i, t in enumerate(self.tasks)
        ):
            raise ValueError("tasks must be numbered from 0, each backbone and fold once")
        return self

    @property
    def backbones(self) -> list[str]:
        """Backbones in the order they were asked for."""
        return list(dict.fromkeys(task.backbone for task in self.tasks))

    @property
    def signature(self) -> str:
        """SHA-256 of everything that can change a result of one task; not resources, not which backbones."""
        identity = self.model_dump(mode="json", include={"version", "classes", "level", "seed", "settings", "folds"})
        return sha256_json({**identity, "store": self.store.sha256})

    def with_backbones(self, backbones: Sequence[str]) -> Plan:
        """Give the plan with further backbones; tasks that exist keep their index."""
        new = [name for name in dict.fromkeys(backbones) if name not in self.backbones]
        pairs = [(name, fold.number) for name in new for fold in self.folds]
        added = [Task(index=len(self.tasks) + i, backbone=name, fold=fold) for i, (name, fold) in enumerate(pairs)]
        return self.model_copy(update={"tasks": (*self.tasks, *added)})


def save_plan(path: Path, plan: Plan) -> None:
    """Write a plan as readable JSON."""
    write_json(path, plan.model_dump(mode="json"))


def load_plan(path: Path) -> Plan:
    """Read a plan and check its laws.

    Raises
    ------
    MsbatchError
        If it is missing, is not JSON, or breaks a law; the message says which.
    """
    try:
        return Plan.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MsbatchError(
            f"{path}: {where}{': ' if where else ''}{first['msg']}.", "Draw a new plan with: msbatch plan"
        ) from None

"""The frozen plan of a run: its format, its laws and its identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import not_
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from msbatch.config import ComputeSettings, ProbeSettings, is_frozen, network_name
from msbatch.errors import MsbatchError
from msbatch.files import read_json, sha256_json, write_json
from msbatch.layout import folder_name
from msbatch.text import has_control, shown


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
    dropped: tuple[str, ...] = Field((), exclude_if=not_, description="left out so that the classes are in balance")

    @model_validator(mode="after")
    def _disjoint(self) -> Fold:
        parts = [self.held_out, *self.validation, *self.training, *self.dropped]
        twice = [patient for patient, number in Counter(parts).items() if number > 1]
        if twice:
            raise ValueError(f"fold {self.number}: {twice[0]} stands in two parts")
        if not self.training:
            raise ValueError(f"fold {self.number} has no training patient")
        return self


class Task(Record):
    """One training of a backbone on a fold, or the embedding of its held-out patient; the unit that is rerun."""

    index: int
    backbone: str = Field(min_length=1, max_length=150)
    fold: int
    repeat: int = Field(0, ge=0, exclude_if=not_, description="what is added to the plan's seed")
    relabelling: int | None = Field(None, exclude_if=not_, description="number of the permuted labels, from 1")

    @field_validator("backbone")
    @classmethod
    def _names_a_folder(cls, backbone: str) -> str:
        if backbone.startswith(".") or has_control(backbone):
            raise ValueError(f"no backbone is called {shown(backbone)}")
        return backbone

    @property
    def frozen(self) -> bool:
        """Whether it only embeds the held-out patient's cells."""
        return is_frozen(self.backbone)

    @property
    def network(self) -> str:
        """Name of the backbone, as timm has it."""
        return network_name(self.backbone)

    @property
    def arm(self) -> str:
        """What it is filed and shown under, together with its fold."""
        return arm_name(self.backbone, self.repeat, self.relabelling)


def arm_name(backbone: str, repeat: int, relabelling: int | None) -> str:
    """Name the tasks that differ by their fold alone; the first training under true labels has its backbone's name."""
    if relabelling is not None:
        return f"{backbone}.labels-{relabelling:02d}"
    return f"{backbone}.seed-{repeat}" if repeat else backbone


class Relabelling(Record):
    """Permuted labels, to train everything once more under them; the store keeps the true ones."""

    number: int
    labels: dict[str, Literal[0, 1]] = Field(description="class of every patient; empty where cells carry the labels")
    seed: int | None = Field(description="of the order of cells within each patient; none where patients are permuted")
    folds: tuple[Fold, ...] = Field(description="drawn for these labels; empty: those of the plan hold")


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
    seed: int = Field(ge=0, lt=2**63)
    settings: dict[str, Any] = Field(description="what can change a result")
    weights_dir: str
    compute: ComputeSettings
    probe: ProbeSettings = Field(ProbeSettings(), exclude_if=lambda own: own == ProbeSettings())
    folds: tuple[Fold, ...]
    tasks: tuple[Task, ...]
    relabellings: tuple[Relabelling, ...] = Field((), exclude_if=not_, description="permuted labels, from number 1 on")

    @model_validator(mode="after")
    def _laws(self) -> Plan:
        _check_folds(self.folds)
        for number, relabelling in enumerate(self.relabellings, 1):
            self._check_relabelling(number, relabelling)
        known = {(folder_name(task.arm), task.fold) for task in self.tasks}
        if len(known) != len(self.tasks) or any(not self._fits(i, task) for i, task in enumerate(self.tasks)):
            raise ValueError("tasks must be numbered from 0, each backbone and fold once")
        return self

    def _check_relabelling(self, number: int, relabelling: Relabelling) -> None:
        _check_folds(relabelling.folds or self.folds)
        patients = [fold.held_out for fold in self.folds]
        labelled = sorted(relabelling.labels) == patients if self.level == "patient" else relabelling.seed is not None
        held_out = [fold.held_out for fold in relabelling.folds or self.folds]
        if relabelling.number != number or not labelled or held_out != patients:
            raise ValueError(f"relabelling {relabelling.number} is out of order or does not fit the plan's patients")

    def _fits(self, index: int, task: Task) -> bool:
        permuted = task.relabelling is None or (task.repeat == 0 and 1 <= task.relabelling <= len(self.relabellings))
        untrained = not task.frozen or (task.repeat == 0 and task.relabelling is None)
        return task.index == index and 0 <= task.fold < len(self.folds) and permuted and untrained

    @property
    def backbones(self) -> list[str]:
        """Backbones in the order they were asked for."""
        return list(dict.fromkeys(task.backbone for task in self.tasks))

    @property
    def trained(self) -> list[str]:
        """Backbones that are fine-tuned."""
        return [backbone for backbone in self.backbones if not is_frozen(backbone)]

    @property
    def probed(self) -> list[str]:
        """Backbones that are frozen."""
        return [backbone for backbone in self.backbones if is_frozen(backbone)]

    @property
    def arms(self) -> list[str]:
        """Backbones, and their further trainings: by other seeds, and under permuted labels."""
        return list(dict.fromkeys(task.arm for task in self.tasks))

    @property
    def seeds(self) -> int:
        """How many times each fold is trained under the true labels."""
        return 1 + max((task.repeat for task in self.tasks), default=0)

    @property
    def signature(self) -> str:
        """SHA-256 of everything that can change a result of one task; not resources, not which tasks there are."""
        identity = self.model_dump(mode="json", include={"version", "classes", "level", "seed", "settings", "folds"})
        return sha256_json({**identity, "store": self.store.sha256})

    def relabelling_of(self, task: Task) -> Relabelling | None:
        """Give the permuted labels of a task; None where it has the true ones."""
        return None if task.relabelling is None else self.relabellings[task.relabelling - 1]

    def fold_of(self, task: Task) -> Fold:
        """Give the fold that is in force for a task: the one that was drawn for its labels."""
        relabelling = self.relabelling_of(task)
        folds = relabelling.folds if relabelling else ()
        return (folds or self.folds)[task.fold]

    def identity(self, task: Task, signature: str | None = None) -> dict[str, Any]:
        """Say what a task's checkpoints and predictions belong to; whoever asks often brings the signature along."""
        named = {"signature": signature or self.signature, "backbone": task.arm, "fold": task.fold}
        relabelling = self.relabelling_of(task)
        if relabelling is None:
            return named
        drawn = {"labels": relabelling.labels, "seed": relabelling.seed}
        return {**named, "labels": sha256_json({**drawn, "fold": self.fold_of(task).model_dump(mode="json")})}

    def with_backbones(self, backbones: Sequence[str]) -> Plan:
        """Give the plan with further backbones; tasks that exist keep their index."""
        return self._with_tasks([*self.backbones, *backbones], self.seeds)

    def with_seeds(self, seeds: int) -> Plan:
        """Give the plan with so many trainings of each fold, if it has fewer."""
        return self._with_tasks(self.backbones, max(seeds, self.seeds))

    def with_relabellings(self, relabellings: Sequence[Relabelling]) -> Plan:
        """Give the plan with those relabellings whose numbers it lacks; the ones it has stay as they were drawn."""
        more = (*self.relabellings, *relabellings[len(self.relabellings) :])
        return self.model_copy(update={"relabellings": more})._with_tasks(self.backbones, self.seeds)

    def _with_tasks(self, backbones: Sequence[str], seeds: int) -> Plan:
        """Add the tasks that are lacking: further seeds behind all backbones, permuted labels behind all seeds."""
        trainings: list[tuple[int, int | None]] = [(repeat, None) for repeat in range(seeds)]
        trainings += [(0, relabelling.number) for relabelling in self.relabellings]
        there = {(task.arm, task.fold) for task in self.tasks}
        new = [
            {"backbone": name, "fold": fold.number, "repeat": repeat, "relabelling": relabelling}
            for repeat, relabelling in trainings
            for name in dict.fromkeys(backbones)
            if not is_frozen(name) or (repeat == 0 and relabelling is None)
            for fold in self.folds
            if (arm_name(name, repeat, relabelling), fold.number) not in there
        ]
        added = [Task(index=index, **fields) for index, fields in enumerate(new, len(self.tasks))]
        return self.model_copy(update={"tasks": (*self.tasks, *added)})


def _check_folds(folds: Sequence[Fold]) -> None:
    patients = Counter(fold.held_out for fold in folds)
    if max(patients.values(), default=0) != 1:
        raise ValueError("every patient must be held out exactly once")
    for position, fold in enumerate(folds):
        strangers = {*fold.validation, *fold.training, *fold.dropped} - set(patients)
        if fold.number != position or strangers:
            raise ValueError(f"fold {fold.number} is out of order or names a patient that no fold holds out")


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
        plan = Plan.model_validate(read_json(path))
        strange = [name for name in (*plan.classes, *(fold.held_out for fold in plan.folds)) if has_control(name)]
        if strange:
            raise MsbatchError(f"{path}: {shown(strange[0])} cannot be shown.", "Draw a new plan with: msbatch plan")
        return plan
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MsbatchError(
            f"{path}: {where}{': ' if where else ''}{first['msg']}.", "Draw a new plan with: msbatch plan"
        ) from None

"""Whole studies made from a few numbers: a store, a plan and predictions, for tests of the reducer."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runs import Looks, make_plan, make_store, predict_all

from msbatch.files import sha256
from msbatch.layout import RunDir
from msbatch.plan import Fold, Plan, StoreRecord, save_plan
from msbatch.store import VERSION

SIDE_PX = 20  # what leaves both layers of the small network more than one place


@dataclass(frozen=True)
class Study:
    """Patients, what is known of them, and what backbones say of their cells."""

    labels: dict[str, list[int]]
    logits: dict[str, dict[str, list[float]]]
    attributes: dict[str, dict[str, str]]
    looks: dict[str, Looks]

    @property
    def plan(self) -> Plan:
        """As it is drawn for these patients."""
        return make_plan(self.labels, list(self.logits))

    def write(self, folder: Path, plan: Plan | None = None) -> RunDir:
        """Write it by this plan, or by its own: the store beside the run."""
        store = make_store(folder / "cohort.h5", self.labels, self.attributes, self.looks)
        record = StoreRecord(path=str(store), sha256=sha256(store), format=VERSION)
        run, planned = RunDir(folder / "run"), (plan or self.plan).model_copy(update={"store": record})
        save_plan(run.plan, planned)
        predict_all(run, planned, self.labels, self.logits)
        return run

    def renamed(self, names: Mapping[str, str]) -> Study:
        """Give the same patients other names."""
        return Study(
            labels={new: self.labels[old] for old, new in names.items()},
            logits={
                backbone: {names[old]: values for old, values in own.items()} for backbone, own in self.logits.items()
            },
            attributes={new: self.attributes[old] for old, new in names.items()},
            looks={new: self.looks[old] for old, new in names.items()},
        )

    def shuffled(self, orders: Mapping[str, Sequence[int]]) -> Study:
        """Give each patient's cells in another order."""
        return Study(
            labels={name: [self.labels[name][cell] for cell in order] for name, order in orders.items()},
            logits={
                backbone: {name: [own[name][cell] for cell in orders[name]] for name in own}
                for backbone, own in self.logits.items()
            },
            attributes=self.attributes,
            looks={name: (self.looks[name][0][order], self.looks[name][1][order]) for name, order in orders.items()},
        )


def renamed_plan(plan: Plan, names: Mapping[str, str], order: Sequence[int]) -> Plan:
    """Give the same plan for patients of other names, its folds in this order."""
    folds = tuple(_renamed(plan.folds[old], names, new) for new, old in enumerate(order))
    return plan.model_copy(update={"folds": folds, "tasks": ()}).with_backbones(plan.backbones)


def draw_study(
    seed: int = 0, sizes: Sequence[int] = (3,) * 8, *, by_cell: bool = False, backbones: Sequence[str] = ("resnet50",)
) -> Study:
    """Draw patients with these numbers of cells: classes alternate, or half of the cells are of each.

    Everyone has looks and a score of their own, a sex, an age and a batch.
    """
    rng = np.random.default_rng(seed)
    names = [f"P{number:02d}" for number in range(len(sizes))]
    labels = {
        name: [(cell if by_cell else number) % 2 for cell in range(size)]
        for number, (name, size) in enumerate(zip(names, sizes, strict=True))
    }
    traits = {
        name: {"sex": "FM"[number // 2 % 2], "age": str(rng.integers(20, 60)), "batch": f"b{number // 3}"}
        for number, name in enumerate(names)
    }
    logits = {
        backbone: {name: rng.normal(2 * np.array(own) - 1 + rng.normal(), 1).tolist() for name, own in labels.items()}
        for backbone in backbones
    }
    return Study(labels, logits, traits, {name: draw_looks(rng, len(labels[name])) for name in names})


def draw_looks(rng: np.random.Generator, cells: int) -> Looks:
    """Draw cells of one patient: noise of a brightness of its own, and features likewise."""
    images = rng.integers(rng.integers(0, 120), 200, (cells, SIDE_PX, SIDE_PX, 3), np.uint8)
    return images, (rng.normal(50, 5, 17) + rng.normal(0, 5, (cells, 17))).astype(np.float32)


def read_rows(run: RunDir, table: str) -> list[dict[str, str]]:
    """Read a table that the reducer wrote."""
    with (run.results / f"{table}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def read_header(run: RunDir, table: str) -> list[str]:
    """Read its heading, which is there without any row too."""
    with (run.results / f"{table}.csv").open(encoding="utf-8", newline="") as handle:
        return next(csv.reader(handle))


def _renamed(fold: Fold, names: Mapping[str, str], number: int) -> Fold:
    parts = {
        "held_out": names[fold.held_out],
        "validation": tuple(names[name] for name in fold.validation),
        "training": tuple(names[name] for name in fold.training),
    }
    return fold.model_copy(update={**parts, "number": number})

"""Runs and stores made from a few arrays, for tests of what comes after training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from msbatch.cohort.facts import PatientFacts
from msbatch.cohort.features import FEATURES
from msbatch.cohort.folds import draw_folds
from msbatch.config import ComputeSettings
from msbatch.files import sha256
from msbatch.layout import RunDir
from msbatch.plan import Plan, StoreRecord, load_plan, save_plan
from msbatch.predictions import Predictions, write_predictions
from msbatch.schema import PATIENTS
from msbatch.store import FORMAT, VERSION

CLASSES = ("control", "MS")

Cells = Sequence[int]  # the label of each cell
Logits = Mapping[str, Mapping[str, Sequence[float]]]  # backbone to patient to one logit per cell
Looks = tuple[NDArray[np.uint8], NDArray[np.float32]]  # images, shape (n, S, S, 3), and features, shape (n, 17)


def make_plan(labels: Mapping[str, Cells], backbones: Sequence[str] = ("resnet50",)) -> Plan:
    """Draw a plan for patients with these labels of cells."""
    cohort = {name: PatientFacts(dict(zip(CLASSES, _counts(own), strict=True))) for name, own in labels.items()}
    plan = Plan(
        store=StoreRecord(path="/cohort.h5", sha256="0" * 64, format=VERSION),
        classes=CLASSES,
        level="cell" if any(len(set(own)) > 1 for own in labels.values()) else "patient",
        seed=0,
        settings={},
        weights_dir="/weights",
        compute=ComputeSettings(),
        folds=draw_folds(cohort, 0),
        tasks=(),
    )
    return plan.with_backbones(backbones)


def make_run(root: Path, labels: Mapping[str, Cells], logits: Logits, store: Path | None = None) -> RunDir:
    """Make a run with a plan and the given predictions; patients left out of `logits` stay without."""
    run, plan = RunDir(root), make_plan(labels, list(logits))
    if store is not None:
        record = StoreRecord(path=str(store), sha256=sha256(store), format=VERSION)
        plan = plan.model_copy(update={"store": record})
    save_plan(run.plan, plan)
    predict_all(run, plan, labels, logits)
    return run


def predict(run: RunDir, backbone: str, patient: str, labels: Cells, logits: Sequence[float]) -> None:
    """Write one task's predictions as training does."""
    predict_all(run, load_plan(run.plan), {patient: labels}, {backbone: {patient: logits}})


def predict_all(run: RunDir, plan: Plan, labels: Mapping[str, Cells], logits: Logits) -> None:
    """Write the predictions of many tasks as training does."""
    folds = {fold.held_out: fold.number for fold in plan.folds}
    signature = plan.signature
    for backbone, patients in logits.items():
        for patient, own in patients.items():
            identity = {"signature": signature, "backbone": backbone, "fold": folds[patient]}
            predictions = Predictions(patient, np.array(labels[patient], np.uint8), np.array(own, np.float64))
            write_predictions(run.task(backbone, folds[patient]), predictions, identity, lambda: None)


def make_store(
    path: Path,
    labels: Mapping[str, Cells],
    attributes: Mapping[str, Mapping[str, str]] | None = None,
    looks: Mapping[str, Looks] | None = None,
) -> Path:
    """Write a store of cells with these labels; black and without features where it is not said how they look."""
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, size=4, settings="{}", features="[]")
        file.attrs["classes"] = json.dumps(CLASSES)
        if looks:
            file.attrs.update(size=next(iter(looks.values()))[0].shape[1], features=json.dumps(FEATURES))
        for patient, own in labels.items():
            group = file.create_group(f"{PATIENTS}/{patient}")
            group.attrs["attributes"] = json.dumps((attributes or {}).get(patient, {}))
            blank = np.zeros((len(own), 4, 4, 3), np.uint8), np.zeros((len(own), 0), np.float32)
            group["images"], group["features"] = looks[patient] if looks else blank
            group["labels"] = np.array(own, np.uint8)
            group["digest"] = np.array([f"{cell:064x}" for cell in range(len(own))], "S64")
            group["extent"] = np.full((len(own), 2), 4, np.uint16)
    return path


def _counts(labels: Cells) -> list[int]:
    return [sum(int(label) == value for label in labels) for value in (0, 1)]

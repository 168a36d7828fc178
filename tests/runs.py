"""Runs and stores made from a few arrays, for tests of what comes after training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from msbatch.cohort.folds import PatientFacts, draw_folds
from msbatch.config import ComputeSettings
from msbatch.layout import RunDir
from msbatch.plan import Plan, StoreRecord, load_plan, save_plan
from msbatch.predictions import Predictions, write_predictions
from msbatch.store import DATASETS, FORMAT, PATIENTS, VERSION

CLASSES = ("control", "MS")

Cells = Sequence[int]  # the label of each cell
Logits = Mapping[str, Mapping[str, Sequence[float]]]  # backbone to patient to one logit per cell


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


def make_run(root: Path, labels: Mapping[str, Cells], logits: Logits) -> RunDir:
    """Make a run with a plan and the given predictions; patients left out of `logits` stay without."""
    run, plan = RunDir(root), make_plan(labels, list(logits))
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
    path: Path, labels: Mapping[str, Cells], attributes: Mapping[str, Mapping[str, str]] | None = None
) -> Path:
    """Write a store of black cells with these labels."""
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, size=4, settings="{}", features="[]")
        file.attrs["classes"] = json.dumps(CLASSES)
        for patient, own in labels.items():
            group = file.create_group(f"{PATIENTS}/{patient}")
            group.attrs["attributes"] = json.dumps((attributes or {}).get(patient, {}))
            for name in DATASETS:
                group[name] = np.zeros((len(own), 4, 4, 3) if name == "images" else len(own), np.uint8)
            group["labels"][:] = own
    return path


def _counts(labels: Cells) -> list[int]:
    return [sum(int(label) == value for label in labels) for value in (0, 1)]

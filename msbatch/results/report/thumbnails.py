"""Cells as small pictures within the page: some of each class, and the worst and the best of patients."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msbatch.plan import Task
from msbatch.predictions import Predictions
from msbatch.results.reduction import Reduction
from msbatch.results.report.grid import count, write
from msbatch.store import Store

SIDE_PX = 96  # shown at two thirds of it
PER_CLASS = 12
PATIENTS = 12  # whose worst and best cells are shown, over all backbones
PER_PATIENT = 4  # of each kind

_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """One cell: where its pixels are, what it is, and what to write beneath."""

    uri: str
    words: str
    caption: str
    wrong: bool = False


@dataclass(frozen=True)
class Gallery:
    """The cells of one patient that a model got most wrong and most right."""

    backbone: str
    patient: str
    label: str
    recall: str
    odd: bool
    worst: list[Picture]
    best: list[Picture]


def montage(reduction: Reduction) -> dict[str, list[Picture]]:
    """Give some cells of each class: the middle one of patients at even distances, whatever a model makes of it."""
    with Store(Path(reduction.plan.store.path)) as store:
        return {name: _some(store, label) for label, name in enumerate(reduction.plan.classes)}


def galleries(reduction: Reduction) -> list[Gallery]:
    """Give the worst and best cells of patients: the odd folds first, then those with the lowest recall."""
    plan = reduction.plan
    most = max(3, PATIENTS // len(plan.backbones))
    with Store(Path(plan.store.path)) as store:
        return [
            _gallery(reduction, store, task, own)
            for backbone in plan.backbones
            for fold in _chosen(reduction, backbone, most)
            for task, own in reduction.predictions.items()
            if (task.arm, task.fold) == (backbone, fold)
        ]


def _some(store: Store, label: int) -> list[Picture]:
    places = {patient: np.flatnonzero(store.labels(patient) == label) for patient in store.patients}
    middle = [(patient, int(own[len(own) // 2])) for patient, own in places.items() if len(own)]
    chosen = np.linspace(0, len(middle) - 1, min(PER_CLASS, len(middle))).astype(int).tolist()
    picked = [middle[place] for place in chosen]
    return [
        Picture(encode(store.some_images(patient, [cell])[0]), f"cell {cell} of patient {patient}", patient)
        for patient, cell in picked
    ]


def _chosen(reduction: Reduction, backbone: str, most: int) -> list[int]:
    judged = {each.fold: each.odd for each in reduction.backbones[backbone].odd}
    folds = reduction.results[backbone]
    right = {number: (fold.counts.tp + fold.counts.tn) / fold.cells for number, fold in folds.items()}
    return sorted(folds, key=lambda number: (not judged.get(number, False), right[number], number))[:most]


def _gallery(reduction: Reduction, store: Store, task: Task, own: Predictions) -> Gallery:
    result = reduction.results[task.arm][task.fold]
    order = np.argsort(np.where(own.labels == 1, own.logits, -own.logits), kind="stable")
    few = min(PER_PATIENT, len(order) // 2)
    right = result.counts.tp + result.counts.tn
    return Gallery(
        backbone=task.arm,
        patient=own.patient,
        label="both classes" if result.label is None else reduction.plan.classes[result.label],
        recall=f"{right} of {count(result.cells, 'cell')} called correctly",
        odd=any(each.odd for each in reduction.backbones[task.arm].odd if each.fold == task.fold),
        worst=_pictures(reduction, store, own, order[:few]),
        best=_pictures(reduction, store, own, order[len(order) - few :][::-1]),
    )


def _pictures(reduction: Reduction, store: Store, predictions: Predictions, cells: NDArray[np.intp]) -> list[Picture]:
    found = []
    for cell in cells.tolist():
        label, chance = int(predictions.labels[cell]), float(predictions.probabilities[cell])
        wrong = (predictions.logits[cell] > 0) != bool(label)
        words = f"cell {cell} of patient {predictions.patient}, {reduction.plan.classes[label]}"
        uri = encode(store.some_images(predictions.patient, [cell])[0])
        found.append(Picture(uri, words, write(chance), wrong))
    return found


def encode(pixels: NDArray[np.uint8], side: int = SIDE_PX) -> str:
    """Turn a cell, shape (S, S, 3), into a data URI."""
    image = Image.fromarray(pixels)
    if max(image.size) > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"

"""What a store holds, for people: facts, tables and a montage."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.table import Table

from msbatch.files import atomic_path
from msbatch.store import Store

MAX_LEVELS = 8
MISSING = "missing"
TEXT_PX = 16


def describe(store: Store) -> dict[str, Any]:
    """Give patients, classes, covariates and how they go together, as JSON values."""
    patients = [_patient(store, patient) for patient in store.patients]
    return {
        "store": str(store.path),
        "classes": list(store.classes),
        "level": store.level,
        "size_px": store.size,
        "packed": store.settings,
        "cells": sum(sum(patient["cells"].values()) for patient in patients),
        "patients": patients,
        "tables": _cross_tables(patients, store.level),
    }


def tables(facts: dict[str, Any]) -> list[Table]:
    """Lay facts out for a terminal: patients first, then label by covariate."""
    covariates = list(facts["patients"][0]["covariates"]) if facts["patients"] else []
    title = f"{len(facts['patients'])} patients, {facts['cells']} cells of {facts['size_px']} px"
    table = _table(title, "patient", "class", "cells", *covariates)
    for patient in facts["patients"]:
        values = [patient["covariates"][name] or "-" for name in covariates]
        table.add_row(patient["patient"], patient["label"], str(sum(patient["cells"].values())), *values)
    counted = "patients" if facts["level"] == "patient" else "cells"
    return [table, *(_cross_table(f"{counted} by {name} and class", name, n) for name, n in facts["tables"].items())]


def montage(store: Store, out: Path, per_patient: int = 10) -> None:
    """Write a picture with a row of evenly chosen cells per patient, under its identifier and class."""
    size, patients = store.size, store.patients
    sheet = Image.new("RGB", (size * per_patient, (size + TEXT_PX) * len(patients)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, patient in enumerate(patients):
        top = row * (size + TEXT_PX)
        draw.text((4, top + 2), f"{patient}  {_label(store, patient)}", fill="black")
        images = store.images(patient)
        chosen = np.unique(np.linspace(0, len(images) - 1, per_patient).astype(int))
        for column, index in enumerate(chosen):
            sheet.paste(Image.fromarray(images[index]), (column * size, top + TEXT_PX))
    with atomic_path(out) as temporary:
        sheet.save(temporary, format="PNG")


def _patient(store: Store, patient: str) -> dict[str, Any]:
    labels = store.labels(patient)
    cells = {name: int((labels == label).sum()) for label, name in enumerate(store.classes)}
    return {
        "patient": patient,
        "label": _label(store, patient),
        "cells": cells,
        "covariates": store.attributes(patient),
    }


def _label(store: Store, patient: str) -> str:
    label = store.label(patient)
    return "mixed" if label is None else store.classes[label]


def _cross_tables(patients: list[dict[str, Any]], level: str) -> dict[str, dict[str, dict[str, int]]]:
    """Count patients, or cells where these carry the label, of each class at each level of a category."""
    names = list(patients[0]["covariates"]) if patients else []
    most = min(MAX_LEVELS, max(2, len(patients) // 2))
    counted = {name: _cross_counts(patients, name, level) for name in names}
    return {name: counts for name, counts in counted.items() if len(counts) <= most}


def _cross_counts(patients: list[dict[str, Any]], name: str, level: str) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for patient in patients:
        cells = Counter(patient["cells"])
        value = patient["covariates"][name] or MISSING
        counts.setdefault(value, Counter()).update(cells if level == "cell" else {patient["label"]: 1})
    labels = list(patients[0]["cells"])
    return {value: {label: counts[value][label] for label in labels} for value in sorted(counts)}


def _cross_table(title: str, name: str, counts: dict[str, dict[str, int]]) -> Table:
    labels = list(next(iter(counts.values())))
    table = _table(title, name, *labels)
    for value, row in counts.items():
        table.add_row(value, *(str(row[label]) for label in labels))
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)

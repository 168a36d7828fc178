"""The cohort: how files became cells and folds, and how covariates and classes go together."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msbatch.plan import Plan
from msbatch.results.covariates import Covariate
from msbatch.results.metrics import Value
from msbatch.results.reduction import Reduction
from msbatch.results.report.grid import Grid, count, make_grid
from msbatch.results.rows import Row
from msbatch.store import Store

_REASONS = 4  # for leaving files out that are named
_LEVELS = 12  # of one covariate that have a row each


@dataclass(frozen=True)
class Step:
    """A box of the flow diagram, and what was left out on the way to it."""

    text: str
    details: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def flow(reduction: Reduction) -> list[Step]:
    """Give the way from files to held-out patients, as far as the store and the plan record it."""
    plan = reduction.plan
    held_out = Step(f"{count(len(plan.folds), 'patient')}, each held out once", tuple(class_words(plan)))
    return [*_packing(reduction), held_out, _predicted(reduction)]


def class_words(plan: Plan) -> list[str]:
    """Say how many patients and cells there are of each class."""
    held = [fold.counts.get("held_out", {}) for fold in plan.folds]
    words = []
    for name in plan.classes:
        patients, cells = (sum(int(part.get(name, {}).get(key, 0)) for part in held) for key in ("patients", "cells"))
        words.append(f"{name}: {count(patients, 'patient')}, {count(cells, 'cell')}")
    return words


def covariate_grid(reduction: Reduction) -> Grid | None:
    """Count patients of each class at each level of every covariate that can explain anything; None without any."""
    if reduction.cohort is None:
        return None
    testable = [own for own in reduction.cohort.covariates if own.testable]
    rows = [row for own in testable for row in _level_rows(reduction, own)]
    if not rows:
        return None
    negative, positive = reduction.plan.classes
    columns = {"covariate": "covariate", "level": "value", "negatives": negative, "positives": positive, "both": "both"}
    columns |= {"remark": "remark"}
    shown = {key: name for key, name in columns.items() if any(row[key] for row in rows) or key.endswith("tives")}
    marked = [bool(row["remark"]) for row in rows]
    return make_grid("Patients of each class by covariate", shown, rows, marked=marked)


def _packing(reduction: Reduction) -> list[Step]:
    if reduction.cohort is None:
        return []
    path = Path(reduction.plan.store.path)
    with Store(path) as store:
        settings, size = store.settings, store.size
        cells = {patient: store.cells(patient) for patient in store.patients}
    packed, quarantined = sum(cells.values()), settings.get("quarantined")
    steps = []
    if isinstance(quarantined, int):
        steps = [Step(count(packed + quarantined, "image file"), left_out=tuple(_left_out(path, settings)))]
    fewest, most = min(cells.values()), max(cells.values())
    details = (f"{'' if fewest == most else f'{fewest} to '}{count(most, 'cell')} per patient",)
    return [*steps, Step(f"{count(packed, 'cell')} packed", (*details, *_fitted(settings, size)))]


def _left_out(path: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    if settings["quarantined"]:
        yield f"{count(settings['quarantined'], 'file')} that could not be used"
        yield from _reasons(path.with_name(f"{path.name}.quarantine.csv"))
    if settings.get("dropped_rows"):
        yield f"{count(settings['dropped_rows'], 'row')} of the table with a label of neither class"


def _reasons(path: Path) -> Iterator[str]:
    """Give the commonest reasons for leaving files out, where the list that packing wrote lies beside the store."""
    with suppress(OSError, UnicodeDecodeError, csv.Error, KeyError), path.open(encoding="utf-8", newline="") as handle:
        # What follows the reason itself, another file's name say, is different for each.
        reasons = Counter(row["reason"].partition(" as ")[0] for row in csv.DictReader(handle))
        for reason, number in reasons.most_common(_REASONS):
            yield f"{number}: {reason}"


def _fitted(settings: Mapping[str, Any], size: int) -> Iterator[str]:
    yield f"canvas of {size} × {size} px"
    if "scale" in settings:
        yield f"scaled by {settings['scale']:.3g}, the same for all" if settings["scale"] != 1 else "not scaled"
    if settings.get("cropped"):
        yield f"{count(settings['cropped'], 'cell')} cropped to the canvas"


def _predicted(reduction: Reduction) -> Step:
    whole = len(reduction.plan.folds)
    done = [f"{name}: {len(own)} of {whole} folds" for name, own in reduction.results.items()]
    missing = len(reduction.missing)
    left = (f"{count(missing, 'fold')} without usable predictions",) if missing else ()
    return Step("held-out patients with predictions", tuple(done), left)


def _level_rows(reduction: Reduction, covariate: Covariate) -> Iterator[Row]:
    subjects = reduction.cohort.subjects if reduction.cohort else None
    labels = subjects.labels if subjects else {}
    found: dict[str, Counter[int | None]] = {}
    for patient, level in covariate.levels.items():
        found.setdefault(level, Counter())[labels.get(patient)] += 1
    common = sorted(found, key=lambda level: (-found[level].total(), level))
    for level in sorted(common[:_LEVELS]):
        yield _level_row(covariate.name, level, found[level])
    rest = sum((found[level] for level in common[_LEVELS:]), Counter[int | None]())
    if rest:
        yield _level_row(covariate.name, f"{len(common) - _LEVELS} rarer values", rest)
    if covariate.missing:
        absent = Counter(labels.get(patient) for patient in covariate.patients if patient not in covariate.values)
        yield _level_row(covariate.name, "no value", absent) | {"remark": ""}


def _level_row(name: str, level: str, patients: Counter[int | None]) -> Row:
    empty = not patients[None] and not (patients[0] and patients[1])
    remark = "one class only" if empty else ""
    return {
        "covariate": name,
        "level": level,
        "negatives": patients[0],
        "positives": patients[1],
        "both": patients[None],
        "remark": remark,
    }


def covariate_tests(rows: list[Row]) -> Grid:
    """Lay out which columns of the cohort's table were tested, and whether they go with the label."""
    columns = {
        "covariate": "covariate",
        "kind": "kind",
        "values": "different values",
        "missing": "patients without",
        "p_label": "p, with the label",
        "separates_classes": "separates the classes",
    }
    marked = [row["separates_classes"] == "yes" or _small(row["p_label"]) for row in rows]
    return make_grid("Covariates and the label", columns, rows, source="covariates.csv", marked=marked)


def _small(value: str | int | Value) -> bool:
    return isinstance(value, Value) and value.number is not None and value.number <= 0.05

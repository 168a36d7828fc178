"""From the predictions of a run to its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from msbatch.files import write_csv
from msbatch.layout import RunDir
from msbatch.lock import run_lock
from msbatch.plan import Plan, Task, load_plan
from msbatch.predictions import Predictions
from msbatch.results.collect import Missing, collect
from msbatch.results.folds import FoldResult, summarise
from msbatch.results.rows import ALWAYS_POSITIVE, Row, cell_row, fold_rows, patient_rows

LOCK_WAIT_S = 300


@dataclass(frozen=True)
class Reduction:
    """All that a run's predictions say.

    Attributes
    ----------
    results : dict of str to dict of int to FoldResult
        By backbone and fold, as far as they are there.
    folds, cells, patients : list of dict
        Rows of the three tables.
    missing : list of Missing
        What no total contains.
    """

    plan: Plan
    results: dict[str, dict[int, FoldResult]]
    folds: list[Row]
    cells: list[Row]
    patients: list[Row]
    missing: list[Missing]

    @property
    def complete(self) -> bool:
        """Whether every fold of every backbone is there."""
        return not self.missing


def reduce(run: RunDir) -> Reduction:
    """Read a run's predictions and write its tables.

    Writes ``folds.csv``, ``cells.csv`` and ``patients.csv``, and the reasons of what they lack in
    ``missing.csv``. The same predictions give the same bytes; of two reducers at once, one waits for the other.

    Raises
    ------
    MsbatchError
        If the plan cannot be read. Unusable predictions raise nothing: they are listed as missing.
    """
    plan = load_plan(run.plan)
    with run_lock(run.reduce_lock, LOCK_WAIT_S):
        found, missing = collect(run, plan)
        reduction = _reduce(plan, found, missing)
        _write(run, reduction)
    return reduction


def _write(run: RunDir, reduction: Reduction) -> None:
    for name in ("folds", "cells", "patients"):
        rows: list[Row] = getattr(reduction, name)
        write_csv(run.results / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
    gaps = [(gap.backbone, gap.fold, gap.patient, gap.reason) for gap in reduction.missing]
    write_csv(run.results / "missing.csv", ("backbone", "fold", "patient", "reason"), gaps)


def _reduce(plan: Plan, found: Mapping[Task, Predictions], missing: list[Missing]) -> Reduction:
    results: dict[str, dict[int, FoldResult]] = {backbone: {} for backbone in plan.backbones}
    baseline: dict[int, FoldResult] = {}
    for task, predictions in found.items():
        results[task.backbone][task.fold] = summarise(task.fold, predictions)
        baseline[task.fold] = summarise(task.fold, _always_positive(predictions))
    summarised = {**results, ALWAYS_POSITIVE: baseline}
    return Reduction(
        plan=plan,
        results=results,
        folds=[row for backbone, own in results.items() for row in fold_rows(plan, backbone, own)],
        cells=[cell_row(plan, backbone, own) for backbone, own in summarised.items()],
        patients=[row for backbone, own in summarised.items() for row in patient_rows(plan, backbone, own)],
        missing=missing,
    )


def _always_positive(predictions: Predictions) -> Predictions:
    return Predictions(predictions.patient, predictions.labels, np.ones(len(predictions.labels)))

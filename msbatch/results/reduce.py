"""From the predictions of a run to its tables; nothing else is read but the plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msbatch.errors import MsbatchError
from msbatch.files import write_csv
from msbatch.layout import RunDir
from msbatch.plan import Plan, Task, load_plan
from msbatch.predictions import Predictions, PredictionsError, read_predictions
from msbatch.results import metrics
from msbatch.results.folds import FoldResult, summarise
from msbatch.results.metrics import Counts

Row = dict[str, Any]


@dataclass(frozen=True)
class Missing:
    """A task without usable predictions, and why."""

    task: Task
    patient: str
    reason: str


@dataclass(frozen=True)
class Reduction:
    """All that a run's predictions say.

    Attributes
    ----------
    folds, cells, patients : list of dict
        Rows of the three tables, a `metrics.Value` where a number may be undefined.
    missing : list of Missing
        Folds that are not in them.
    """

    plan: Plan
    results: list[FoldResult]
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

    Writes ``folds.csv`` (a row per fold and backbone), ``cells.csv`` (pooled over cells) and ``patients.csv``
    (pooled over patients) in the run's results. The same predictions give the same bytes.

    Raises
    ------
    MsbatchError
        If the plan cannot be read. Unusable predictions raise nothing: they are listed as missing.
    """
    plan = load_plan(run.plan)
    results, missing = _read_all(run, plan)
    totals = {backbone: [r for r in results if r.task.backbone == backbone] for backbone in plan.backbones}
    reduction = Reduction(
        plan=plan,
        results=results,
        folds=[_fold_row(plan, result) for result in results],
        cells=[row for name, own in totals.items() for row in _cell_rows(plan, name, own)],
        patients=[row for name, own in totals.items() for row in _patient_rows(plan, name, own)],
        missing=missing,
    )
    for name in ("folds", "cells", "patients"):
        _write(run, name, getattr(reduction, name))
    write_csv(run.results / "missing.csv", ("backbone", "fold", "patient", "reason"), _missing_rows(missing))
    return reduction


def _read_all(run: RunDir, plan: Plan) -> tuple[list[FoldResult], list[Missing]]:
    results, missing = [], []
    for task in plan.tasks:
        try:
            results.append(summarise(task, _read(run, plan, task)))
        except MsbatchError as error:
            missing.append(Missing(task, plan.folds[task.fold].held_out, error.problem))
    return results, missing


def _read(run: RunDir, plan: Plan, task: Task) -> Predictions:
    folder = run.task(task.backbone, task.fold)
    fold = plan.folds[task.fold]
    predictions = read_predictions(folder, {"signature": plan.signature, "backbone": task.backbone, "fold": task.fold})
    planned = [fold.counts["held_out"][name]["cells"] for name in plan.classes]
    found = [int((predictions.labels == label).sum()) for label in (0, 1)]
    if (predictions.patient, found) != (fold.held_out, planned):
        raise PredictionsError(f"{folder.predictions} does not hold the cells of the held-out patient {fold.held_out}.")
    return predictions


def _fold_row(plan: Plan, result: FoldResult) -> Row:
    mixed = result.label is None
    own = "mixed" if result.label is None else plan.classes[result.label]
    undefined = metrics.Value(None, "cells of both classes")
    return {
        "backbone": result.task.backbone,
        "fold": result.task.fold,
        "patient": result.patient,
        "class": own,
        "cells": result.cells,
        "recall": result.recall,
        "mean_score": result.score,
        "patient_call": undefined if mixed else plan.classes[result.call],
        "vote_call": undefined if mixed else plan.classes[result.vote],
        "own_class_f1": metrics.own_class_f1(result.recall),
        "f1": result.f1,
        "sensitivity": metrics.sensitivity(result.counts),
        "specificity": metrics.specificity(result.counts),
        "auc": result.auc,
    }


def _cell_rows(plan: Plan, backbone: str, results: Sequence[FoldResult]) -> list[Row]:
    pooled = sum((result.counts for result in results), Counts())
    return [
        {**_head(plan, backbone, results), "cells": result_cells(results), **_pooled(plan, counts), "rule": rule}
        for rule, counts in (("logit > 0", pooled), ("always-positive", _always_positive(pooled)))
    ]


def _patient_rows(plan: Plan, backbone: str, results: Sequence[FoldResult]) -> list[Row]:
    if plan.level == "cell":
        return [_within_patients(plan, backbone, results)]
    by_score = _count_patients((r.label, r.call) for r in results)
    by_vote = _count_patients((r.label, r.vote) for r in results)
    rules = (("mean logit", by_score), ("majority vote", by_vote), ("always-positive", _always_positive(by_score)))
    head = {**_head(plan, backbone, results), "patients": len(results)}
    return [{**head, **_pooled(plan, counts), "rule": rule} for rule, counts in rules]


def _within_patients(plan: Plan, backbone: str, results: Sequence[FoldResult]) -> Row:
    row: Row = {**_head(plan, backbone, results), "patients": len(results)}
    values = {
        "sensitivity": [metrics.sensitivity(result.counts) for result in results],
        "specificity": [metrics.specificity(result.counts) for result in results],
        "auc": [result.auc for result in results],
    }
    for name, own in values.items():
        row[f"mean_{name}"], row[f"patients_with_{name}"] = metrics.mean(own)
    return {**row, "rule": "mean over patients"}


def _head(plan: Plan, backbone: str, results: Sequence[FoldResult]) -> Row:
    done, expected = len(results), len(plan.folds)
    return {
        "backbone": backbone,
        "status": "complete" if done == expected else "PARTIAL",
        "folds_done": done,
        "folds_expected": expected,
    }


def _pooled(plan: Plan, counts: Counts) -> Row:
    negative, positive = plan.classes
    return {
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "tn": counts.tn,
        f"f1_{positive}": metrics.f1_positive(counts),
        f"f1_{negative}": metrics.f1_negative(counts),
        "macro_f1": metrics.macro_f1(counts),
        "mcc": metrics.mcc(counts),
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        "sensitivity": metrics.sensitivity(counts),
        "specificity": metrics.specificity(counts),
    }


def result_cells(results: Iterable[FoldResult]) -> int:
    """Count the cells of some folds."""
    return sum(result.cells for result in results)


def _always_positive(counts: Counts) -> Counts:
    return Counts(tp=counts.positives, fp=counts.negatives)


def _count_patients(calls: Iterable[tuple[int | None, bool]]) -> Counts:
    total = Counts()
    for label, call in calls:
        hit = label == int(call)
        total += Counts(tp=call and hit, fp=call and not hit, fn=not call and not hit, tn=not call and hit)
    return total


def _missing_rows(missing: Iterable[Missing]) -> list[tuple[Any, ...]]:
    return [(gap.task.backbone, gap.task.fold, gap.patient, gap.reason) for gap in missing]


def _write(run: RunDir, name: str, rows: list[Row]) -> None:
    header = list(rows[0]) if rows else []
    write_csv(run.results / f"{name}.csv", header, [[_text(row[key]) for key in header] for row in rows])


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)

"""The rows of the three main tables, from fold results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msbatch.plan import Fold, Plan
from msbatch.results import metrics
from msbatch.results.folds import FoldResult, call_counts
from msbatch.results.intervals import METRICS, Interval, bootstrap, bootstrap_calls, bootstrap_mean
from msbatch.results.metrics import Counts, Value

Row = dict[str, str | int | Value]

ALWAYS_POSITIVE = "always-positive"
RULES = ("mean_logit", "majority_vote")

_FOLD_COLUMNS = (
    "class",
    "cells",
    "recall",
    "mean_score",
    "patient_call",
    "vote_call",
    "correct",
    "own_class_f1",
    "f1",
    "sensitivity",
    "specificity",
    "auc",
)


def fold_rows(plan: Plan, backbone: str, results: Mapping[int, FoldResult]) -> list[Row]:
    """Give one row per fold; a fold without predictions has a row that says so.

    Parameters
    ----------
    plan : Plan
        Names every fold.
    backbone : str
        Whose results they are.
    results : mapping of int to FoldResult
        By fold number, as far as they are there.
    """
    mark = _mark(plan, results)
    return [{"backbone": backbone, **_fold_row(plan, fold, results), **mark} for fold in plan.folds]


def cell_row(plan: Plan, backbone: str, results: Mapping[int, FoldResult]) -> Row:
    """Give the summary over cells: counts pooled over folds, never a mean of fold scores; with intervals."""
    own = list(results.values())
    counts = sum((result.counts for result in own), Counts())
    intervals = _intervals(backbone, lambda: bootstrap([r.counts for r in own], by_class=plan.level == "patient"))
    cells = {"cells": counts.positives + counts.negatives}
    return {"backbone": backbone, **_mark(plan, results), **cells, **_pooled(plan, counts, intervals)}


def patient_rows(plan: Plan, backbone: str, results: Mapping[int, FoldResult]) -> list[Row]:
    """Give the summary over patients, with intervals.

    Patient-labelled cohorts: counts of patients called by mean logit and by majority vote. Cell-labelled
    cohorts: means over the patients within whom a measure is defined, and how many those are.
    """
    head: Row = {**_mark(plan, results), "patients": len(results)}
    if plan.level == "cell":
        return [{"backbone": backbone, **head, **_within_patients(backbone, list(results.values()))}]
    rules = ("any",) if backbone == ALWAYS_POSITIVE else RULES
    return [{"backbone": backbone, "rule": rule, **head, **_called(plan, backbone, rule, results)} for rule in rules]


def is_end(key: str, row: Row) -> bool:
    """Whether it is an end of another measure's interval; a class may be called low."""
    return key.endswith(("_low", "_high")) and key.rpartition("_")[0] in row


def _mark(plan: Plan, results: Mapping[int, FoldResult]) -> Row:
    done, expected = len(results), len(plan.folds)
    status = "complete" if done == expected else "partial"
    return {"folds_done": done, "folds_expected": expected, "status": status}


def _fold_row(plan: Plan, fold: Fold, results: Mapping[int, FoldResult]) -> Row:
    head: Row = {"fold": fold.number, "patient": fold.held_out}
    result = results.get(fold.number)
    if result is None:
        return {**head, **dict.fromkeys(_FOLD_COLUMNS, Value(None, "no predictions"))}
    return {**head, **dict(zip(_FOLD_COLUMNS, _fold_values(plan, result), strict=True))}


def _fold_values(plan: Plan, result: FoldResult) -> list[str | int | Value]:
    return [
        "mixed" if result.label is None else plan.classes[result.label],
        result.cells,
        result.recall,
        Value(result.score),
        *_patient_calls(plan, result),
        metrics.own_class_f1(result.recall),
        result.f1,
        metrics.sensitivity(result.counts),
        metrics.specificity(result.counts),
        result.auc,
    ]


def _patient_calls(plan: Plan, result: FoldResult) -> list[str | Value]:
    if plan.level == "cell" or result.label is None:
        return [Value(None, "cells carry the labels")] * 3
    correct = "yes" if result.call == result.label else "no"
    return [plan.classes[result.call], plan.classes[result.vote], correct]


def _called(plan: Plan, backbone: str, rule: str, results: Mapping[int, FoldResult]) -> Row:
    counts = call_counts(results.values(), rule)
    return _pooled(plan, counts, _intervals(backbone, lambda: bootstrap_calls(counts)))


def _within_patients(backbone: str, results: Sequence[FoldResult]) -> Row:
    values = {
        "sensitivity": [metrics.sensitivity(result.counts) for result in results],
        "specificity": [metrics.specificity(result.counts) for result in results],
        "auc": [result.auc for result in results],
    }
    intervals = _intervals(backbone, lambda: {name: bootstrap_mean(own) for name, own in values.items()})
    row: Row = {}
    for name, own in values.items():
        average, number = metrics.mean(own)
        row |= {name: average, **_ends(name, intervals.get(name)), f"n_{name}": number}
    return row | _how(intervals)


def _intervals(backbone: str, make: Callable[[], dict[str, Interval]]) -> dict[str, Interval]:
    """Give intervals of what was estimated: calling all cells positive depends on no image."""
    return {} if backbone == ALWAYS_POSITIVE else make()


def _pooled(plan: Plan, counts: Counts, intervals: Mapping[str, Interval]) -> Row:
    shown = {"f1_positive": f"f1_{plan.classes[1]}", "f1_negative": f"f1_{plan.classes[0]}"}
    row: Row = {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn}
    for name, metric in METRICS.items():
        key = shown.get(name, name)
        row |= {key: metric.one(counts), **_ends(key, intervals.get(name))}
    return row | _how({shown.get(name, name): interval for name, interval in intervals.items()})


def _ends(key: str, interval: Interval | None) -> Row:
    none = Value(None, "nothing is estimated")
    low, high = (none, none) if interval is None else (interval.low, interval.high)
    return {f"{key}_low": low, f"{key}_high": high}


def _how(intervals: Mapping[str, Interval]) -> Row:
    """Say how intervals were made, and what to bear in mind."""
    methods: dict[str, list[str]] = {}
    for name, interval in intervals.items():
        methods.setdefault(interval.method, []).append(name.replace("_", " "))
    parts = [method if len(methods) == 1 else f"{', '.join(names)}: {method}" for method, names in methods.items()]
    notes = dict.fromkeys(part for own in intervals.values() for part in own.note.split("; ") if part)
    return {"intervals": "; ".join(parts), "note": "; ".join(notes)}

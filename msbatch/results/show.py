"""Tables for a terminal and for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from msbatch.results.folds import FoldResult
from msbatch.results.metrics import Value
from msbatch.results.reduce import Reduction, Row

WRONG = " x"


def tables(reduction: Reduction) -> Iterator[RenderableType]:
    """Give the fold table, then the summaries over cells and patients, then what is missing."""
    yield _fold_table(reduction)
    yield _summary("Cells, pooled over folds", reduction.cells)
    yield _summary("Patients", reduction.patients)
    reasons = sorted(set(_reasons([*reduction.cells, *reduction.patients])))
    if reasons:
        yield Text("n/a: " + "; ".join(reasons) + ".")
    if reduction.missing:
        yield Text("\n".join(_missing_lines(reduction)))


def as_json(reduction: Reduction) -> dict[str, Any]:
    """Give the tables as JSON values; an undefined number is null, with its reason beside it."""
    named = {name: [_plain(row) for row in getattr(reduction, name)] for name in ("folds", "cells", "patients")}
    missing = [
        {"backbone": gap.task.backbone, "fold": gap.task.fold, "patient": gap.patient, "reason": gap.reason}
        for gap in reduction.missing
    ]
    return {"complete": reduction.complete, **named, "missing": missing}


def _fold_table(reduction: Reduction) -> Table:
    plan = reduction.plan
    mixed = plan.level == "cell"
    what = (
        "balanced accuracy of cells"
        if mixed
        else f"share of cells called correctly;{WRONG} marks a wrong call of the patient"
    )
    table = Table(title=f"Folds: {what}", title_justify="left", box=None, pad_edge=False)
    for column in ("fold", "patient", "class", "cells", *plan.backbones):
        table.add_column(column)
    found = {(result.task.backbone, result.task.fold): result for result in reduction.results}
    for fold in plan.folds:
        own = [found.get((backbone, fold.number)) for backbone in plan.backbones]
        counts = fold.counts["held_out"]
        label = " + ".join(name for name in plan.classes if counts[name]["cells"])
        cells = sum(counts[name]["cells"] for name in plan.classes)
        table.add_row(f"{fold.number:02d}", fold.held_out, label, str(cells), *(_fold_cell(result) for result in own))
    return table


def _fold_cell(result: FoldResult | None) -> str:
    if result is None:
        return "MISSING"
    if result.label is None:
        hits = result.counts.tp / result.counts.positives + result.counts.tn / result.counts.negatives
        return f"{hits / 2:.3f}"
    return f"{_show(result.recall)}{'' if result.call == bool(result.label) else WRONG}"


def _summary(title: str, rows: list[Row]) -> Table:
    partial = any(row["status"] != "complete" for row in rows)
    table = Table(
        title=title + ("  -  PARTIAL, folds are missing" if partial else ""),
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    hidden = {"status", "folds_expected", "tp", "fp", "fn", "tn"}
    columns = [key for key in rows[0] if key not in hidden] if rows else []
    for key in columns:
        table.add_column(key.replace("_", " "), overflow="fold")
    for row in rows:
        shown = {**row, "folds_done": f"{row['folds_done']}/{row['folds_expected']}"}
        table.add_row(*(_show(shown[key]) for key in columns))
    return table


def _show(value: Any) -> str:
    if isinstance(value, Value):
        return "n/a" if value.number is None else f"{value.number:.3f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _reasons(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        for key, value in row.items():
            if isinstance(value, Value) and value.number is None:
                yield f"{key.replace('_', ' ')} of {row['rule']}: {value.reason}"


def _missing_lines(reduction: Reduction) -> Iterator[str]:
    yield f"{len(reduction.missing)} of {len(reduction.plan.tasks)} tasks have no predictions:"
    for gap in reduction.missing[:10]:
        yield f"  {gap.task.backbone} fold {gap.task.fold:02d} ({gap.patient}): {gap.reason}"
    if len(reduction.missing) > 10:
        yield f"  and {len(reduction.missing) - 10} more, in results/missing.csv"


def _plain(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in row.items():
        plain[key] = value.number if isinstance(value, Value) else value
        if isinstance(value, Value) and value.number is None:
            plain[f"{key}_reason"] = value.reason
    return plain

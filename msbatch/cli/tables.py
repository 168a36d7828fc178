"""How a plan looks on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from msbatch.plan import Plan


def plan_table(plan: Plan) -> Table:
    """Lay the folds of a plan out as a table."""
    names = list(plan.classes)
    table = Table(box=None, pad_edge=False, title=f"{len(plan.folds)} folds", title_justify="left")
    for column in ("fold", "held out", "class", "validation", *(f"train {name}" for name in names)):
        table.add_column(column)
    for fold in plan.folds:
        training = fold.counts["training"]
        validation = ", ".join(fold.validation) or "none"
        early = "" if fold.early_stopping else " (no early stopping)"
        cells = [_share(training, name) for name in names]
        table.add_row(
            f"{fold.number:02d}", fold.held_out, _classes(fold.counts["held_out"], names), validation + early, *cells
        )
    return table


def _classes(counts: Mapping[str, Any], names: list[str]) -> str:
    return " + ".join(name for name in names if counts[name]["cells"])


def _share(counts: Mapping[str, Any], name: str) -> str:
    return f"{counts[name]['patients']} ({counts[name]['cells']} cells)"

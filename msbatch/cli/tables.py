"""How a plan, and what is submitted of it, look on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from msbatch.cluster.submit import Order
from msbatch.cohort.inspect import describe, tables
from msbatch.plan import Plan, Task
from msbatch.store import Store
from msbatch.terminal import clock


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


def balance_tables(plan: Plan) -> list[Table]:
    """Lay out how class and covariates go together in the store of a plan."""
    with Store(Path(plan.store.path)) as store:
        return tables(describe(store))[1:]


def order_lines(order: Order, tasks: Sequence[Task]) -> list[str]:
    """Say what will be submitted, and what it may cost at the most."""
    compute, site = order.plan.compute, order.site
    backbones = list(dict.fromkeys(task.backbone for task in tasks))
    own = compute.processes // compute.nodes
    cores = site.cpus or own * (compute.threads + compute.workers)
    gpus = compute.processes if compute.device == "cuda" else 0
    hours = len(tasks) * site.time_min / 60
    cost = f"{hours * gpus:.0f} GPU hours" if gpus else f"{hours * cores * compute.nodes:.0f} core hours"
    nodes = f"{compute.nodes} nodes with" if compute.nodes > 1 else ""
    each = " ".join([nodes, f"{_count(cores, 'core')}, {site.mem_gb:g} GB, {_count(gpus, 'GPU')}"]).strip()
    return [
        f"{_count(len(tasks), 'task')} of {len(order.plan.tasks)}: {', '.join(backbones)}",
        f"each: {each}, at most {clock(site.time_min * 60)}",
        f"at the time limit: {cost}; {_count(min(len(tasks), site.array_parallelism), 'task')} at once",
    ]


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _classes(counts: Mapping[str, Any], names: list[str]) -> str:
    return " + ".join(name for name in names if counts[name]["cells"])


def _share(counts: Mapping[str, Any], name: str) -> str:
    return f"{counts[name]['patients']} ({counts[name]['cells']} cells)"

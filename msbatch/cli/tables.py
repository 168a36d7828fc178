"""How a plan, and what is submitted of it, look on a terminal."""

from __future__ import annotations

from collections import Counter
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
    dropping = any(fold.dropped for fold in plan.folds)
    columns = ["fold", "held out", "class", "validation", *(f"train {name}" for name in names)]
    for column in [*columns, "dropped"] if dropping else columns:
        table.add_column(column)
    for fold in plan.folds:
        training = fold.counts["training"]
        validation = ", ".join(fold.validation) or "none"
        early = "" if fold.early_stopping else " (no early stopping)"
        cells = [_share(training, name) for name in names]
        cells += [", ".join(fold.dropped)] if dropping else []
        table.add_row(
            f"{fold.number:02d}", fold.held_out, _classes(fold.counts["held_out"], names), validation + early, *cells
        )
    return table


def design_lines(plan: Plan) -> list[str]:
    """Say in a line each what of a plan's design is not as by default."""
    balance, train_on = plan.settings.get("balance"), plan.settings.get("train_on")
    dropping = sum(bool(fold.dropped) for fold in plan.folds)
    lines = {
        f"cells are sampled in balance over {', '.join(balance or ())}": balance,
        f"only {train_on} trains and validates; everyone is held out": train_on,
        f"a patient of the other class is dropped in {_count(dropping, 'fold')}": plan.settings.get("rebalance"),
        f"{plan.seeds} seeds: {plan.seed} to {plan.seed + plan.seeds - 1}": plan.seeds > 1,
        f"labels are permuted {_count(len(plan.relabellings), 'time')}": plan.relabellings,
        f"{len(plan.tasks)} tasks": len(plan.arms) > len(plan.backbones),
    }
    return [line for line, said in lines.items() if said]


def task_lines(plan: Plan) -> list[str]:
    """Give the numbers of the tasks of every arm; those under permuted labels are only counted."""
    true = [task for task in plan.tasks if task.relabelling is None]
    numbers = {arm: [task.index for task in true if task.arm == arm] for arm in dict.fromkeys(t.arm for t in true)}
    permuted = Counter(task.backbone for task in plan.tasks if task.relabelling is not None)
    lines = [f"{arm}: tasks {own[0]} to {own[-1]}" for arm, own in numbers.items()]
    return [*lines, *(f"{name}: {_count(number, 'task')} under permuted labels" for name, number in permuted.items())]


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
    lines = [
        f"{_count(len(tasks), 'task')} of {len(order.plan.tasks)}: {', '.join(backbones)}",
        f"each: {each}, at most {clock(site.time_min * 60)}",
        f"at the time limit: {cost}; {_count(min(len(tasks), site.array_parallelism), 'task')} at once",
    ]
    return [*lines, *_sharing(len(tasks), gpus)]


def _sharing(tasks: int, gpus: int) -> list[str]:
    """Say whether GPUs are better given to one task each: those that share one also wait for each other."""
    if gpus == 0 or tasks == 1:
        return []
    if gpus == 1:
        return ["one GPU per task: none waits for another, as GPUs that share a task do"]
    return [
        f"{gpus} GPUs share each task and wait for each other at every step: "
        f"unless more than {tasks} GPUs are free at once, --processes 1 ends sooner"
    ]


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _classes(counts: Mapping[str, Any], names: list[str]) -> str:
    return " + ".join(name for name in names if counts[name]["cells"])


def _share(counts: Mapping[str, Any], name: str) -> str:
    return f"{counts[name]['patients']} ({counts[name]['cells']} cells)"

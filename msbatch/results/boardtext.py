"""What TensorBoard says in words beside the charts of a summary run, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from msbatch.plan import Plan
from msbatch.results.folds import FoldResult
from msbatch.results.metrics import Value

BAND = "The lowest and the highest fold of those that still train. It is a range, no confidence interval."
FOLDS = "How many folds still train at a step: the mean and the band are made of these."
BY_FOLD = "The horizontal axis is the number of the fold, one held-out patient each: set Smoothing to 0."
POOLED = "Counted over the cells or patients of all folds together: no mean of fold scores."

_METRICS = ("recall", "mean logit", "AUC", "F1")
_NONE = Value(None, "no predictions")

_READING = """
**Curves.** The summary run shows the mean over folds under the same names as the folds show theirs, so all lie in one
chart. The custom-scalars tab shows it with its band, from the lowest to the highest fold. Validation is on inner
validation patients, who are not the held-out one. A fold counts for as long as it trains. Folds stop early at
different steps, so late steps rest on few folds and the mean may jump where one stops. Rounds differ
in length between folds: between its rounds a fold is taken to lie on a straight line.

**Results** are of held-out patients: pooled/ counts the cells or patients of all folds together, by_fold/ has the
number of the fold on its horizontal axis.

Tables with intervals, and the verdict, are in the results folder of the run: these charts are for looking.
"""


def mean(left: str) -> str:
    """Say what a curve is; under the tag `left` stands how many folds are in the mean."""
    return (
        "In a summary run: the mean over the folds that still train at a step. Folds stop early at different steps, "
        f"so it may jump where one stops; `{left}` says how many are left. Its last part may rest on one fold. "
        "In the run of a fold: that fold."
    )


def about(plan: Plan, name: str, results: Mapping[int, FoldResult], without_curves: Mapping[int, str]) -> str:
    """Say what a summary run holds, what it lacks, and how to read it."""
    expected, done = len(plan.folds), len(results)
    found = f"All {done} folds have predictions." if done == expected else ""
    partial = f"**PARTIAL: {done} of {expected} folds have predictions.**"
    curves = f"Curves of {done - len(without_curves)} of {expected} folds."
    gaps = [f"* fold {fold:02d}: {reason}" for fold, reason in without_curves.items()]
    return "\n".join([f"### {name}", "", f"{found or partial} {curves}", "", *gaps, _READING])


def fold_table(plan: Plan, results: Mapping[int, FoldResult]) -> str:
    """Give the final metrics of every fold: those that are defined for any."""
    rows = [_metrics(results[fold.number]) if fold.number in results else {} for fold in plan.folds]
    names = [name for name in _METRICS if any(row.get(name, _NONE).number is not None for row in rows)]
    head = ["fold", "class", "cells", *names]
    body = [
        [*_facts(plan, fold.number, results), *(_number(row.get(name, _NONE)) for name in names)]
        for fold, row in zip(plan.folds, rows, strict=True)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def precision_recall(plan: Plan, labels: NDArray[np.uint8]) -> str:
    """Say what a precision-recall curve of pooled cells rests on."""
    share = float(np.mean(labels))
    return (
        f"Cells of all folds, {plan.classes[1]} against {plan.classes[0]}; {share:.0%} of them are {plan.classes[1]}, "
        "which is the precision of calling every cell so. The scores are pooled over models: each fold has a model of "
        "its own, with an offset of its own. Training draws both classes equally often, so every model's logits are "
        "centred on even odds, whatever the classes' shares in its training set; no further correction is made. What "
        "offsets are left between models lower this curve: within one model it may be higher."
    )


def _facts(plan: Plan, fold: int, results: Mapping[int, FoldResult]) -> list[str]:
    if fold not in results:
        return [f"{fold:02d}", "no predictions", ""]
    label = results[fold].label
    return [f"{fold:02d}", "mixed" if label is None else plan.classes[label], str(results[fold].cells)]


def _metrics(result: FoldResult) -> dict[str, Value]:
    return dict(zip(_METRICS, (result.recall, Value(result.score), result.auc, result.f1), strict=True))


def _number(value: Value) -> str:
    return "–" if value.number is None else f"{value.number:.3f}"

"""One TensorBoard run per backbone that sums its folds up; folds have numbers there, patients no names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from msbatch.errors import MsbatchError
from msbatch.files import make_dir, sync
from msbatch.layout import RunDir, folder_name
from msbatch.plan import Plan, Task
from msbatch.predictions import Predictions
from msbatch.results import boardtext, events, metrics
from msbatch.results.collect import of_arm
from msbatch.results.confusion import SIZE_PX, draw_confusion
from msbatch.results.curves import Curve, FoldCurves, band, read_curves
from msbatch.results.events import Entry, scalar
from msbatch.results.folds import FoldResult, call_counts
from msbatch.results.metrics import Counts, Value

CURVES = ("train/loss", "validation/loss", "validation/balanced_accuracy")
VARIATION = "variation"  # TensorBoard sorts by name: what helps to read a mean comes after the means

METRICS: Mapping[str, Callable[[Counts], Value]] = {
    "balanced_accuracy": metrics.balanced_accuracy,
    "mcc": metrics.mcc,
    "macro_f1": metrics.macro_f1,
}


@dataclass(frozen=True)
class _Backbone:
    """What is shown of a backbone: results, predictions and curves by fold, and why a fold has no curves."""

    plan: Plan
    name: str
    results: Mapping[int, FoldResult]
    predictions: Mapping[int, Predictions]
    curves: Mapping[int, FoldCurves]
    without_curves: Mapping[int, str]

    @property
    def ended(self) -> float:
        """When its last fold ended: the time of all that is written, so that a rerun writes the same."""
        return max((own.ended for own in self.curves.values()), default=0.0)

    @cached_property
    def by_tag(self) -> dict[str, list[Curve]]:
        """The curves of all folds that have one, by tag."""
        found = {tag: [own.curves[tag] for own in self.curves.values() if tag in own.curves] for tag in CURVES}
        return {tag: curves for tag, curves in found.items() if curves}

    @cached_property
    def counts(self) -> dict[str, Counts]:
        """Calls against truth, pooled over folds: of cells and, where patients carry the labels, of patients."""
        cells = sum((result.counts for result in self.results.values()), Counts())
        if self.plan.level == "cell":
            return {"cells": cells}
        return {"cells": cells, "patients": call_counts(self.results.values())}


def write_boards(
    run: RunDir, plan: Plan, predictions: Mapping[Task, Predictions], results: Mapping[str, Mapping[int, FoldResult]]
) -> Path:
    """Write the summary runs of all backbones anew; folds whose curves cannot be read are named in the text.

    The same curves and predictions give the same bytes. One process at a time may write them.

    Parameters
    ----------
    run : RunDir
        Has the event files of its tasks.
    plan : Plan
        Its plan.
    predictions : mapping of Task to Predictions
        As far as they are there.
    results : mapping of str to mapping of int to FoldResult
        By arm, such as a backbone, and fold: each arm gets a summary run.

    Returns
    -------
    Path
        The folder that holds one run per arm.
    """
    with _anew(run.boards) as fresh:
        for name, own in results.items():
            scores = {task.fold: found for task, found in of_arm(predictions, name).items()}
            backbone = _Backbone(plan, name, own, scores, *_read_all_curves(run, name, own))
            events.write_events(fresh / folder_name(name), _entries(backbone), backbone.ended)
    return run.boards


@contextmanager
def _anew(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `target` once it is whole; a killed writer's leftovers go."""
    workshop = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(workshop, ignore_errors=True)
    try:
        yield make_dir(workshop / "new")
        if target.exists():
            target.rename(workshop / "old")
        (workshop / "new").rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _read_all_curves(
    run: RunDir, name: str, results: Mapping[int, FoldResult]
) -> tuple[dict[int, FoldCurves], dict[int, str]]:
    """Read the curves of folds that have results, or why they cannot be read; others may still be training."""
    curves, reasons = {}, {}
    for fold in sorted(results):
        try:
            curves[fold] = read_curves(run.task(name, fold))
        except MsbatchError as error:
            reasons[fold] = error.problem.replace(f"{run.root}/", "")
    return curves, reasons


def _entries(backbone: _Backbone) -> Iterator[Entry]:
    yield (
        0,
        events.text("about", boardtext.about(backbone.plan, backbone.name, backbone.results, backbone.without_curves)),
    )
    yield 0, events.text("folds", boardtext.fold_table(backbone.plan, backbone.results))
    for tag, curves in backbone.by_tag.items():
        yield from _curves(tag, curves)
    yield from _by_fold(backbone.results)
    yield from _pooled(backbone)
    yield from _precision_recall(backbone)
    yield from ((0, _confusion(backbone, unit, counts)) for unit, counts in backbone.counts.items())
    yield from ((0, value) for value in _trial(backbone))
    yield 0, _layout(list(backbone.by_tag))


def _curves(tag: str, curves: list[Curve]) -> Iterator[Entry]:
    own = band(curves)
    shown = {
        tag: (own.mean, boardtext.mean(f"{VARIATION}/{tag}/folds")),
        f"{VARIATION}/{tag}/lowest": (own.lowest, boardtext.BAND),
        f"{VARIATION}/{tag}/highest": (own.highest, boardtext.BAND),
        f"{VARIATION}/{tag}/folds": (own.folds, boardtext.FOLDS),
    }
    for name, (values, about) in shown.items():
        yield from ((int(step), scalar(name, value, about)) for step, value in zip(own.steps, values, strict=True))


def _by_fold(results: Mapping[int, FoldResult]) -> Iterator[Entry]:
    for fold, result in sorted(results.items()):
        values = {"recall": result.recall, "mean_logit": Value(result.score), "auc": result.auc, "f1": result.f1}
        for name, value in values.items():
            if value.number is not None:
                yield fold, scalar(f"by_fold/{name}", value.number, boardtext.BY_FOLD)


def _pooled(backbone: _Backbone) -> Iterator[Entry]:
    for unit, counts in backbone.counts.items():
        for name, metric in METRICS.items():
            number = metric(counts).number
            if number is not None:
                yield 0, scalar(f"pooled/{unit}/{name}", number, boardtext.POOLED)


def _precision_recall(backbone: _Backbone) -> Iterator[Entry]:
    own = [backbone.predictions[fold] for fold in sorted(backbone.predictions)]
    labels = np.concatenate([found.labels for found in own] or [np.zeros(0, np.uint8)])
    if len(np.unique(labels)) == 2:
        scores = np.concatenate([found.probabilities for found in own])
        yield 0, events.pr_curve("pooled/cells", labels, scores, boardtext.precision_recall(backbone.plan, labels))


def _confusion(backbone: _Backbone, unit: str, counts: Counts) -> object:
    rule = "mean logit" if unit == "patients" else "logit"
    folds = f"{len(backbone.results)} of {len(backbone.plan.folds)} folds"
    note = f"{rule} above 0 is called {backbone.plan.classes[1]}; {folds}"
    png = draw_confusion(f"{backbone.name}: {unit}", note, backbone.plan.classes, counts)
    return events.image(f"confusion/{unit}", png, SIZE_PX, boardtext.POOLED)


def _trial(backbone: _Backbone) -> list[object]:
    """Make the row of hparams: backbones of a plan share all settings, so it has few, and TensorBoard shows five."""
    plan, training = backbone.plan, backbone.plan.settings.get("training", {})
    settings = {
        "backbone": backbone.name,
        "seed": plan.seed,
        "pretrained": plan.settings.get("pretrained"),
        "lr": training.get("lr"),
        "steps": training.get("steps"),
    }
    columns = {
        f"pooled/{unit}/{name}": f"{name.replace('_', ' ')}, {unit}"
        for name in METRICS
        for unit in reversed(backbone.counts)
    }
    known = {name: value for name, value in settings.items() if value is not None}
    return events.trial(backbone.name, known, columns, backbone.ended)


def _layout(tags: list[str]) -> object:
    bands = [events.margin(tag, tag, f"{VARIATION}/{tag}/lowest", f"{VARIATION}/{tag}/highest") for tag in tags]
    every = [events.lines(tag, f"^{tag}$") for tag in tags]
    numbers = [events.lines(f"folds in the mean: {tag}", f"^{VARIATION}/{tag}/folds$") for tag in tags]
    return events.layout(
        [
            events.category("Mean of the folds that still train, and the lowest and highest of them", bands),
            events.category("Curves of the runs that are ticked on the left", every),
            events.category("How many folds are in the mean", numbers),
        ]
    )

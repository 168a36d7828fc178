"""ROC, precision and recall, and calibration, as far as scores may be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from msbatch.config import is_frozen
from msbatch.layout import folder_name
from msbatch.plan import arm_name
from msbatch.results.calibration import PRIOR_NOTE, Calibration
from msbatch.results.collect import of_arm
from msbatch.results.metrics import Value
from msbatch.results.reduction import Reduction
from msbatch.results.report.grid import count, say
from msbatch.results.report.svg import FAINT, GREY, SERIES, Figure, drawing, to_svg
from msbatch.results.tables import DIGITS, patient_auc

Array = NDArray[np.float64]
Curves = list[tuple[str, Array, Array]]  # whose, false positive rate or recall, true positive rate or precision

_AS_THEY_ARE: dict[str, Any] = {"color": SERIES[0], "marker": "o", "markersize": 3.5, "linewidth": 0.9}
_BALANCED = {**_AS_THEY_ARE, "color": SERIES[1], "marker": "s", "markersize": 6.5, "markerfacecolor": "none"}
_GRID = np.linspace(0, 1, 101)
_POOLED = (
    "One point of a curve for each patient's mean logit, pooled over models of which each held out one patient. "
    "Models have offsets of their own; only because every batch of training is balanced over classes and over "
    "patients, whoever is held out, do these offsets not lean against the held-out label. "
)
_POOLED_HEADS = (
    "One point of a curve for each patient's mean score, pooled over heads of which each held out one patient. A score "
    "is less the mean label of the cells its head was fitted on, so that it does not lean against the held-out label. "
)
_WITHIN = (
    "One thin line for each patient with cells of both classes, all of its cells scored by one model; the thick line "
    "is their mean. Nothing is pooled over models. "
)
_PREVALENCE = "Precision depends on how common the positive class is here, and would differ where it is rarer."


def discrimination(reduction: Reduction, backbone: str) -> Figure | None:
    """Draw ROC and precision-recall curves of one backbone: within patients, or over patients; None without any."""
    within = reduction.plan.level == "cell"
    roc, pr = _within(reduction, backbone) if within else _over(reduction, backbone)
    if not roc:
        return None
    name = f"discrimination-{folder_name(backbone)}"
    with drawing(2.6) as canvas:
        for axes, curves, part in zip(canvas.subplots(1, 2), (roc, pr), ("roc", "pr"), strict=True):
            _draw(axes, curves, part, within)
        canvas.subplots_adjust(0.12, 0.17, 0.98, 0.9, 0.32)
        svg = to_svg(canvas, name, f"{backbone}: ROC curve and precision-recall curve")
    data = [
        [part, whose, x, y]
        for part, curves in (("roc", roc), ("precision_recall", pr))
        for whose, xs, ys in curves
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
    ]
    caption = (_WITHIN if within else _POOLED_HEADS if is_frozen(backbone) else _POOLED) + _PREVALENCE
    note = "" if within else _auc_words(reduction, backbone)
    return Figure(name, backbone, caption, svg, note=note, header=["curve", "whose", "x", "y"], rows=data)


def reliability(backbone: str, found: Sequence[Calibration]) -> Figure | None:
    """Draw observed shares against probabilities; None where a class is missing."""
    if not any(own.bins for own in found):
        return None
    name = f"calibration-{folder_name(backbone)}"
    with drawing(2.9) as canvas:
        axes = canvas.add_axes((0.12, 0.16, 0.62, 0.8))
        _frame(axes, "probability of the positive class", "share of positive cells")
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9)
        for own in found:
            predicted, observed = ([getattr(part, key) for part in own.bins] for key in ("predicted", "observed"))
            axes.plot(predicted, observed, **_BALANCED if own.balanced else _AS_THEY_ARE)
        svg = to_svg(canvas, name, f"{backbone}: share of positive cells against probability, in bins")
    key = (("class-0", "cells as they are"), ("hollow-square", "each class given half of the weight"))
    return Figure(name, backbone, PRIOR_NOTE, svg, key, source="calibration_bins.csv")


def _over(reduction: Reduction, backbone: str) -> tuple[Curves, Curves]:
    folds = [fold for fold in reduction.results[backbone].values() if fold.label is not None]
    labels = np.array([fold.label for fold in folds], np.uint8)
    if len(np.unique(labels)) < 2:
        return [], []
    return _curves("patients", labels, np.round([fold.score for fold in folds], DIGITS))


def _within(reduction: Reduction, backbone: str) -> tuple[Curves, Curves]:
    own = of_arm(reduction.predictions, backbone)
    mixed = [each for each in own.values() if len(np.unique(each.labels)) == 2]
    if not mixed:
        return [], []
    parts = [_curves(each.patient, each.labels, each.logits) for each in mixed]
    roc, pr = ([_on_grid(curve) for curves in kind for curve in curves] for kind in zip(*parts, strict=True))
    return [*roc, _mean(roc)], [*pr, _mean(pr)]


def _curves(whose: str, labels: NDArray[np.uint8], scores: Array) -> tuple[Curves, Curves]:
    false, true, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    return [(whose, false, true)], [(whose, recall[::-1], precision[::-1])]


def _on_grid(curve: tuple[str, Array, Array]) -> tuple[str, Array, Array]:
    whose, x, y = curve
    return whose, _GRID, np.interp(_GRID, x, y)


def _mean(curves: Curves) -> tuple[str, Array, Array]:
    return "mean over patients", _GRID, np.mean([y for _, _, y in curves], axis=0)


def _draw(axes: Axes, curves: Curves, part: str, within: bool) -> None:
    if part == "roc":
        _frame(axes, "1 − specificity", "sensitivity")
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9)
    else:
        _frame(axes, "recall (sensitivity)", "precision")
    *thin, last = curves
    for _, x, y in thin:
        axes.plot(x, y, color=GREY, linewidth=0.5, alpha=0.6)
    how = "default" if within or part == "roc" else "steps-pre"  # precision between two points is that of the next
    axes.plot(last[1], last[2], color=SERIES[0], linewidth=1.6, drawstyle=how)
    axes.set_title("ROC" if part == "roc" else "Precision and recall")


def _frame(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _auc_words(reduction: Reduction, backbone: str) -> str:
    """Give the area over patients, beside what trainings under permuted labels gave, where there are any."""
    said = f"Area under the ROC curve over patients: {say(patient_auc(reduction.results[backbone].values()))}; "
    pairs = [probe.pair_auc for probe in reduction.probes if probe.backbone == backbone]
    if pairs:
        return f"{said}with both patients of a pair left out, under one head: {say(pairs[0])}."
    areas = [area.number for area in _by_chance(reduction, backbone) if area.number is not None]
    if not areas:
        return f"{said}by chance: not measured, as no training of all folds under permuted labels is there."
    mean = say(Value(float(np.mean(areas))))
    return f"{said}under permuted labels {mean} on average, over {count(len(areas), 'training')} of all folds."


def _by_chance(reduction: Reduction, backbone: str) -> Iterator[Value]:
    """Give the area of each whole training under permuted labels, by these; fold results have the true ones."""
    for relabelling in reduction.plan.relabellings:
        own = reduction.arms.get(arm_name(backbone, 0, relabelling.number), {})
        if len(own) == len(reduction.plan.folds):
            yield patient_auc([replace(fold, label=relabelling.labels[fold.patient]) for fold in own.values()])

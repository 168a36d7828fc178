"""Training curves: mean and band over the folds of each backbone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from matplotlib.axes import Axes

from msbatch.errors import MsbatchError
from msbatch.layout import RunDir, folder_name
from msbatch.plan import Task
from msbatch.results.curves import Band, FoldCurves, band, read_curves
from msbatch.results.reduction import Reduction
from msbatch.results.report.grid import count
from msbatch.results.report.svg import FAINT, SERIES, Figure, drawing, to_svg

LOSSES = ("train/loss", "validation/loss")
ACCURACY = "validation/balanced_accuracy"

_CAPTION = (
    "Lines: mean over folds; bands: lowest to highest fold. Validation is on inner validation patients; the held-out "
    "patient is in none of these curves. A fold counts up to its last round, so late means are over fewer folds."
)


@dataclass(frozen=True)
class Training:
    """The curves of each backbone, and why those of some folds are not there."""

    figures: list[Figure]
    missing: list[str]


def training(run: RunDir, reduction: Reduction) -> Training:
    """Read the scalars of all tasks under true labels and first seeds, and draw them."""
    reasons: Counter[str] = Counter()
    figures = []
    for backbone in reduction.plan.trained:
        tasks = [task for task in reduction.predictions if task.arm == backbone]
        found = [curves for task in tasks if (curves := _read(run, task, reasons)) is not None]
        bands = _bands(found)
        if bands:
            figures.append(_draw(backbone, bands, len(found)))
    return Training(figures, [f"{count(number, 'fold')}. {reason}" for reason, number in reasons.most_common()])


def _read(run: RunDir, task: Task, reasons: Counter[str]) -> FoldCurves | None:
    try:
        return read_curves(run.task(task.arm, task.fold))
    except MsbatchError as error:
        reasons[error.problem] += 1
        return None


def _bands(found: list[FoldCurves]) -> dict[str, Band]:
    by_tag = {tag: [own.curves[tag] for own in found if tag in own.curves] for tag in (*LOSSES, ACCURACY)}
    return {tag: band(curves) for tag, curves in by_tag.items() if curves}


def _draw(backbone: str, bands: dict[str, Band], folds: int) -> Figure:
    name = f"training-{folder_name(backbone)}"
    with drawing(2.5) as canvas:
        loss, accuracy = canvas.subplots(1, 2)
        for tag, colour in zip(LOSSES, SERIES, strict=False):
            _draw_band(loss, bands.get(tag), colour)
        _draw_band(accuracy, bands.get(ACCURACY), SERIES[1])
        loss.set_ylim(bottom=0)
        accuracy.set_ylim(-0.02, 1.02)
        accuracy.axhline(0.5, color=FAINT, linewidth=0.9)
        for axes, title in ((loss, "loss"), (accuracy, "balanced accuracy")):
            axes.set_title(title)
            axes.set_xlabel("optimiser step")
        canvas.subplots_adjust(0.09, 0.18, 0.98, 0.9, 0.25)
        svg = to_svg(canvas, name, f"{backbone}: loss and balanced accuracy over training, mean and band of folds")
    data = [
        [tag, *values]
        for tag, own in bands.items()
        for values in zip(*(getattr(own, key).tolist() for key in _COLUMNS), strict=True)
    ]
    key = (("line-0", "training"), ("line-1", "validation"))
    note = f"Over {count(folds, 'fold')}."
    return Figure(name, backbone, _CAPTION, svg, key, note, ["scalar", *_COLUMNS], data)


_COLUMNS = ("steps", "mean", "lowest", "highest", "folds")


def _draw_band(axes: Axes, own: Band | None, colour: str) -> None:
    if own is None:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center")
        return
    axes.fill_between(own.steps, own.lowest, own.highest, color=colour, alpha=0.18, linewidth=0)
    axes.plot(own.steps, own.mean, color=colour)

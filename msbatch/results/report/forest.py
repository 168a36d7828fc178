"""Forest plots: what each held-out patient's cells were called, and how sensitivity and specificity compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from msbatch.layout import folder_name
from msbatch.plan import Plan
from msbatch.results.folds import FoldResult
from msbatch.results.intervals import clopper_pearson
from msbatch.results.metrics import Value
from msbatch.results.oddfold import OddFold
from msbatch.results.report.svg import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    GREY,
    INK,
    Figure,
    drawing,
    name_axis,
    name_margin,
    share_axis,
    to_svg,
)

ROWS = 60  # patients in one drawing

_ROW_IN = 0.165
_HEADER = ["fold", "patient", "class", "cells", "called_correctly", "share", "low", "high", "bound", "odd", "call"]

_Point = dict[str, Any]


def forest(plan: Plan, backbone: str, folds: Mapping[int, FoldResult], odd: Sequence[OddFold]) -> Iterator[Figure]:
    """Draw the share of cells of every held-out patient that were called correctly; worst first within a class.

    Parameters
    ----------
    plan : Plan
        Of the run.
    backbone : str
        Whose folds they are.
    folds : mapping of int to FoldResult
        By number.
    odd : sequence of OddFold
        The same folds, judged.
    """
    judged = {each.fold: each for each in odd}
    points = [point for number, fold in folds.items() for point in _points(plan, fold, judged.get(number))]
    points.sort(key=lambda point: (point["class"], point["share"], point["fold"]))
    parts = [points[start : start + ROWS] for start in range(0, len(points), ROWS)]
    for number, part in enumerate(parts, 1):
        name = f"forest-{folder_name(backbone)}" + (f"-{number}" if len(parts) > 1 else "")
        yield _draw(plan, backbone, name, part)


def _points(plan: Plan, fold: FoldResult, judged: OddFold | None) -> Iterator[_Point]:
    counts = fold.counts
    for label, (hits, cells) in enumerate(((counts.tn, counts.negatives), (counts.tp, counts.positives))):
        if cells:
            interval = clopper_pearson(hits, cells)
            yield {
                "fold": fold.fold,
                "patient": fold.patient,
                "class": label,
                "cells": cells,
                "called_correctly": hits,
                "share": hits / cells,
                "low": interval.low.number,
                "high": interval.high.number,
                "bound": judged.bound.number if judged else None,
                "odd": bool(judged and judged.odd),
                "call": "" if fold.label is None else plan.classes[fold.call],
                "wrong": fold.label is not None and fold.call != fold.label,
            }


def _draw(plan: Plan, backbone: str, name: str, points: Sequence[_Point]) -> Figure:
    names = [f"{point['patient']}" for point in points]
    height = 0.55 + _ROW_IN * max(3, len(points))
    with drawing(height) as canvas:
        left = name_margin(names)
        axes = canvas.add_axes((left, 0.45 / height, 0.9 - left, 1 - 0.5 / height))
        for place, point in enumerate(points):
            _draw_point(axes, place, point)
        share_axis(axes, "share of the patient's cells called correctly")
        name_axis(axes, names)
        svg = to_svg(canvas, name, f"{backbone}: {len(points)} held-out patients, share of cells called correctly")
    rows = [[_plain(plan, point, key) for key in _HEADER] for point in points]
    return Figure(name, backbone, _caption(plan), svg, _key(plan), header=_HEADER, rows=rows)


def _draw_point(axes: Axes, place: int, point: _Point) -> None:
    colour, marker = CLASS_COLOURS[point["class"]], CLASS_MARKERS[point["class"]]
    axes.plot([point["low"], point["high"]], [place, place], color=colour, linewidth=1.1, solid_capstyle="butt")
    if point["bound"] is not None:
        axes.plot([point["bound"]] * 2, [place - 0.32, place + 0.32], color=GREY, linewidth=0.9)
    fill = "white" if point["wrong"] else colour
    axes.plot(point["share"], place, marker, color=colour, markerfacecolor=fill, markersize=4.6, markeredgewidth=1.2)
    if point["odd"]:
        axes.text(1.05, place, "odd", color=INK, va="center", weight="bold", clip_on=False)


def _plain(plan: Plan, point: _Point, key: str) -> Any:
    if key == "class":
        return plan.classes[point["class"]]
    value = point[key]
    return ("yes" if value else "no") if key == "odd" else "n/a" if value is None else value


def _caption(plan: Plan) -> str:
    said = (
        "One model for each patient, trained without them. Bars: binomial 95 % interval (Clopper-Pearson), within the "
        "patient: how precisely these cells tell this patient's share, not how other patients would fare."
    )
    if plan.level == "cell":
        return f"{said} Patients with cells of both classes have two rows: specificity and sensitivity."
    return f"{said} A fold left of its grey tick would be odd: that is below the worst of 19 in 20 ordinary cohorts."


def _key(plan: Plan) -> tuple[tuple[str, str], ...]:
    classes = (("class-0", plan.classes[0]), ("class-1", plan.classes[1]))
    return classes if plan.level == "cell" else (*classes, ("hollow", "hollow: the patient was called wrongly"))


def compare_rows(name: str, title: str, caption: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw sensitivity and specificity of several rows, each with its interval.

    Parameters
    ----------
    name, title, caption : str
        Of the figure.
    rows : sequence of mapping
        Each has a ``name``, and sensitivity and specificity with ``_low`` and ``_high`` as values.
    """
    names = [str(row["name"]) for row in rows]
    height = 0.55 + 0.27 * max(2, len(rows))
    with drawing(height) as canvas:
        left = name_margin(names)
        axes = canvas.add_axes((left, 0.45 / height, 0.96 - left, 1 - 0.5 / height))
        for place, row in enumerate(rows):
            for label, measure in enumerate(("specificity", "sensitivity")):
                _draw_measure(axes, place + (0.14 if label else -0.14), label, row, measure)
        share_axis(axes, "share of patients called correctly")
        name_axis(axes, names)
        svg = to_svg(canvas, name, f"{title}: sensitivity and specificity of {', '.join(names)}")
    keys = ["name", *(f"{measure}{end}" for measure in ("sensitivity", "specificity") for end in ("", "_low", "_high"))]
    data = [[str(row.get(key, "")) for key in keys] for row in rows]
    key = (("class-0", "specificity"), ("class-1", "sensitivity"))
    return Figure(name, title, caption, svg, key, header=keys, rows=data)


def _draw_measure(axes: Axes, place: float, label: int, row: Mapping[str, Any], measure: str) -> None:
    value, low, high = (row.get(f"{measure}{end}", Value(None)) for end in ("", "_low", "_high"))
    colour = CLASS_COLOURS[label]
    if low.number is not None and high.number is not None:
        axes.plot([low.number, high.number], [place] * 2, color=colour, linewidth=1.1, solid_capstyle="butt")
    if value.number is not None:
        axes.plot(value.number, place, CLASS_MARKERS[label], color=colour, markersize=4.6)
    else:
        axes.text(0, place, "n/a", color=GREY, va="center", fontsize=7)

"""The tables of summaries: backbones beside what looks at no image at all, or at colour, size or shape alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msbatch.plan import Plan
from msbatch.results.folds import FoldResult, call_counts
from msbatch.results.metrics import Counts
from msbatch.results.reduction import Reduction
from msbatch.results.report.forest import compare_rows
from msbatch.results.report.grid import Grid, make_grid
from msbatch.results.report.svg import Figure
from msbatch.results.rows import ALWAYS_POSITIVE, Row, cell_row, is_end, patient_rows

RULE_WORDS = {"mean_logit": "mean logit", "majority_vote": "majority vote", "any": ""}

_BLEND = (0, 114, 178)


@dataclass(frozen=True)
class Tally:
    """One field of a confusion matrix: a number, its share of the row in words, and its shade."""

    number: int
    words: str
    shade: str


@dataclass(frozen=True)
class Confusion:
    """Calls against truth; a row for each class, the negative one first."""

    title: str
    rows: list[tuple[str, list[Tally]]]


def summaries(reduction: Reduction) -> list[Grid]:
    """Give the summary over patients, then the one over cells, with nuisance rows and the always-positive row."""
    plan = reduction.plan
    how = "mean over patients" if plan.level == "cell" else "one call for each"
    return [
        _grid(f"Patients, {how}", _patient_columns(plan), _over_patients(reduction), "patients.csv"),
        _grid("Cells, pooled over folds", {"cells": "cells"} | _metrics(plan), _over_cells(reduction), "cells.csv"),
    ]


def interval_words(reduction: Reduction) -> str:
    """Say how the intervals of all rows were made, and what to bear in mind; whose it is, where rows differ."""
    tables = {"Cells": _over_cells(reduction), "Patients": _over_patients(reduction)}
    said = {name: " ".join((*_told(rows, "intervals"), *_told(rows, "note"))) for name, rows in tables.items()}
    alike = len(set(said.values())) == 1
    words = said["Cells"] if alike else " ".join(f"{name}: {own}" for name, own in said.items() if own)
    return (
        f"Beneath each estimate: its 95 % interval. {words} Rows marked “alone” are fitted to that alone, fold by fold."
    )


def summary_figure(reduction: Reduction) -> list[Figure]:
    """Draw sensitivity and specificity of all rows, where patients are called."""
    if reduction.plan.level == "cell":
        return []
    rows = [row for row in reduction.patients if row["rule"] != "majority_vote" and row["backbone"] != ALWAYS_POSITIVE]
    nuisance = [patient_rows(reduction.plan, name, own)[0] for name, own in _nuisance(reduction)]
    named = [{**row, "name": _name(row)} for row in (*rows, *nuisance)]
    caption = (
        "Over patients, with exact 95 % intervals over patients. Rows of colour, size, shape and count show how far "
        "one gets without looking at anything else; a backbone whose intervals cover theirs is not shown to do better."
    )
    return [compare_rows("summary", "Patients called correctly", caption, named)]


def confusions(reduction: Reduction) -> Iterator[Confusion]:
    """Give confusion matrices of every backbone, over cells, and over patients where these are called."""
    for name, folds in reduction.results.items():
        counts = sum((fold.counts for fold in folds.values()), Counts())
        yield _confusion(reduction.plan, f"{name}: cells", counts)
        if reduction.plan.level == "patient":
            yield _confusion(reduction.plan, f"{name}: patients, by mean logit", call_counts(folds.values()))


def _over_patients(reduction: Reduction) -> list[Row]:
    nuisance = (patient_rows(reduction.plan, name, own)[0] for name, own in _nuisance(reduction))
    return [*reduction.patients, *nuisance]


def _over_cells(reduction: Reduction) -> list[Row]:
    return [*reduction.cells, *(cell_row(reduction.plan, name, own) for name, own in _nuisance(reduction))]


def _told(rows: Sequence[Row], key: str) -> list[str]:
    """Give each text once, after the names of its rows where these are not all that have intervals."""
    named: dict[str, list[str]] = {}
    for row in rows:
        if row.get("intervals"):
            named.setdefault(_usual(str(row[key])), []).append(_name(row))
    alike = len(named) == 1
    return [f"{text}." if alike else f"{'; '.join(names)}: {text}." for text, names in named.items() if text]


def _usual(text: str) -> str:
    for plain, usual in (("macro f1", "macro-F1"), ("f1 ", "F1 "), (" mcc", " MCC"), (" auc", " AUC")):
        text = text.replace(plain, usual)
    return text[:1].upper() + text[1:]


def _nuisance(reduction: Reduction) -> Iterator[tuple[str, dict[int, FoldResult]]]:
    """Give the rows whose model could be fitted for some patient, by names that tell them from backbones."""
    for name, own in (reduction.cohort.nuisance if reduction.cohort else {}).items():
        if own:
            yield f"{name} alone", own


def _grid(title: str, columns: dict[str, str], rows: list[Row], source: str) -> Grid:
    partial = any(row["status"] != "complete" for row in rows)
    named = [_named(row) for row in rows]
    headings = {"name": "model"} | ({"folds": "folds"} if partial else {}) | columns
    return make_grid(title, headings, named, source=source)


def _named(row: Row) -> Row:
    """Give a row its name; calling all cells positive estimates nothing, so it has no interval to be lacking."""
    own = {key: value for key, value in row.items() if not is_end(key, row)}
    shown = own if row["backbone"] == ALWAYS_POSITIVE else row
    return {**shown, "name": _name(row), "folds": f"{row['folds_done']} of {row['folds_expected']}"}


def _name(row: Row) -> str:
    rule = RULE_WORDS.get(str(row.get("rule", "any")), "")
    own = str(row["backbone"])
    if own.endswith(" alone") or rule in ("", "mean logit"):
        return own
    return f"{own}, {rule}"


def _patient_columns(plan: Plan) -> dict[str, str]:
    if plan.level == "patient":
        return {"patients": "patients"} | _metrics(plan)
    return {
        "sensitivity": "sensitivity",
        "n_sensitivity": "patients",
        "specificity": "specificity",
        "n_specificity": "patients",
        "auc": "AUC within",
        "n_auc": "patients",
    }


def _metrics(plan: Plan) -> dict[str, str]:
    negative, positive = plan.classes
    return {
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "balanced_accuracy": "balanced accuracy",
        f"f1_{positive}": f"F1 {positive}",
        f"f1_{negative}": f"F1 {negative}",
        "macro_f1": "macro-F1",
        "mcc": "MCC",
    }


def _confusion(plan: Plan, title: str, counts: Counts) -> Confusion:
    numbers = ((counts.tn, counts.fp), (counts.fn, counts.tp))
    return Confusion(
        title,
        [(name, [_tally(own, sum(row)) for own in row]) for name, row in zip(plan.classes, numbers, strict=True)],
    )


def _tally(number: int, whole: int) -> Tally:
    share = number / whole if whole else 0.0
    red, green, blue = (round(255 + share / 2 * (full - 255)) for full in _BLEND)  # pale enough for dark letters
    return Tally(number, f"{share:.1%}" if whole else "n/a: none in truth", f"rgb({red}, {green}, {blue})")

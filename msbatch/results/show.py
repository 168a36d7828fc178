"""The tables as a terminal, a log and a script get them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from textwrap import TextWrapper
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from msbatch.config import short_name
from msbatch.results import metrics
from msbatch.results.collect import Missing
from msbatch.results.folds import call_counts
from msbatch.results.metrics import Counts, Value
from msbatch.results.reduction import Reduction
from msbatch.results.rows import Row, is_end
from msbatch.results.tables import headline, odd_sentences, patient_auc, verdict_json
from msbatch.results.tables import tables as all_tables

FOLD_COLUMNS = 4  # backbones beside each other: what 80 characters hold
SUMMARY_COLUMNS = 3  # each with its interval
WIDTH = 80  # of sentences, also in a log
LISTED = 10  # missing folds named one by one

_NOT_SHOWN = {
    *("backbone", "rule", "folds_done", "folds_expected", "status"),
    *("tp", "fp", "fn", "tn", "intervals", "note"),
}
_ALARM = "bold red"


def tables(reduction: Reduction) -> Iterator[RenderableType]:
    """Give the fold table, the summaries over cells and over patients, the footnotes, and what is missing."""
    notes = _Notes()
    for part in _chunks(reduction.plan.backbones, FOLD_COLUMNS):
        yield _titled(_fold_title(reduction), _fold_table(reduction, part, notes), reduction)
    for part in _chunks(reduction.cells, SUMMARY_COLUMNS):
        yield _titled("Cells, pooled over folds", _summary(part, notes), reduction)
    how = "mean over patients" if reduction.plan.level == "cell" else "one call each"
    for part in _chunks(reduction.patients, SUMMARY_COLUMNS):
        yield _titled(f"Patients, {how}", _summary(part, notes), reduction)
    if reduction.cohort:
        yield _titled("The same folds by nuisance alone", _beside_nuisance(reduction, notes), reduction)
    yield Text(_wrapped(_how(reduction)))
    if notes.reasons:
        yield Text("\n".join(f"[{number}] {reason}" for number, reason in enumerate(notes.reasons, 1)))
    yield from _said(reduction)
    missing = reduction.missing_folds
    if missing:
        yield Text("\n".join(_missing_lines(missing, _expected_folds(reduction))), style=_ALARM)
    further = len(reduction.missing) - len(missing)
    if further:
        are = "training (seeds, permuted labels) is" if further == 1 else "trainings (seeds, permuted labels) are"
        yield Text(_wrapped([f"{further} further {are} not there yet: see results/missing.csv."]))


def as_json(reduction: Reduction) -> dict[str, Any]:
    """Give the tables as JSON values; an undefined number is null, with its reason under `undefined`."""
    named = {name: [_plain(row) for row in rows] for name, (_, rows) in all_tables(reduction).items()}
    missing = [vars(gap) for gap in reduction.missing]
    return {"complete": reduction.complete, "verdict": verdict_json(reduction), **named, "missing": missing}


class _Notes:
    """Footnotes: each reason once, numbered as it comes up."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def show(self, value: str | int | Value) -> str:
        if not isinstance(value, Value):
            return str(value)
        if value.number is not None:
            return f"{value.number:.3f}"
        if value.reason not in self.reasons:
            self.reasons.append(value.reason)
        return f"n/a [{self.reasons.index(value.reason) + 1}]"


def _how(reduction: Reduction) -> list[str]:
    """Say how the intervals were made, and of which backbones where that does not hold of all."""
    said: dict[str, dict[str, None]] = {}
    for row in [*reduction.cells, *reduction.patients]:
        if row["intervals"] and row["folds_done"]:
            line = f"{row['intervals']}{'; ' if row['note'] else ''}{row['note']}"
            said.setdefault(line, {})[_short(row["backbone"])] = None
    everyone = {name for names in said.values() for name in names}
    whose = {line: "" if len(names) == len(everyone) else f"{', '.join(names)}: " for line, names in said.items()}
    return [f"95 % intervals: {names}{line}." for line, names in whose.items()]


def _said(reduction: Reduction) -> Iterator[RenderableType]:
    """Give the verdict and what is odd, in words."""
    odd = [sentence for name in reduction.plan.backbones for sentence in odd_sentences(reduction, name)]
    if reduction.cohort is None:
        yield Text(_wrapped([headline(reduction)]), style=_ALARM)
    else:
        further = reduction.cohort.verdict.further
        yield Group(Text(_wrapped([headline(reduction)]), style="bold"), Text(_wrapped(further)))
    pairs = [
        f"Leave-pair-out AUC of {_short(probe.backbone)}: {probe.pair_auc.number:.3f}."
        for probe in reduction.probes
        if probe.pair_auc.number is not None
    ]
    yield Text(_wrapped([*pairs, *dict.fromkeys(odd)]))


def _wrapped(sentences: Iterable[str]) -> str:
    # Paths stay whole, so that they can be copied.
    wrapper = TextWrapper(WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(wrapper.fill, sentences))


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _titled(title: str, table: Table, reduction: Reduction) -> Group:
    parts: list[RenderableType] = [Text(title, style="bold"), table]
    missing, expected = reduction.missing_folds, _expected_folds(reduction)
    if missing:
        parts.insert(0, Text(f"PARTIAL: {expected - len(missing)} of {expected} folds", style=_ALARM))
    return Group(*parts)


def _fold_title(reduction: Reduction) -> str:
    if reduction.plan.level == "cell":
        return "Folds: F1 of the cells"
    return "Folds: share of cells called correctly (x: wrong call of the patient)"


def _fold_table(reduction: Reduction, backbones: Sequence[str], notes: _Notes) -> Table:
    rows = {(row["backbone"], row["fold"]): row for row in reduction.folds}
    measure = "f1" if reduction.plan.level == "cell" else "recall"
    table = _table(["fold", "patient", "class", "cells"], [_short(name) for name in backbones])
    for fold in reduction.plan.folds:
        own = [rows[backbone, fold.number] for backbone in backbones]
        there = next((row for row in own if not _is_missing(row)), None)
        facts = [str(there["class"]), str(there["cells"])] if there else ["", ""]
        shown = [_fold_cell(row, measure, notes.show) for row in own]
        table.add_row(f"{fold.number:02d}", Text(fold.held_out), *map(Text, facts), *shown)
    return table


def _fold_cell(row: Row, measure: str, show: Callable[[str | int | Value], str]) -> Text:
    if _is_missing(row):
        return Text("MISSING", style=_ALARM)
    wrong = row["correct"] == "no"
    return Text(show(row[measure]) + (" x" if wrong else "  "), style="red" if wrong else "")


def _is_missing(row: Row) -> bool:
    return isinstance(row["cells"], Value)


def _summary(rows: Sequence[Row], notes: _Notes) -> Table:
    table = _table([""], [_heading(row) for row in rows])
    folds = [f"{row['folds_done']}/{row['folds_expected']}" for row in rows]
    marks = ["" if row["status"] == "complete" else "\nPARTIAL" for row in rows]
    alarms = [_ALARM if mark else "" for mark in marks]
    table.add_row("folds", *map(Text, map(str.__add__, folds, marks), alarms))
    for key in (key for key in rows[0] if key not in _NOT_SHOWN and not is_end(key, rows[0])):
        table.add_row(_measure(key), *(Text(notes.show(row[key]) + _interval(row, key)) for row in rows))
    return table


def _beside_nuisance(reduction: Reduction, notes: _Notes) -> Table:
    """Give what colour, size, shape and number of cells achieve, and beneath them the backbones."""
    by_patient = reduction.plan.level == "patient"
    table = _table([""], ["sensitivity", "specificity", f"F1 {reduction.plan.classes[1]}", "AUC"])
    nuisance = reduction.cohort.nuisance if reduction.cohort else {}
    for name, results in {**nuisance, **reduction.results}.items():
        own = list(results.values())
        if not own:
            continue
        counts = call_counts(own) if by_patient else sum((fold.counts for fold in own), Counts())
        auc = patient_auc(own) if by_patient else metrics.mean([fold.auc for fold in own])[0]
        values = (metrics.sensitivity(counts), metrics.specificity(counts), metrics.f1_positive(counts), auc)
        table.add_row(_short(name), *(Text(notes.show(value)) for value in values))
    return table


def _interval(row: Row, key: str) -> str:
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    if not isinstance(low, Value) or not isinstance(high, Value) or low.number is None or high.number is None:
        return ""
    return f" ({low.number:.2f}-{high.number:.2f})"


def _table(facts: Sequence[str], results: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in facts:
        table.add_column(name, overflow="fold")
    for name in results:
        table.add_column(Text(name), justify="right", overflow="fold")
    return table


def _heading(row: Row) -> str:
    rule = str(row.get("rule", "any"))
    return _short(row["backbone"]) + ("" if rule == "any" else f"\n{rule}".replace("_", "\n"))


def _measure(key: str) -> Text:
    named = f"patients with {key[2:]}" if key.startswith("n_") else key
    for plain, usual in (("_", " "), ("f1", "F1"), ("mcc", "MCC"), ("auc", "AUC")):
        named = named.replace(plain, usual)
    return Text(named)


def _expected_folds(reduction: Reduction) -> int:
    return len(reduction.plan.backbones) * len(reduction.plan.folds)


def _missing_lines(missing: Sequence[Missing], expected: int) -> Iterator[str]:
    yield f"{len(missing)} of {expected} folds missing:"
    for gap in missing[:LISTED]:
        yield f"  {_short(gap.backbone)} fold {gap.fold:02d} ({gap.patient}): {gap.reason}"
    if len(missing) > LISTED:
        yield f"  and {len(missing) - LISTED} more, in results/missing.csv"


def _short(backbone: object) -> str:
    return short_name(str(backbone))


def _plain(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {key: value.number if isinstance(value, Value) else value for key, value in row.items()}
    absent = {key: value.reason for key, value in row.items() if isinstance(value, Value) and value.number is None}
    return {**plain, "undefined": absent}

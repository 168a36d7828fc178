"""Panels and tables of subgroups, tests, calibration, comparison and influence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msbatch.layout import folder_name
from msbatch.results.metrics import Value
from msbatch.results.reduction import Reduction
from msbatch.results.report.forest import compare_rows
from msbatch.results.report.grid import Grid, make_grid, say
from msbatch.results.report.svg import Figure
from msbatch.results.rows import Row
from msbatch.results.subgroups import Subgroups
from msbatch.results.tables import Table

INFLUENTIAL = 12  # patients whose influence is shown

_CHANGES = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "mcc": "MCC"}
_SUBGROUPS = (
    "Share of patients called correctly among those with each value, with exact 95 % intervals over patients. A value "
    "whose intervals are wide has few patients; n/a: no patient of that class has the value."
)
_MEASURES = {
    "cells_positive": "share of cells, positive patients",
    "cells_negative": "share of cells, negative patients",
}


def subgroup_figures(reduction: Reduction) -> Iterator[Figure]:
    """Draw sensitivity and specificity at each level of every covariate."""
    for number, (backbone, own) in enumerate(_subgroups(reduction)):
        rows = [
            {
                "name": level.name,
                **_ends(
                    "sensitivity", level.sensitivity, level.sensitivity_interval.low, level.sensitivity_interval.high
                ),
                **_ends(
                    "specificity", level.specificity, level.specificity_interval.low, level.specificity_interval.high
                ),
            }
            for level in own.levels
        ]
        name = f"subgroups-{number:02d}-{folder_name(backbone)}"
        yield compare_rows(name, f"{backbone}, by {own.covariate}", _SUBGROUPS, rows)


def gap_grid(table: Table) -> Grid:
    """Lay out the tests of gaps between subgroups."""
    rows = [row | {"measure": _MEASURES.get(str(row["measure"]), str(row["measure"]))} for row in table[1]]
    columns = {
        "backbone": "backbone",
        "covariate": "covariate",
        "measure": "measure",
        "gap": "gap",
        "p": "p",
        "arrangements": "arrangements",
        "exact": "all of them",
        "missing": "patients without",
    }
    return make_grid("Gaps between subgroups", columns, rows, source="gaps.csv")


def nuisance_grid(table: Table) -> Grid:
    """Lay out how far one gets without looking at a cell."""
    columns = {
        "row": "model on",
        "patients": "patients",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "macro_f1": "macro-F1",
        "patient_auc": "AUC over patients",
        "cells_macro_f1": "macro-F1 over cells",
        "without": "patients without a model",
    }
    rows = [row if row["patients"] else _without_model(row) for row in table[1]]
    return make_grid("What a model on one kind of measurement alone gives", columns, rows, source="nuisance.csv")


def test_grid(table: Table) -> Grid:
    """Lay out the tests that the verdict rests on, and those beside it."""
    columns = {
        "question": "question",
        "images": "asked of",
        "p": "p",
        "p_holm": "p, Holm",
        "floor": "floor of p",
        "permutations": "permutations",
        "exact": "all of them",
        "statistic": "statistic",
    }
    return make_grid("Tests", columns, table[1], source="tests.csv")


def calibration_grid(table: Table) -> Grid:
    """Lay out how far probabilities agree with classes."""
    columns = {
        "backbone": "backbone",
        "classes": "classes",
        "cells": "cells",
        "prevalence": "prevalence",
        "error": "calibration error",
        "brier": "Brier score",
        "intercept": "intercept",
        "slope": "slope",
    }
    return make_grid("Agreement of probabilities and classes", columns, table[1], source="calibration.csv")


def comparison_grid(table: Table) -> Grid | None:
    """Lay out backbones against each other; None where there is one only."""
    columns = {
        "first": "first",
        "second": "second",
        "patients": "patients",
        "differing": "differing",
        "difference": "difference",
        "p": "p, sign flips",
        "p_holm": "Holm",
        "wilcoxon": "p, Wilcoxon",
        "wilcoxon_holm": "Holm",
        "floor": "floor of p",
    }
    return make_grid("Pairs of backbones", columns, table[1], source="comparison.csv") if table[1] else None


def best_words(reduction: Reduction) -> str:
    """Say which backbone does best, and what to bear in mind where it was chosen."""
    best = reduction.comparison.best
    if best is None or best.score.number is None:
        return f"No backbone could be scored: {best.score.reason if best else 'no predictions'}."
    score = f"{' and '.join(best.names)} called {say(best.score)} of a patient's cells correctly"
    over = f", averaged within class, then over classes, over {best.patients} patients"
    if not best.optimistic:
        return f"{score}{over}. There is one backbone, so nothing was chosen."
    return (
        f"Best of {best.backbones}: {score}{over}. This is optimistic, since it was chosen on the same folds; the mean "
        f"of all backbones is {say(best.mean)}."
    )


def influence_grid(table: Table) -> Grid | None:
    """Lay out the patients without whom the summaries over cells would change most; None without any."""
    rows = [row for row in table[1] if row["over"] == "cells"]
    largest = sorted(rows, key=lambda row: -_size(row["macro_f1"]))[:INFLUENTIAL]
    columns = {"backbone": "backbone", "patient": "patient"} | _CHANGES
    return (
        make_grid("Influence of single patients", columns, largest, source="influence.csv", signed=True)
        if rows
        else None
    )


def fold_grid(reduction: Reduction) -> Grid:
    """Lay out every fold."""
    columns = {"backbone": "backbone", "fold": "fold", "patient": "patient", "class": "class", "cells": "cells"}
    if reduction.plan.level == "patient":
        columns |= {"recall": "recall", "own_class_f1": "F1 of own class", "mean_score": "mean logit"}
        columns |= {"patient_call": "call", "vote_call": "vote", "correct": "right"}
    else:
        columns |= {"sensitivity": "sensitivity", "specificity": "specificity", "f1": "F1", "auc": "AUC within"}
        columns |= {"mean_score": "mean logit"}
    marked = [_is_odd(reduction, row) for row in reduction.folds]
    return make_grid("All folds", columns, reduction.folds, source="folds.csv", marked=marked)


def _is_odd(reduction: Reduction, row: Row) -> bool:
    judged: Mapping[int, bool] = {own.fold: own.odd for own in reduction.backbones[str(row["backbone"])].odd}
    fold = row["fold"]
    return row["correct"] == "no" or (isinstance(fold, int) and judged.get(fold, False))


def _without_model(row: Row) -> Row:
    none = Value(None, str(row["without"]))
    return {key: none if isinstance(value, Value) else value for key, value in row.items()} | {"without": ""}


def _size(value: str | int | Value) -> float:
    return abs(value.number) if isinstance(value, Value) and value.number is not None else 0.0


def _subgroups(reduction: Reduction) -> Iterator[tuple[str, Subgroups]]:
    for name, backbone in reduction.backbones.items():
        yield from ((name, own) for own in backbone.subgroups if len(own.levels) > 1)


def _ends(measure: str, value: Value, low: Value, high: Value) -> dict[str, Value]:
    return {measure: value, f"{measure}_low": low, f"{measure}_high": high}

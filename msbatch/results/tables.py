"""Every table of a run, as a heading and rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from msbatch.results.comparison import holm
from msbatch.results.covariates import Covariate
from msbatch.results.evidence import MEASURED, associations
from msbatch.results.folds import FoldResult
from msbatch.results.frozen import Probe
from msbatch.results.metrics import Value, auc
from msbatch.results.oddwords import describe
from msbatch.results.permutation import PermutationTest
from msbatch.results.reduction import Reduction
from msbatch.results.rows import Row, cell_row, patient_rows
from msbatch.results.subgroups import Level, Outcome, Subgroups

Table = tuple[list[str], list[Row]]

DIGITS = 10  # of numbers that come from linear algebra, whose last digits depend on the processor


def tables(reduction: Reduction) -> dict[str, Table]:
    """Give all tables, by name; the same rows in the same order for the same predictions."""
    return {
        "folds": _table(reduction.folds),
        "cells": _table(reduction.cells),
        "patients": _table(reduction.patients),
        "missing": _table([vars(gap) for gap in reduction.missing], ("backbone", "fold", "patient", "reason")),
        "comparison": _table(list(_pair_rows(reduction)), ("first", "second")),
        "oddfolds": _table(list(_odd_rows(reduction)), ("backbone", "fold")),
        "influence": _table(list(_influence_rows(reduction)), ("backbone", "over", "patient")),
        "subgroups": _table(list(_level_rows(reduction)), ("backbone", "covariate", "level")),
        "gaps": _table(list(_gap_rows(reduction)), ("backbone", "covariate", "measure")),
        "calibration": _table(list(_calibration_rows(reduction)), ("backbone",)),
        "calibration_bins": _table(list(_bin_rows(reduction)), ("backbone",)),
        "nuisance": _table(list(_nuisance_rows(reduction)), ("row",)),
        "covariates": _table(list(_covariate_rows(reduction)), ("covariate",)),
        "probe": _table([_probe_row(probe) for probe in reduction.probes], ("backbone", "weights", "pair_auc")),
        "tests": _table(list(_test_rows(reduction)), ("question", "images")),
    }


def verdict_json(reduction: Reduction) -> dict[str, Any]:
    """Give the verdict and the paragraphs on odd folds as JSON values."""
    cohort = reduction.cohort
    odd = {name: odd_sentences(reduction, name) for name in reduction.backbones}
    if cohort is None:
        return {"complete": reduction.complete, "category": None, "reason": reduction.no_cohort, "odd_folds": odd}
    said = cohort.verdict
    return {
        "complete": reduction.complete,
        "category": said.category.value,
        "sentence": said.sentence,
        "further": list(said.further),
        "not_exceeded": list(said.not_exceeded),
        "odd_folds": odd,
    }


def headline(reduction: Reduction) -> str:
    """Give the verdict in a sentence, or why there is none; of a partial run, that it rests on no missing fold."""
    if reduction.cohort is None:
        return f"No verdict: {reduction.no_cohort}"
    sentence = reduction.cohort.verdict.sentence
    return f"{sentence} (The missing folds took no part in this.)" if reduction.missing_folds else sentence


def odd_sentences(reduction: Reduction, backbone: str) -> list[str]:
    """Give what can be said of a backbone's odd folds."""
    own = reduction.backbones[backbone]
    covariates = reduction.cohort.covariates if reduction.cohort else []
    return describe(backbone, own.odd, own.influence["cells"], covariates)


def rounded(value: Value) -> Value:
    """Give a number that came from linear algebra to as many digits as are the same on every processor."""
    return value if value.number is None else Value(float(f"{value.number:.{DIGITS}g}"))


def patient_auc(folds: Iterable[FoldResult]) -> Value:
    """Give the area under the ROC curve over patients of models whose classes were balanced in training.

    Their offsets then do not lean against the held-out label, which is what pooling over folds asks for.
    """
    own = [fold for fold in folds if fold.label is not None]
    if not own:
        return Value(None, "no patient has a call")
    labels, scores = np.array([fold.label for fold in own], np.uint8), np.array([fold.score for fold in own])
    return auc(labels, np.round(scores, DIGITS))


def _table(rows: Sequence[Row], header: Sequence[str] = ()) -> Table:
    return (list(rows[0]) if rows else list(header)), list(rows)


def _pair_rows(reduction: Reduction) -> Iterator[Row]:
    for pair in reduction.comparison.pairs:
        yield {**vars(pair), "exact": "yes" if pair.exact else "no", "seeds": reduction.comparison.seeds}


def _odd_rows(reduction: Reduction) -> Iterator[Row]:
    covariates = reduction.cohort.covariates if reduction.cohort else []
    for name, backbone in reduction.backbones.items():
        for fold in backbone.odd:
            own: Row = {"backbone": name, "fold": fold.fold, "patient": fold.patient}
            said = {"recall": fold.recall, "others": fold.others, "bound": fold.bound, "chance": fold.chance}
            own |= {key: rounded(value) for key, value in said.items()} | {"odd": "yes" if fold.odd else "no"}
            for each in covariates:
                own[f"covariate {each.name}" if each.name in own else each.name] = each.values.get(fold.patient, "")
            yield own


def _influence_rows(reduction: Reduction) -> Iterator[Row]:
    for name, backbone in reduction.backbones.items():
        for over, patients in backbone.influence.items():
            for patient, changes in patients.items():
                yield {"backbone": name, "over": over, "patient": patient, **changes}


def _level_rows(reduction: Reduction) -> Iterator[Row]:
    for name, each in _subgroups(reduction):
        yield from (_level_row(name, each.covariate, level) for level in each.levels)


def _level_row(backbone: str, covariate: str, level: Level) -> Row:
    positive, negative = level.sensitivity_interval, level.specificity_interval
    return {
        "backbone": backbone,
        "covariate": covariate,
        "level": level.name,
        "positives": level.positives,
        "negatives": level.negatives,
        "sensitivity": level.sensitivity,
        "sensitivity_low": positive.low,
        "sensitivity_high": positive.high,
        "specificity": level.specificity,
        "specificity_low": negative.low,
        "specificity_high": negative.high,
    }


def _gap_rows(reduction: Reduction) -> Iterator[Row]:
    for name, each in _subgroups(reduction):
        for measure, outcome in each.gaps.items():
            head: Row = {"backbone": name, "covariate": each.covariate, "missing": each.missing, "measure": measure}
            yield head | _outcome(outcome, "gap")


def _subgroups(reduction: Reduction) -> Iterator[tuple[str, Subgroups]]:
    return ((name, each) for name, backbone in reduction.backbones.items() for each in backbone.subgroups)


def _outcome(outcome: Outcome, name: str) -> Row:
    exact = "yes" if outcome.exact else "no"
    return {name: outcome.statistic, "p": outcome.p, "arrangements": outcome.arrangements, "exact": exact}


def _calibration_rows(reduction: Reduction) -> Iterator[Row]:
    for name, backbone in reduction.backbones.items():
        for own in backbone.calibration:
            numbers = {"error": own.error, "brier": own.brier, "intercept": own.intercept, "slope": own.slope}
            row: Row = {"backbone": name, "classes": "weighted equally" if own.balanced else "as they are"}
            row |= {"cells": own.cells, "prevalence": own.prevalence}
            yield row | {key: rounded(value) for key, value in numbers.items()}


def _bin_rows(reduction: Reduction) -> Iterator[Row]:
    for name, backbone in reduction.backbones.items():
        for own in backbone.calibration:
            for each in own.bins:
                row: Row = {"backbone": name, "classes": "weighted equally" if own.balanced else "as they are"}
                numbers = {"low": each.low, "high": each.high, "predicted": each.predicted, "observed": each.observed}
                yield row | {"cells": each.cells} | {key: rounded(Value(own)) for key, own in numbers.items()}


def _nuisance_rows(reduction: Reduction) -> Iterator[Row]:
    cohort, plan = reduction.cohort, reduction.plan
    for name, results in cohort.nuisance.items() if cohort else ():
        (first, *_), cells = patient_rows(plan, name, results), cell_row(plan, name, results)
        reason = cohort.unscored.get(name, "") if cohort else ""
        head: Row = {"row": name, "patients": len(results), "without": reason, "cells": cells["cells"]}
        over_cells = {key: cells[key] for key in ("sensitivity", "specificity", "macro_f1")}
        skipped = {"backbone", "rule", "patients", "folds_done", "folds_expected", "status"}
        yield (
            head
            | {key: value for key, value in first.items() if key not in skipped}
            | {f"cells_{key}": value for key, value in over_cells.items()}
            | {"patient_auc": patient_auc(results.values() if plan.level == "patient" else ())}
        )


def _covariate_rows(reduction: Reduction) -> Iterator[Row]:
    cohort = reduction.cohort
    for own in cohort.covariates if cohort else ():
        yield {
            "covariate": own.name,
            "kind": own.kind,
            "missing": own.missing,
            "values": len(set(own.values.values())),
            "p_label": _p_label(own, cohort.tests.covariates if cohort else {}),
            "separates_classes": "yes" if cohort and own.name in cohort.tests.separating else "no",
        }


def _p_label(covariate: Covariate, found: Mapping[str, Outcome]) -> Value:
    if covariate.name in found:
        return rounded(found[covariate.name].p)
    return Value(None, f"{covariate.kind}: nothing to test" if not covariate.testable else "cells carry the labels")


def _probe_row(probe: Probe) -> Row:
    return {**vars(probe), "penalty": rounded(Value(probe.penalty)), "pair_auc": rounded(probe.pair_auc)}


def _test_rows(reduction: Reduction) -> Iterator[Row]:
    if reduction.cohort is None:
        return
    tests, refits = reduction.cohort.tests, reduction.cohort.refits
    yield from _tests("image and label are associated", associations(tests, refits))
    yield from _tests("image and label are associated", {MEASURED: tests.measured})
    for row, own in tests.beyond.items():
        yield from _tests(f"beyond {row}", own)
    for name, own in tests.readable.items():
        yield from _tests(f"{name} can be read from images", own)


def _tests(question: str, tests: Mapping[str, PermutationTest]) -> Iterator[Row]:
    corrected = holm([test.p for test in tests.values()])
    for (images, test), p_holm in zip(tests.items(), corrected, strict=True):
        numbers = {"statistic": test.statistic, "p": test.p, "p_holm": p_holm, "floor": Value(test.floor)}
        row: Row = {"question": question, "images": images, **{key: rounded(own) for key, own in numbers.items()}}
        yield row | {"permutations": test.permutations, "exact": "yes" if test.exact else "no"}

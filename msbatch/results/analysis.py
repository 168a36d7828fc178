"""Each backbone by itself, backbones against each other, and what the store adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from msbatch.plan import Plan, Task, arm_name
from msbatch.predictions import Predictions
from msbatch.results.calibration import Calibration, calibrate
from msbatch.results.comparison import BestOf, Pair, best_of, compare
from msbatch.results.covariates import Covariate, read_covariates
from msbatch.results.evidence import Tests, evidence, run_tests
from msbatch.results.folds import FoldResult, call_counts, summarise
from msbatch.results.intervals import Interval
from msbatch.results.metrics import Counts, Value
from msbatch.results.nuisance import fitted_on, nuisance_rows
from msbatch.results.oddfold import OddFold, influence, odd_folds
from msbatch.results.permutation import PermutationTest
from msbatch.results.refits import compare_refits
from msbatch.results.rows import Row
from msbatch.results.subgroups import Subgroups, subgroups
from msbatch.results.subjects import Subjects
from msbatch.results.verdict import Verdict, judge

Folds = Mapping[int, FoldResult]


@dataclass(frozen=True)
class Backbone:
    """What is looked at for each backbone by itself.

    Attributes
    ----------
    odd : list of OddFold
        Every fold, odd or not.
    influence : dict of str to dict
        What each metric would change by without each patient, over "cells", and "patients" where each has one call.
    calibration : list of Calibration
        Of all cells as they are, then with each class given half of the weight.
    subgroups : list of Subgroups
        By every covariate that is testable.
    """

    odd: list[OddFold]
    influence: dict[str, dict[str, dict[str, Value]]]
    calibration: list[Calibration]
    subgroups: list[Subgroups]


@dataclass(frozen=True)
class Cohort:
    """What the store adds to the predictions.

    Attributes
    ----------
    subjects : Subjects
        The patients.
    covariates : list of Covariate
        Every further column of the cohort's table.
    nuisance : dict of str to dict of int to FoldResult
        What a model on colour, size, shape or count alone calls each held-out patient.
    unscored : dict of str to str
        Why a row has no model, of some or all patients.
    tests, refits
        What the verdict rests on; refits of backbones by their names.
    verdict : Verdict
        And in words.
    """

    subjects: Subjects
    covariates: list[Covariate]
    nuisance: dict[str, dict[int, FoldResult]]
    unscored: dict[str, str]
    tests: Tests
    refits: dict[str, PermutationTest]
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Backbones against each other, and over how many seeds each was averaged."""

    seeds: int = 1
    pairs: list[Pair] = field(default_factory=list)
    best: BestOf | None = None


def look_at(
    plan: Plan, folds: Folds, predictions: Mapping[Task, Predictions], covariates: Sequence[Covariate]
) -> Backbone:
    """Look at one backbone.

    Parameters
    ----------
    plan : Plan
        Of the run.
    folds : mapping of int to FoldResult
        Of this backbone, as far as they are there.
    predictions : mapping of Task to Predictions
        The same, cell by cell.
    covariates : sequence of Covariate
        To split patients by.
    """
    own = list(folds.values())
    cells = {fold.patient: fold.counts for fold in own}
    calls = {fold.patient: call_counts([fold]) for fold in own}
    split = [each for each in covariates if each.testable and plan.level == "patient"]
    return Backbone(
        odd=odd_folds(own),
        influence={"cells": influence(cells)} | ({"patients": influence(calls)} if plan.level == "patient" else {}),
        calibration=_calibrate([own for task, own in predictions.items() if not task.frozen]),
        subgroups=[subgroups(own, each.name, each.levels, seed=plan.seed) for each in split],
    )


def compare_backbones(plan: Plan, arms: Mapping[str, Folds]) -> Comparison:
    """Compare all backbones that have any fold, each averaged over its seeds.

    Parameters
    ----------
    plan : Plan
        Of the run.
    arms : mapping of str to mapping of int to FoldResult
        All that was trained under true labels.
    """
    there = {name: own for name in plan.backbones if (own := _over_seeds(plan, arms, name))}
    if not there:
        return Comparison(plan.seeds)
    return Comparison(plan.seeds, compare(there, seed=plan.seed), best_of(there))


def _over_seeds(plan: Plan, arms: Mapping[str, Folds], backbone: str) -> list[FoldResult]:
    """Pool each fold's calls over seeds, so that its share of correct calls is their mean; of folds that have all."""
    names = (arm_name(backbone, repeat, None) for repeat in range(plan.seeds))
    seeds = [arms[name] for name in names if name in arms]  # a frozen backbone has one
    shared = set.intersection(*(set(folds) for folds in seeds))
    return [
        replace(seeds[0][fold], counts=sum((folds[fold].counts for folds in seeds), Counts()))
        for fold in sorted(shared)
    ]


def study_cohort(
    plan: Plan, subjects: Subjects, predictions: Mapping[Task, Predictions], summaries: Sequence[Row]
) -> Cohort:
    """Run what needs the store: nuisance models, tests, and the verdict.

    Parameters
    ----------
    plan : Plan
        Of the run.
    subjects : Subjects
        From the store.
    predictions : mapping of Task to Predictions
        Those under permuted labels test the backbones.
    summaries : sequence of Row
        Of the backbones, to be named beside the verdict.
    """
    tests = run_tests(subjects, plan.probe, seed=plan.seed)
    refits = compare_refits(plan, predictions)
    nuisance, unscored = _nuisance(plan, subjects)
    return Cohort(
        subjects=subjects,
        covariates=read_covariates(subjects.attributes),
        nuisance=nuisance,
        unscored=unscored,
        tests=tests,
        refits=refits,
        verdict=judge(evidence(subjects, tests, estimates(summaries), refits, plan.trained)),
    )


def estimates(summaries: Sequence[Row]) -> dict[str, tuple[Value, Interval]]:
    """Give sensitivity and specificity of every backbone, as they are named beside the verdict."""
    found = {}
    for row in summaries:
        for name in ("sensitivity", "specificity"):
            value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
            if isinstance(value, Value) and isinstance(low, Value) and isinstance(high, Value):
                found[f"{name} of {row['backbone']} {_over(row)}"] = (
                    value,
                    Interval(low, high, str(row["intervals"])),
                )
    return found


def _over(row: Row) -> str:
    if row["status"] == "complete":
        return "over patients"
    return f"over {row['folds_done']} of {row['folds_expected']} patients, partial"


def _calibrate(predictions: Sequence[Predictions]) -> list[Calibration]:
    """Compare probabilities with outcomes; scores of a frozen backbone's head are none."""
    if not predictions:
        return []
    labels = np.concatenate([np.empty(0, np.uint8), *(own.labels for own in predictions)])
    logits = np.concatenate([np.empty(0), *(own.logits for own in predictions)])
    return [calibrate(labels, logits, balanced=balanced) for balanced in (False, True)]


def _nuisance(plan: Plan, subjects: Subjects) -> tuple[dict[str, dict[int, FoldResult]], dict[str, str]]:
    cells = subjects.cells
    rows = nuisance_rows(cells, fitted_on(plan))
    truth = {fold.held_out: cells.labels[cells.groups == fold.held_out] for fold in plan.folds}
    numbers = {fold.held_out: fold.number for fold in plan.folds}
    results = {
        row: {
            numbers[patient]: summarise(numbers[patient], Predictions(patient, truth[patient], logits))
            for patient, logits in own.logits.items()
        }
        for row, own in rows.items()
    }
    return results, {row: "; ".join(sorted(set(own.reasons.values()))) for row, own in rows.items() if own.reasons}

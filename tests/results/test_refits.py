"""Refits under permuted labels: the only p of a fine-tuned backbone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from runs import make_plan

from msbatch.plan import Plan, Relabelling, Task
from msbatch.predictions import Predictions
from msbatch.relabelling import relabelled
from msbatch.results.refits import compare_refits

LABELS = {f"P{number}": [number % 2] * 3 for number in range(12)}
MIXED = {f"P{number}": [0, 1, 1, 0, number % 2, 0] for number in range(6)}


def permuted(labels: Mapping[str, Sequence[int]], count: int) -> Plan:
    """Draw a plan with relabellings; their own folds do not matter here."""
    plan, rng = make_plan(labels), np.random.default_rng(5)
    more = []
    for number in range(1, count + 1):
        classes = rng.permutation([own[0] for own in labels.values()]).tolist()
        given: dict[str, Any] = {"labels": dict(zip(labels, classes, strict=True)), "seed": None}
        if plan.level == "cell":
            given = {"labels": {}, "seed": number}
        more.append(Relabelling(number=number, folds=(), **given))
    return plan.with_relabellings(more)


def predict(plan: Plan, labels: Mapping[str, Sequence[int]], true: float, refitted: float) -> dict[Task, Predictions]:
    """Predict labels in force, with a strength of its own for the true ones, in noise."""
    rng = np.random.default_rng(2)
    found = {}
    for task in plan.tasks:
        patient = plan.folds[task.fold].held_out
        own = np.array(labels[patient], np.uint8)
        relabelling = plan.relabelling_of(task)
        seen = own if relabelling is None else relabelled(relabelling, patient, own)
        strength = true if relabelling is None else refitted
        found[task] = Predictions(patient, own, strength * (2.0 * seen - 1) + rng.normal(size=len(own)))
    return found


@pytest.mark.parametrize("labels", [LABELS, MIXED])
def test_an_effect_that_permuted_labels_do_not_have_reaches_the_floor(labels: Mapping[str, Sequence[int]]) -> None:
    plan = permuted(labels, 19)
    (test,) = compare_refits(plan, predict(plan, labels, true=3, refitted=0)).values()
    assert test.p.number == test.floor == 1 / 20
    assert test.permutations == 19


@pytest.mark.parametrize("labels", [LABELS, MIXED])
def test_what_permuted_labels_give_as_well_is_no_evidence(labels: Mapping[str, Sequence[int]]) -> None:
    plan = permuted(labels, 19)
    (test,) = compare_refits(plan, predict(plan, labels, true=0, refitted=3)).values()
    assert test.p.number == 1


def test_trainings_that_lack_a_fold_do_not_count() -> None:
    plan = permuted(LABELS, 3)
    found = predict(plan, LABELS, true=3, refitted=0)
    gone = [task for task in found if task.relabelling == 2 and task.fold == 1]
    (test,) = compare_refits(plan, {task: own for task, own in found.items() if task not in gone}).values()
    assert test.permutations == 2
    without_true = {task: own for task, own in found.items() if task.relabelling or task.fold}
    (none,) = compare_refits(plan, without_true).values()
    assert none.p.number is None
    assert none.p.reason == "folds are missing"
    alone = {task: own for task, own in found.items() if task.relabelling is None}
    (none,) = compare_refits(plan, alone).values()
    assert none.p.reason == "no refit under permuted labels is whole"


def test_a_plan_without_permuted_labels_tests_nothing() -> None:
    plan = make_plan(LABELS)
    assert compare_refits(plan, predict(plan, LABELS, true=3, refitted=0)) == {}


def test_the_statistic_is_that_of_the_exact_head_over_patients() -> None:
    plan = permuted(LABELS, 1)
    found = predict(plan, LABELS, true=1, refitted=1)
    (test,) = compare_refits(plan, found).values()
    scores = {own.patient: own.logits.mean() for task, own in found.items() if task.relabelling is None}
    values, classes = np.array(list(scores.values())), np.array([LABELS[patient][0] for patient in scores])
    wanted = (values[classes == 1].mean() - values[classes == 0].mean()) / np.abs(values).mean()
    assert test.statistic.number == pytest.approx(wanted, abs=1e-12)

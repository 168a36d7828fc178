"""Backbones against each other over several seeds."""

import pytest
from runs import make_plan

from msbatch.plan import Plan
from msbatch.results.analysis import compare_backbones
from msbatch.results.folds import FoldResult
from msbatch.results.metrics import Counts, Value

LABELS = {f"P{number}": [number % 2] * 4 for number in range(6)}


def arm(plan: Plan, right: int, lost: tuple[int, ...] = ()) -> dict[int, FoldResult]:
    """Give folds in which so many of the four cells are called correctly."""
    found = {}
    for fold in plan.folds:
        label = LABELS[fold.held_out][0]
        counts = Counts(tp=right, fn=4 - right) if label else Counts(tn=right, fp=4 - right)
        found[fold.number] = FoldResult(fold.number, fold.held_out, label, counts, 1.0, Value(None))
    return {number: own for number, own in found.items() if number not in lost}


def test_each_backbone_counts_by_the_mean_of_its_seeds() -> None:
    plan = make_plan(LABELS, ["a", "b"]).with_seeds(2)
    arms = {"a": arm(plan, 4), "a.seed-1": arm(plan, 1), "b": arm(plan, 2), "b.seed-1": arm(plan, 2)}
    found = compare_backbones(plan, arms)
    assert found.seeds == 2
    assert found.pairs[0].difference.number == pytest.approx((4 + 1) / 8 - (2 + 2) / 8)


def test_a_fold_that_lacks_a_seed_is_left_out() -> None:
    plan = make_plan(LABELS, ["a", "b"]).with_seeds(2)
    arms = {"a": arm(plan, 4), "a.seed-1": arm(plan, 4, lost=(0,)), "b": arm(plan, 2), "b.seed-1": arm(plan, 2)}
    assert compare_backbones(plan, arms).pairs[0].patients == 5

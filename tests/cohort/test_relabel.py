"""Permuted labels: each arrangement once, the true one never, and everything drawn anew for them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import make_store

from msbatch.cohort.facts import PatientFacts
from msbatch.cohort.folds import draw_folds, draw_plan
from msbatch.cohort.relabel import relabel_cells, relabel_patients
from msbatch.errors import MsbatchError
from msbatch.plan import Plan, Relabelling
from msbatch.relabelling import relabelled
from msbatch.settings_file import parse_settings

seeds = st.integers(0, 2**31 - 1)

Cohort = dict[str, PatientFacts]


def cohort_of(classes: Mapping[str, int]) -> Cohort:
    """Give patients of these classes, each with a number of cells of their own."""
    sizes = enumerate(classes.items(), 3)
    return {name: PatientFacts({"control": size * (1 - label), "MS": size * label}) for size, (name, label) in sizes}


cohorts = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 1), min_size=4, max_size=9).filter(
    lambda classes: 2 <= sum(classes.values()) <= len(classes) - 2
)


def drawn(classes: Mapping[str, int], number: int, seed: int = 0) -> list[Relabelling]:
    return relabel_patients(cohort_of(classes), number, seed, lambda cohort: draw_folds(cohort, seed))


@given(cohorts, st.integers(0, 5), seeds)
def test_arrangements_are_distinct_and_keep_the_size_of_the_classes(
    classes: dict[str, int], number: int, seed: int
) -> None:
    found = drawn(classes, number, seed)
    arrangements = {tuple(sorted(own.labels.items())) for own in found}
    assert len({*arrangements, tuple(sorted(classes.items()))}) == number + 1
    assert [own.number for own in found] == list(range(1, number + 1))
    assert all(sum(own.labels.values()) == sum(classes.values()) for own in found)


@given(cohorts, seeds)
def test_folds_are_those_of_a_cohort_with_these_labels(classes: dict[str, int], seed: int) -> None:
    (only,) = drawn(classes, 1, seed)
    sizes = {name: sum(facts.cells.values()) for name, facts in cohort_of(classes).items()}
    permuted = {
        name: PatientFacts({"control": sizes[name] * (1 - label), "MS": sizes[name] * label})
        for name, label in only.labels.items()
    }
    assert only.folds == draw_folds(permuted, seed)


@given(cohorts, seeds)
def test_neither_the_order_of_the_cohort_nor_how_many_are_asked_for_matters(classes: dict[str, int], seed: int) -> None:
    backwards = dict(reversed(cohort_of(classes).items()))
    again = relabel_patients(backwards, 2, seed, lambda cohort: draw_folds(cohort, seed))
    assert drawn(classes, 4, seed)[:2] == again


def test_all_arrangements_can_be_had_and_no_more() -> None:
    classes = {"A": 0, "B": 1, "C": 0, "D": 1}
    assert len(drawn(classes, 5)) == 5
    with pytest.raises(MsbatchError, match="5 other ways") as refusal:
        drawn(classes, 6)
    assert "--permute-labels 5" in refusal.value.hint


def test_every_arrangement_is_as_likely() -> None:
    classes = {"A": 0, "B": 1, "C": 0, "D": 1}
    first = [tuple(drawn(classes, 1, seed)[0].labels.values()) for seed in range(300)]
    assert min(first.count(own) for own in set(first)) > 35  # of 60 expected
    assert len(set(first)) == 5


@given(st.dictionaries(st.text(min_size=1), st.lists(st.integers(0, 1), min_size=6, max_size=9), min_size=2), seeds)
def test_cells_are_permuted_within_patients_and_never_twice_alike(classes: dict[str, list[int]], seed: int) -> None:
    labels = {name: np.array([0, *own, 1], np.uint8) for name, own in classes.items()}
    found = relabel_cells(labels, 5, seed)
    under = [{name: tuple(relabelled(one, name, own)) for name, own in labels.items()} for one in found]
    true = {name: tuple(own) for name, own in labels.items()}
    assert len({tuple(one.items()) for one in [true, *under]}) == 6
    assert all(sum(one[name]) == sum(true[name]) for one in under for name in labels)
    assert relabel_cells(labels, 3, seed) == found[:3]


def test_all_arrangements_of_cells_can_be_had_and_no_more() -> None:
    labels = {"A": np.array([0, 1, 1], np.uint8), "B": np.array([1, 1], np.uint8), "C": np.array([0, 1], np.uint8)}
    assert len({one.seed for one in relabel_cells(labels, 5, 0)}) == 5
    with pytest.raises(MsbatchError, match="5 other ways"):
        relabel_cells(labels, 6, 0)


def plan_with(store: Path, **values: object) -> Plan:
    return draw_plan(store, parse_settings({"plan": values}, "test"))


def test_a_plan_records_the_label_of_every_patient_and_draws_rebalancing_for_it(tmp_path: Path) -> None:
    store = make_store(tmp_path / "cohort.h5", {f"P{i}": [i % 2] * (3 + i) for i in range(8)})
    plan = plan_with(store, permute_labels=3, rebalance=True)
    assert plan.arms == ["resnet50", "resnet50.labels-01", "resnet50.labels-02", "resnet50.labels-03"]
    for relabelling in plan.relabellings:
        assert sorted(relabelling.labels) == [fold.held_out for fold in plan.folds]
        for fold in relabelling.folds:
            (dropped,) = fold.dropped
            assert relabelling.labels[dropped] != relabelling.labels[fold.held_out]
            own = fold.counts["held_out"][plan.classes[relabelling.labels[fold.held_out]]]
            assert own == {"patients": 1, "cells": 3 + int(fold.held_out[1:])}


def test_only_arrangements_that_the_design_allows_are_drawn(tmp_path: Path) -> None:
    sexes = {f"P{i}": {"sex": "F" if i < 4 else "M"} for i in range(8)}
    store = make_store(tmp_path / "cohort.h5", {f"P{i}": [i % 2] * 3 for i in range(8)}, sexes)
    plan = plan_with(store, permute_labels=35, train_on="sex=F")  # 6 ways among the women times 6 among the men
    assert all(sum(own.labels[f"P{i}"] for i in range(4)) == 2 for own in plan.relabellings)
    with pytest.raises(MsbatchError, match="35 other ways that can be planned"):
        plan_with(store, permute_labels=36, train_on="sex=F")


def test_a_cell_labelled_plan_records_seeds(tmp_path: Path) -> None:
    store = make_store(tmp_path / "cells.h5", {f"P{i}": [0, 1, 1, 0] for i in range(4)})
    plan = plan_with(store, permute_labels=2)
    assert all(own.seed is not None and not own.labels and not own.folds for own in plan.relabellings)


def test_neither_seeds_nor_permuted_labels_are_part_of_the_identity(tmp_path: Path) -> None:
    store = make_store(tmp_path / "cohort.h5", {f"P{i}": [i % 2] * 3 for i in range(6)})
    assert plan_with(store, seeds=3, permute_labels=2).signature == plan_with(store).signature

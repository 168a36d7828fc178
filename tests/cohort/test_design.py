"""Who trains and validates under a design, by its laws."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import make_store

from msbatch.cohort.design import Design
from msbatch.cohort.facts import PatientFacts
from msbatch.cohort.folds import draw_folds, draw_plan
from msbatch.errors import MsbatchError
from msbatch.plan import Fold, Plan
from msbatch.settings_file import parse_settings

CONTROL, CASE, MIXED = (7, 0), (0, 9), (3, 4)
seeds = st.integers(0, 2**31 - 1)

Cohort = dict[str, PatientFacts]


def facts(cells: tuple[int, int], sex: str = "") -> PatientFacts:
    return PatientFacts({"control": cells[0], "MS": cells[1]}, sex)


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """Draw a cohort in which two patients of each class are women."""
    kinds = [(CONTROL, "f"), (CONTROL, "f"), (CASE, "f"), (CASE, "f")]
    kinds += draw(st.lists(st.tuples(st.sampled_from([CONTROL, CASE, MIXED]), st.sampled_from("fm")), max_size=8))
    names = draw(st.lists(st.text(min_size=1, max_size=4), min_size=len(kinds), max_size=len(kinds), unique=True))
    return {name: facts(*kind) for name, kind in zip(names, kinds, strict=True)}


designs = st.tuples(st.booleans(), st.booleans())


def folds_of(cohort: Cohort, seed: int, asked: tuple[bool, bool], number: int | None = None) -> tuple[Fold, ...]:
    rebalance, women = asked
    eligible = frozenset(name for name, own in cohort.items() if own.sex == "f") if women else None
    return draw_folds(cohort, seed, number, Design(rebalance, "sex=F" if women else "", eligible))


@given(cohorts(), seeds, designs, st.one_of(st.none(), st.integers(0, 5)))
def test_everyone_is_held_out_once_and_stands_in_one_part_at_most(
    cohort: Cohort, seed: int, asked: tuple[bool, bool], number: int | None
) -> None:
    folds = folds_of(cohort, seed, asked, number)
    assert [fold.held_out for fold in folds] == sorted(cohort)
    for fold in folds:
        parts = [fold.held_out, *fold.validation, *fold.training, *fold.dropped]
        others = {name for name, own in cohort.items() if not asked[1] or own.sex == "f"}
        assert sorted(parts) == sorted({*others, fold.held_out})
        for name in ("control", "MS"):
            assert any(cohort[patient].cells[name] for patient in fold.training)


@given(cohorts(), seeds, designs)
def test_one_of_the_other_class_is_dropped_for_whoever_would_have_trained(
    cohort: Cohort, seed: int, asked: tuple[bool, bool]
) -> None:
    for fold in folds_of(cohort, seed, asked):
        own = cohort[fold.held_out]
        trains = not asked[1] or own.sex == "f"
        assert len(fold.dropped) == (asked[0] and trains and len(own.classes) == 1)
        assert all(not cohort[patient].classes & own.classes for patient in fold.dropped)


def test_dropping_restores_the_share_of_the_classes() -> None:
    cohort = {f"P{i:02d}": facts(CASE if i % 2 else CONTROL) for i in range(12)}
    for fold in draw_folds(cohort, 0, 2, Design(rebalance=True)):
        rest = [cohort[patient].cells["MS"] > 0 for patient in (*fold.training, *fold.validation)]
        assert 2 * sum(rest) == len(rest) == 10


def test_who_is_dropped_is_a_lot_that_the_seed_decides() -> None:
    cohort = {f"P{i:02d}": facts(CASE if i % 2 else CONTROL) for i in range(40)}
    first, second = (draw_folds(cohort, seed, 2, Design(rebalance=True)) for seed in (0, 1))
    assert [fold.dropped for fold in first] != [fold.dropped for fold in second]
    assert len({fold.dropped for fold in first}) > 15
    shuffled = dict(reversed(list(cohort.items())))
    assert draw_folds(shuffled, 0, 2, Design(rebalance=True)) == first


def test_a_fold_that_would_lose_a_class_is_refused_with_who_is_left() -> None:
    cohort = {f"P{i}": facts(CASE if i % 2 else CONTROL) for i in range(8)}
    with pytest.raises(MsbatchError) as refusal:
        draw_folds(cohort, 0, 2, Design(train_on="sex=F", eligible=frozenset({"P0", "P1", "P2"})))
    assert refusal.value.problem == (
        "With P1 held out, --train-on sex=F leaves 2 of class control and 0 of class MS to train on."
    )
    assert refusal.value.hint


@pytest.fixture
def store(tmp_path: Path) -> Path:
    labels = {f"P{i}": [i % 2] * 3 for i in range(12)}
    sexes = {f"P{i}": {"Sex": "F" if i < 8 else "m", "batch": f"b{i % 3}"} for i in range(12)}
    return make_store(tmp_path / "cohort.h5", labels, sexes)


def plan_with(store: Path, values: Mapping[str, object]) -> Plan:
    return draw_plan(store, parse_settings({"plan": values}, "test"))


def test_a_group_is_named_in_any_case_and_everyone_is_held_out(store: Path) -> None:
    plan = plan_with(store, {"train_on": "SEX=f"})
    women = {f"P{i}" for i in range(8)}
    assert len(plan.folds) == 12
    assert all({*fold.training, *fold.validation} == women - {fold.held_out} for fold in plan.folds)
    assert plan.settings["train_on"] == "SEX=f"


@pytest.mark.parametrize(
    ("values", "problem", "hint"),
    [
        ({"balance": ["class", "batsh"]}, "The cohort has no column batsh.", "It has: Sex, batch."),
        ({"train_on": "site=2"}, "The cohort has no column site.", "It has: Sex, batch."),
        ({"train_on": "sex=x"}, "No patient has sex=x.", "Values of sex: f, m."),
    ],
)
def test_what_the_cohort_does_not_have_is_refused(
    store: Path, values: dict[str, object], problem: str, hint: str
) -> None:
    with pytest.raises(MsbatchError) as refusal:
        plan_with(store, values)
    assert (refusal.value.problem, refusal.value.hint) == (problem, hint)


def test_a_design_is_part_of_the_identity_and_the_default_is_not(store: Path) -> None:
    asked = [{}, {"balance": ["class", "sex"]}, {"rebalance": True}, {"train_on": "sex=F"}]
    plans = [plan_with(store, values) for values in asked]
    assert len({plan.signature for plan in plans}) == 4
    assert plan_with(store, {"balance": ["class"], "rebalance": False}).signature == plans[0].signature
    assert not {"balance", "rebalance", "train_on"} & set(plans[0].settings)
    assert plans[1].settings["balance"] == ["class", "sex"]

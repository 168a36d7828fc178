"""The laws of leave-one-patient-out folds, on drawn cohorts and on stores."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from runs import make_store

from msbatch.cohort.facts import PatientFacts
from msbatch.cohort.folds import draw_folds, draw_plan
from msbatch.config import Settings
from msbatch.errors import MsbatchError
from msbatch.files import hash_beside, sha256
from msbatch.settings_file import parse_settings

Cohort = dict[str, PatientFacts]

CONTROL, CASE, MIXED = (7, 0), (0, 9), (3, 4)


def facts(cells: tuple[int, int], sex: str = "") -> PatientFacts:
    return PatientFacts({"control": cells[0], "MS": cells[1]}, sex)


def holds_both(patients: Iterable[str], cohort: Mapping[str, PatientFacts]) -> bool:
    own = [cohort[patient].cells for patient in patients]
    return all(any(cells[name] for cells in own) for name in ("control", "MS"))


def sexes(patients: Iterable[str], cohort: Mapping[str, PatientFacts]) -> set[str]:
    return {cohort[patient].sex for patient in patients} - {""}


@st.composite
def cohorts(draw: st.DrawFn, most: int = 12) -> Cohort:
    kinds = draw(st.sampled_from([(CONTROL, CASE), (CONTROL, CASE, MIXED), (MIXED,)]))
    patient = st.builds(facts, st.sampled_from(kinds), st.sampled_from(["f", "m", ""]))
    names = draw(st.lists(st.text(min_size=1, max_size=5), min_size=4, max_size=most, unique=True))
    cohort = {name: draw(patient) for name in names}
    for place in (0, 1):
        assume(sum(list(own.cells.values())[place] > 0 for own in cohort.values()) > 1)
    return cohort


seeds = st.integers(0, 2**31 - 1)
numbers = st.one_of(st.none(), st.integers(0, 6))


@given(cohorts(), seeds, numbers)
def test_every_patient_is_held_out_once_and_stands_in_one_part(cohort: Cohort, seed: int, number: int | None) -> None:
    folds = draw_folds(cohort, seed, number)
    assert [fold.held_out for fold in folds] == sorted(cohort)
    assert [fold.number for fold in folds] == list(range(len(cohort)))
    for fold in folds:
        assert sorted([fold.held_out, *fold.validation, *fold.training]) == sorted(cohort)


@given(cohorts(), seeds, numbers)
def test_training_has_both_classes_and_validation_wherever_that_is_possible(
    cohort: Cohort, seed: int, number: int | None
) -> None:
    at_most = 2 if number is None else min(number, 2)  # two patients can always hold both classes, if any can
    for fold in draw_folds(cohort, seed, number):
        rest = set(cohort) - {fold.held_out}
        subsets = (set(some) for size in range(1, at_most + 1) for some in itertools.combinations(rest, size))
        possible = any(holds_both(some, cohort) and holds_both(rest - some, cohort) for some in subsets)
        assert holds_both(fold.training, cohort)
        assert holds_both(fold.validation, cohort) == possible == fold.early_stopping


@given(cohorts(), seeds, numbers)
def test_validation_has_the_number_asked_for_unless_training_would_lose_a_class(
    cohort: Cohort, seed: int, number: int | None
) -> None:
    wanted = 2 if number is None else number
    for fold in draw_folds(cohort, seed, number):
        removable = [p for p in fold.training if holds_both(set(fold.training) - {p}, cohort)]
        assert len(fold.validation) == wanted or (len(fold.validation) < wanted and not removable)


@given(st.integers(3, 6), st.integers(3, 6), seeds, st.integers(2, 5))
def test_validation_has_both_sexes_where_both_classes_do(few: int, many: int, seed: int, number: int) -> None:
    sizes = {(CONTROL, "f"): few, (CONTROL, "m"): many, (CASE, "f"): many, (CASE, "m"): few}
    kinds = [kind for kind, size in sizes.items() for _ in range(size)]
    cohort = {f"P{i:02d}": facts(*kind) for i, kind in enumerate(kinds)}
    for fold in draw_folds(cohort, seed, number):
        assert sexes(fold.validation, cohort) == sexes(fold.training, cohort) == {"f", "m"}
        if number == 4:
            held = Counter((cohort[p].cells["MS"] > 0, cohort[p].sex) for p in fold.validation)
            assert set(held.values()) == {1}
            assert len(held) == 4


def test_a_class_of_one_sex_does_not_cost_validation_the_other_sex() -> None:
    cohort = {f"C{i}": facts(CONTROL, "f") for i in range(5)} | {f"M{i}": facts(CASE, "fm"[i % 2]) for i in range(8)}
    assert all(sexes(fold.validation, cohort) == {"f", "m"} for fold in draw_folds(cohort, 0))


@given(cohorts(), seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_cohort_does_not_matter(cohort: Cohort, seed: int, shuffler: random.Random) -> None:
    names = list(cohort)
    shuffler.shuffle(names)
    assert draw_folds({name: cohort[name] for name in names}, seed) == draw_folds(cohort, seed)


@given(cohorts(most=20), seeds)
@settings(max_examples=60)
def test_nobody_validates_in_nearly_every_fold(cohort: Cohort, seed: int) -> None:
    assume(len(cohort) >= 6)
    duty = Counter(patient for fold in draw_folds(cohort, seed, 2) for patient in fold.validation)
    assert max(duty.values()) <= len(cohort) / 2 + 1


@given(st.integers(3, 15), seeds, st.sampled_from([2, 4]))
def test_validation_duty_is_even_within_a_class(per_class: int, seed: int, number: int) -> None:
    assume(per_class > number / 2 + 1)
    cohort = {f"P{i:02d}": facts(CASE if i % 2 else CONTROL) for i in range(2 * per_class)}
    duty = Counter(patient for fold in draw_folds(cohort, seed, number) for patient in fold.validation)
    assert max(duty.values()) - min(duty[patient] for patient in cohort) <= 2


@given(st.integers(5, 10), st.integers(5, 10), seeds)
def test_four_validation_patients_are_two_of_each_class(controls: int, cases: int, seed: int) -> None:
    cohort = {f"P{i:02d}": facts(CONTROL if i < controls else CASE) for i in range(controls + cases)}
    for fold in draw_folds(cohort, seed, 4):
        assert {count["patients"] for count in fold.counts["validation"].values()} == {2}


def test_the_only_patient_of_a_sex_stays_in_training() -> None:
    cohort = {f"P{i}": facts(CASE if i % 2 else CONTROL, "f" if i == 3 else "m") for i in range(10)}
    assert all("P3" in fold.training for fold in draw_folds(cohort, 1) if fold.held_out != "P3")


def test_another_seed_draws_other_validation_patients() -> None:
    cohort = {f"P{i:02d}": facts(CASE if i % 2 else CONTROL) for i in range(12)}
    assert draw_folds(cohort, 0) != draw_folds(cohort, 1)


@pytest.mark.parametrize(("patients", "expected"), [(15, 2), (16, 4)])
def test_by_default_two_validate_and_four_from_sixteen_patients_on(patients: int, expected: int) -> None:
    cohort = {f"P{i:02d}": facts(CASE if i % 2 else CONTROL) for i in range(patients)}
    assert {len(fold.validation) for fold in draw_folds(cohort, 0)} == {expected}


def test_without_validation_patients_there_is_no_early_stopping() -> None:
    cohort = {f"P{i}": facts(CASE if i % 2 else CONTROL) for i in range(6)}
    folds = draw_folds(cohort, 0, 0)
    assert all(fold.validation == () and not fold.early_stopping and len(fold.training) == 5 for fold in folds)


def test_counts_name_patients_and_cells_of_each_class() -> None:
    cohort = {"A": facts(CONTROL), "B": facts(CASE), "C": facts(MIXED), "D": facts(MIXED)}
    counts = draw_folds(cohort, 0, 0)[0].counts
    assert counts["held_out"] == {"control": {"patients": 1, "cells": 7}, "MS": {"patients": 0, "cells": 0}}
    assert counts["training"] == {"control": {"patients": 2, "cells": 6}, "MS": {"patients": 3, "cells": 17}}
    assert counts["validation"]["MS"] == {"patients": 0, "cells": 0}


@pytest.mark.parametrize(
    ("cohort", "sentence"),
    [
        ([CONTROL, CASE, CASE], "too few patients: 3"),
        ([], "too few patients: 0"),
        ([CONTROL] * 5, "No patient has a cell of class MS"),
        ([CASE] * 5, "No patient has a cell of class control"),
        ([CONTROL] * 4 + [CASE], "Only one patient has class MS"),
        ([CONTROL] * 4 + [MIXED], "Only one patient has class MS"),
    ],
)
def test_a_cohort_that_cannot_be_planned_is_refused(cohort: list[tuple[int, int]], sentence: str) -> None:
    with pytest.raises(MsbatchError, match=sentence) as refusal:
        draw_folds({f"P{i}": facts(cells) for i, cells in enumerate(cohort)}, 0)
    assert refusal.value.hint


@pytest.fixture
def store(tmp_path: Path) -> Path:
    labels = {f"P{i}": [i % 2] * 3 for i in range(8)}
    return make_store(tmp_path / "cohort.h5", labels, {f"P{i}": {"Sex": "Ff Mm"[i // 2]} for i in range(8)})


def test_a_store_that_is_not_what_was_packed_is_not_planned(store: Path) -> None:
    hash_beside(store).write_text(f"{sha256(store)}  {store.name}\n")
    draw_plan(store, Settings())
    hash_beside(store).write_text(f"{'0' * 64}  {store.name}\n")
    with pytest.raises(MsbatchError, match="is not what was packed"):
        draw_plan(store, Settings())


def test_a_plan_records_where_it_comes_from(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.parent)
    plan = draw_plan(Path("cohort.h5"), parse_settings({"plan": {"seed": 5}, "compute": {"threads": 2}}, "test"))
    assert (plan.store.path, plan.store.sha256, plan.store.format) == (str(store), sha256(store), 1)
    assert (plan.classes, plan.level, plan.seed, plan.compute.threads) == (("control", "MS"), "patient", 5, 2)
    assert plan.weights_dir == str(store.parent / "weights")
    assert plan.settings == Settings().scientific()
    assert plan.folds == draw_plan(store, parse_settings({"plan": {"seed": 5}}, "test")).folds


def test_tasks_go_backbone_by_backbone_under_full_names(store: Path) -> None:
    names = ["swin", "resnet50", "swin_tiny_patch4_window7_224", "resnet50"]
    plan = draw_plan(store, parse_settings({"plan": {"backbones": names}}, "test"))
    assert plan.backbones == ["swin_tiny_patch4_window7_224", "resnet50"]
    assert [task.index for task in plan.tasks] == list(range(16))
    assert [(task.backbone, task.fold) for task in plan.tasks[7:9]] == [(plan.backbones[0], 7), ("resnet50", 0)]


def test_folds_and_identity_do_not_depend_on_backbones(store: Path) -> None:
    one, other = (draw_plan(store, parse_settings({"plan": {"backbones": [name]}}, "test")) for name in ("vit", "swin"))
    assert one.folds == other.folds
    assert one.signature == other.signature


@pytest.mark.parametrize("seed", range(5))
def test_sexes_are_read_in_any_case(store: Path, seed: int) -> None:
    plan = draw_plan(store, parse_settings({"plan": {"seed": seed}}, "test"))
    known = {"P0": "f", "P1": "f", "P2": "f", "P3": "f", "P6": "m", "P7": "m"}
    for fold in plan.folds:
        if fold.held_out not in ("P6", "P7"):  # else the only man left trains
            assert {known.get(patient) for patient in fold.validation} == {"f", "m"}


def test_a_patient_with_both_classes_makes_a_cell_labelled_plan(tmp_path: Path) -> None:
    store = make_store(tmp_path / "cells.h5", {f"P{i}": [0, 1, 1] for i in range(4)})
    plan = draw_plan(store, parse_settings({"plan": {"val_patients": 1}}, "test"))
    assert plan.level == "cell"
    assert all(fold.early_stopping for fold in plan.folds)
    assert plan.folds[0].counts["held_out"]["MS"] == {"patients": 1, "cells": 2}

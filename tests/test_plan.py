"""The frozen plan: its laws, its identity, and its way through a file."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from runs import make_plan

from msbatch.errors import MsbatchError
from msbatch.files import read_json, write_json
from msbatch.plan import Plan, load_plan, save_plan

LABELS = {f"P{i}": [i % 2] * 3 for i in range(6)}


@pytest.fixture
def plan() -> Plan:
    return make_plan(LABELS, ["resnet50", "swin"])


def changed(plan: Plan, **values: Any) -> Plan:
    return Plan.model_validate({**plan.model_dump(mode="json"), **values})


def test_a_plan_is_read_back_as_it_was(plan: Plan, tmp_path: Path) -> None:
    save_plan(tmp_path / "plan.json", plan)
    again = load_plan(tmp_path / "plan.json")
    assert again == plan
    assert again.signature == plan.signature


def test_the_signature_changes_with_whatever_can_change_a_result(plan: Plan) -> None:
    folds = plan.model_dump(mode="json")["folds"]
    moved = folds[0]["validation"].pop()
    folds[0]["training"].append(moved)
    others = [
        changed(plan, seed=1),
        changed(plan, settings={"training": {"lr": 1.0}}),
        changed(plan, folds=folds),
        changed(plan, store={**plan.store.model_dump(), "sha256": "1" * 64}),
        changed(plan, classes=["MS", "control"]),
    ]
    assert len({plan.signature, *(other.signature for other in others)}) == 6


def test_the_signature_ignores_resources_places_and_backbones(plan: Plan) -> None:
    others = [
        changed(plan, compute={"threads": 8, "device": "cuda"}),
        changed(plan, weights_dir="/elsewhere"),
        changed(plan, store={**plan.store.model_dump(), "path": "/elsewhere.h5"}),
        plan.with_backbones(["vit"]),
    ]
    assert {other.signature for other in others} == {plan.signature}


def test_further_backbones_leave_existing_tasks_alone(plan: Plan) -> None:
    more = plan.with_backbones(["vit", "swin", "vit", "convnext"])
    assert more.backbones == ["resnet50", "swin", "vit", "convnext"]
    assert more.tasks[: len(plan.tasks)] == plan.tasks
    assert [task.index for task in more.tasks] == list(range(24))
    assert changed(more) == more  # it still keeps the laws


def break_twice_held_out(plan: dict[str, Any]) -> None:
    plan["folds"][1]["held_out"], plan["folds"][1]["training"] = plan["folds"][0]["held_out"], ["P5"]
    plan["folds"][1]["validation"] = []


def break_leak(plan: dict[str, Any]) -> None:
    plan["folds"][0]["training"].append(plan["folds"][0]["held_out"])


def break_overlap(plan: dict[str, Any]) -> None:
    plan["folds"][2]["training"].append(plan["folds"][2]["validation"][0])


def break_nobody_trains(plan: dict[str, Any]) -> None:
    plan["folds"][0]["training"] = []


def break_stranger(plan: dict[str, Any]) -> None:
    plan["folds"][0]["training"].append("nobody")


def break_order(plan: dict[str, Any]) -> None:
    plan["folds"].reverse()


def break_task_twice(plan: dict[str, Any]) -> None:
    plan["tasks"][1]["fold"] = plan["tasks"][0]["fold"]


def break_task_of_no_fold(plan: dict[str, Any]) -> None:
    plan["tasks"][5]["fold"] = -1


def break_index(plan: dict[str, Any]) -> None:
    plan["tasks"][3]["index"] = 7


def break_version(plan: dict[str, Any]) -> None:
    plan["version"] = 2


def break_key(plan: dict[str, Any]) -> None:
    plan["folds"][0]["test"] = "P1"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_twice_held_out, "every patient must be held out exactly once"),
        (break_leak, "fold 0: P0 stands in two parts"),
        (break_overlap, "stands in two parts"),
        (break_nobody_trains, "fold 0 has no training patient"),
        (break_stranger, "names a patient that no fold holds out"),
        (break_order, "is out of order"),
        (break_task_twice, "each backbone and fold once"),
        (break_task_of_no_fold, "each backbone and fold once"),
        (break_index, "tasks must be numbered from 0"),
        (break_version, "version"),
        (break_key, r"folds\.0\.test"),
    ],
)
def test_an_edited_plan_that_breaks_a_law_is_refused(plan: Plan, tmp_path: Path, spoil, message: str) -> None:
    path = tmp_path / "plan.json"
    save_plan(path, plan)
    raw = read_json(path)
    spoil(raw)
    write_json(path, raw)
    with pytest.raises(MsbatchError, match=message) as refusal:
        load_plan(path)
    assert str(path) in refusal.value.problem
    assert refusal.value.hint


@pytest.mark.parametrize("content", ["", "[]", "null", "{}"])
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(MsbatchError, match=r"plan\.json"):
        load_plan(tmp_path / "plan.json")


def test_a_plan_cannot_be_changed_in_place(plan: Plan) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        plan.seed = 3

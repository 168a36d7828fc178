"""The frozen plan: its laws, its identity, and its way through a file."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from runs import make_plan

from msbatch.errors import MsbatchError
from msbatch.files import read_json, write_json
from msbatch.plan import Plan, Relabelling, load_plan, save_plan

LABELS = {f"P{i}": [i % 2] * 3 for i in range(6)}

# Of the plan below, by the version before there were designs: runs of that time are to be found again.
SIGNATURE = "dc54faeab00f1d5d387023c7dc4d2bf829d62f01cc9a602779fd6bde3067b716"


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


@pytest.mark.parametrize("backbone", ["", ".", "..", ".hidden", "a\x1b[2J", "a\0b", "a\nb", "x" * 151])
def test_a_backbone_whose_name_is_no_folder_is_refused(plan: Plan, tmp_path: Path, backbone: str) -> None:
    raw = plan.model_dump(mode="json")
    for task in raw["tasks"][:6]:
        task["backbone"] = backbone
    write_json(tmp_path / "plan.json", raw)
    with pytest.raises(MsbatchError, match="tasks") as caught:
        load_plan(tmp_path / "plan.json")
    assert caught.value.problem.isprintable()


def test_two_backbones_that_share_a_folder_are_refused(plan: Plan) -> None:
    tasks = plan.with_backbones(["org/net", "org:net"]).model_dump(mode="json")["tasks"]
    with pytest.raises(ValidationError, match="each backbone and fold once"):
        changed(plan, tasks=tasks)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"seed": ' + "9" * 5000 + "}",
        '{"seed": NaN}',
        "\ufeff{}",
        '"\\ud800"',
        '{"store": {"path": "\\u001b]0;x\\u0007"}}',
        '{"\\u001b[2J": 1}',
    ],
)
def test_a_plan_of_an_adversary_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    with pytest.raises(MsbatchError) as caught:
        load_plan(tmp_path / "plan.json")
    assert caught.value.problem.replace("\n", "").isprintable()
    assert len(caught.value.problem) < 3000


@pytest.mark.parametrize("change", [{"held_out": "a\x1b[2J"}, {"number": 10**30}, {"number": -1}, {"training": []}])
def test_a_fold_of_an_adversary_is_refused(plan: Plan, tmp_path: Path, change: dict[str, Any]) -> None:
    raw = plan.model_dump(mode="json")
    raw["folds"][0] |= change
    write_json(tmp_path / "plan.json", raw)
    with pytest.raises(MsbatchError) as caught:
        load_plan(tmp_path / "plan.json")
    assert "\x1b" not in caught.value.problem


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


def test_what_came_later_shows_nowhere_in_a_plan_that_does_not_use_it(plan: Plan) -> None:
    raw = plan.model_dump(mode="json")
    assert plan.signature == SIGNATURE
    assert set(raw["tasks"][0]) == {"index", "backbone", "fold"}
    assert "dropped" not in raw["folds"][0]
    assert "relabellings" not in raw
    assert plan.arms == plan.backbones
    assert plan.identity(plan.tasks[7]) == {"signature": SIGNATURE, "backbone": "swin", "fold": 1}


def relabelled(plan: Plan, *positives: set[str]) -> list[Relabelling]:
    """Give relabellings with these patients in the positive class, and the last patient's validation changed."""
    labels = [{name: int(name in chosen) for name in LABELS} for chosen in positives]
    folds = [*plan.folds[:-1], plan.folds[-1].model_copy(update={"validation": ()})]
    return [Relabelling(number=number, labels=own, seed=None, folds=folds) for number, own in enumerate(labels, 1)]


def test_seeds_and_relabellings_are_arms_behind_the_backbones(plan: Plan) -> None:
    more = plan.with_seeds(2).with_relabellings(relabelled(plan, {"P0", "P1", "P2"}))
    assert more.arms == ["resnet50", "swin", "resnet50.seed-1", "swin.seed-1", "resnet50.labels-01", "swin.labels-01"]
    assert more.backbones == plan.backbones
    assert more.seeds == 2
    assert [task.index for task in more.tasks] == list(range(36))
    assert changed(more) == more


def test_more_of_a_design_extends_a_run_and_less_takes_nothing_away(plan: Plan, tmp_path: Path) -> None:
    first, other = relabelled(plan, {"P0", "P1", "P2"}, {"P0", "P1", "P3"})
    some = plan.with_seeds(2).with_relabellings([first])
    more = some.with_seeds(3).with_relabellings([first, other]).with_backbones(["vit"])
    assert more.signature == plan.signature
    assert more.tasks[: len(some.tasks)] == some.tasks
    assert {arm for arm in more.arms if arm.startswith("vit")} == {
        "vit",
        "vit.seed-1",
        "vit.seed-2",
        "vit.labels-01",
        "vit.labels-02",
    }
    assert more.with_seeds(1).with_relabellings([]) == more
    save_plan(tmp_path / "plan.json", more)
    assert load_plan(tmp_path / "plan.json") == more


def test_a_task_under_permuted_labels_has_their_folds_and_an_identity_of_its_own(plan: Plan) -> None:
    first, other = relabelled(plan, {"P0", "P1", "P2"}, {"P0", "P1", "P3"})
    more = plan.with_relabellings([first, other])
    task = next(task for task in more.tasks if (task.arm, task.fold) == ("swin.labels-02", 5))
    assert more.fold_of(task).validation == ()
    assert more.fold_of(more.tasks[5]) == plan.folds[5]
    assert more.relabelling_of(task) == other
    redrawn = plan.with_relabellings([first, first.model_copy(update={"number": 2})])
    assert redrawn.identity(task) != more.identity(task)
    assert redrawn.identity(more.tasks[5]) == more.identity(more.tasks[5])


def test_cells_that_are_permuted_within_patients_keep_the_folds_of_the_plan() -> None:
    plan = make_plan({f"P{i}": [0, 1, 1] for i in range(4)})
    more = plan.with_relabellings([Relabelling(number=1, labels={}, seed=9, folds=())])
    assert more.fold_of(more.tasks[-1]) == plan.folds[3]
    assert more.identity(more.tasks[-1])["labels"]


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


def break_stranger_dropped(plan: dict[str, Any]) -> None:
    plan["folds"][0]["dropped"] = ["nobody"]


def break_dropped_patient_trains(plan: dict[str, Any]) -> None:
    plan["folds"][0]["dropped"] = plan["folds"][0]["training"][:1]


def break_relabelling(plan: dict[str, Any]) -> None:
    labels = dict.fromkeys(list(LABELS)[1:], 0)
    plan["relabellings"] = [{"number": 1, "labels": labels, "seed": None, "folds": plan["folds"]}]


def break_task_of_no_relabelling(plan: dict[str, Any]) -> None:
    plan["tasks"][5]["relabelling"] = 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_stranger_dropped, "names a patient that no fold holds out"),
        (break_dropped_patient_trains, "stands in two parts"),
        (break_relabelling, "does not fit the plan's patients"),
        (break_task_of_no_relabelling, "each backbone and fold once"),
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

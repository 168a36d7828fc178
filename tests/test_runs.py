"""A run is found again by its identity, extended, and never redrawn silently."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from msbatch.cohort.folds import draw_plan
from msbatch.layout import RunDir, find_run
from msbatch.plan import load_plan
from msbatch.runs import create_or_reuse
from msbatch.settings_file import load_settings, parse_settings

Values = dict[str, dict[str, Any]]


class Planner:
    """Plans the small cohort with given settings."""

    def __init__(self, store: Path, runs: Path) -> None:
        self.paths = {"store": str(store), "runs": str(runs)}

    def __call__(self, values: Values | None = None, new: bool = False) -> RunDir:
        settings = parse_settings({"paths": self.paths, **(values or {})}, "test")
        return create_or_reuse(draw_plan(settings.paths.store, settings), settings, new)


@pytest.fixture
def plan_with(cohort_folder: Path, tmp_path: Path) -> Planner:
    return Planner(cohort_folder / "cohort.h5", tmp_path / "runs")


def test_a_run_holds_plan_settings_and_environment(plan_with: Planner, tmp_path: Path) -> None:
    run = plan_with({"training": {"steps": 7}})
    plan = load_plan(run.plan)
    assert run.root.parent == tmp_path / "runs"
    assert run.root.name.endswith(plan.signature[:8])
    assert load_settings(run.settings).training.steps == 7
    environment = json.loads(run.environment.read_text())
    assert environment["store_sha256"] == plan.store.sha256
    assert environment["packages"]["click"]


def test_a_folder_whose_maker_was_killed_before_the_plan_was_there_is_taken(plan_with: Planner) -> None:
    first = plan_with()
    first.plan.unlink()
    (first.root / ".plan.json.tmp.1").write_text("{")
    assert plan_with().root == first.root
    assert sorted(path.name for path in first.root.iterdir()) == ["environment.json", "plan.json", "settings.toml"]
    first.plan.unlink()
    first.submissions.touch()
    assert plan_with().root != first.root


def test_the_same_settings_find_the_same_run(plan_with: Planner) -> None:
    first = plan_with()
    before = load_plan(first.plan)
    assert plan_with().root == first.root
    assert load_plan(first.plan) == before


def test_a_new_backbone_extends_the_run(plan_with: Planner) -> None:
    first = plan_with({"plan": {"backbones": ["swin", "resnet50"]}})
    before = load_plan(first.plan)
    again = plan_with({"plan": {"backbones": ["convnext", "swin"]}})
    after = load_plan(again.plan)
    assert again.root == first.root
    assert after.folds == before.folds
    assert after.tasks[: len(before.tasks)] == before.tasks
    assert {task.backbone for task in after.tasks[len(before.tasks) :]} == {"convnext_tiny"}
    assert load_settings(again.settings).plan.backbones == tuple(after.backbones)


def test_more_seeds_and_permuted_labels_extend_the_run(plan_with: Planner) -> None:
    first = plan_with()
    before = load_plan(first.plan)
    again = plan_with({"plan": {"seeds": 2, "permute_labels": 1}})
    after = load_plan(again.plan)
    assert again.root == first.root
    assert after.tasks[: len(before.tasks)] == before.tasks
    assert after.arms == ["resnet50", "resnet50.seed-1", "resnet50.labels-01"]
    told = load_settings(again.settings).plan
    assert (told.seeds, told.permute_labels) == (2, 1)
    more = load_plan(plan_with({"plan": {"permute_labels": 3}}).plan)
    assert more.relabellings[:1] == after.relabellings
    assert more.arms == [*after.arms, "resnet50.labels-02", "resnet50.labels-03"]
    assert load_plan(plan_with().plan) == more


def test_resources_are_taken_over_and_make_no_new_run(plan_with: Planner) -> None:
    first = plan_with()
    again = plan_with({"compute": {"threads": 4, "workers": 2}, "weights": {"dir": "elsewhere"}})
    plan = load_plan(again.plan)
    assert again.root == first.root
    assert (plan.compute.threads, plan.compute.workers, Path(plan.weights_dir).name) == (4, 2, "elsewhere")


@pytest.mark.parametrize(
    "values",
    [
        {"training": {"steps": 7}},
        {"plan": {"seed": 1}},
        {"plan": {"val_patients": 0}},
        {"plan": {"balance": ["class", "sex"]}},
        {"plan": {"rebalance": True}},
        {"augment": {"blur": 0}},
    ],
)
def test_what_can_change_a_result_makes_another_run(plan_with: Planner, values: Values) -> None:
    assert plan_with().root != plan_with(values).root


def test_new_makes_another_run_of_the_same_settings_which_is_then_the_one_in_use(plan_with: Planner) -> None:
    first, second = plan_with(), plan_with(new=True)
    assert second.root.name == f"{first.root.name}-2"
    assert plan_with().root == second.root
    later = time.time() + 60
    os.utime(first.plan, (later, later))
    assert plan_with().root == first.root


def test_a_plan_edited_by_hand_is_left_alone(plan_with: Planner) -> None:
    first = plan_with()
    edited = json.loads(first.plan.read_text())
    fold = next(fold for fold in edited["folds"] if len(fold["training"]) > 1)
    fold["training"] = fold["training"][1:]
    first.plan.write_text(json.dumps(edited))
    before = first.plan.read_bytes()
    assert plan_with().root != first.root
    assert first.plan.read_bytes() == before


def test_a_damaged_plan_is_no_obstacle(plan_with: Planner, tmp_path: Path) -> None:
    broken = tmp_path / "runs" / "broken" / "plan.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    run = plan_with()
    later = time.time() + 60
    os.utime(run.plan, (later, later))
    assert find_run(None, tmp_path / "runs").root == run.root
    assert broken.read_text() == "{"

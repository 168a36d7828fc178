"""Frozen backbones in the tables: the exact head's predictions, and nothing where an embedding cannot be trusted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from packed import Study, draw_study, read_rows
from sklearn.linear_model import Ridge

from msbatch.config import ProbeSettings
from msbatch.embeddings import Origin, write_embedding
from msbatch.layout import RunDir
from msbatch.plan import Plan, load_plan, save_plan
from msbatch.results.reduce import reduce

FROZEN = "resnet50.frozen"
WIDTH = 6


@pytest.fixture(scope="module")
def study() -> Study:
    return draw_study(seed=5)


@pytest.fixture
def embeddings(study: Study) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {
        name: (rng.normal(size=(len(own), WIDTH)) + rng.normal(size=WIDTH) + np.array(own)[:, None]).astype(np.float32)
        for name, own in study.labels.items()
    }


@pytest.fixture
def run(study: Study, embeddings: dict[str, NDArray[np.float32]], tmp_path: Path) -> RunDir:
    made = study.write(tmp_path)
    plan = load_plan(made.plan).with_backbones([FROZEN])
    save_plan(made.plan, plan.model_copy(update={"probe": ProbeSettings(permutations=199)}))
    for number in range(len(plan.folds)):
        write(made, plan, number, embeddings[plan.folds[number].held_out])
    return made


def write(run: RunDir, plan: Plan, number: int, values: NDArray[np.float32], **other: str) -> None:
    origin = {"store": plan.store.sha256, "network": "resnet50", "weights": "w" * 64, "precision": "fp32"} | other
    write_embedding(run.task(FROZEN, number), values, Origin(fold=number, input_px=20, **origin), lambda: None)


def test_a_patient_is_predicted_by_a_ridge_that_was_fitted_on_all_others(
    study: Study, embeddings: dict[str, NDArray[np.float32]], run: RunDir
) -> None:
    reduction = reduce(run)
    assert reduction.complete
    (probe,) = reduction.probes
    held_out = "P03"
    others = [name for name in study.labels if name != held_out]
    labels = np.concatenate([study.labels[name] for name in others])
    seen = np.concatenate([embeddings[name] for name in others]).astype(np.float64)
    ridge = Ridge(alpha=probe.penalty).fit(seen, labels)
    wanted = ridge.predict(embeddings[held_out].astype(np.float64)) - labels.mean()
    (found,) = (own for task, own in reduction.predictions.items() if task.frozen and own.patient == held_out)
    np.testing.assert_allclose(found.logits, wanted, atol=1e-9)


def test_it_stands_in_every_table_beside_what_was_trained(run: RunDir) -> None:
    reduce(run)
    for table in ("folds", "cells", "patients", "oddfolds", "influence", "subgroups"):
        assert {row["backbone"] for row in read_rows(run, table)} >= {"resnet50", FROZEN}, table
    assert {"resnet50", FROZEN} == {*(read_rows(run, "comparison")[0][key] for key in ("first", "second"))}
    asked = {row["question"]: row for row in read_rows(run, "tests") if row["images"] == FROZEN}
    assert {"image and label are associated", "beyond colour", "sex can be read from images"} <= set(asked)
    assert asked["beyond colour"]["permutations"] == "199"
    assert "n/a" not in read_rows(run, "probe")[0]["pair_auc"]
    assert {row["backbone"] for row in read_rows(run, "calibration")} == {"resnet50"}, "scores are no log odds"


def test_the_inner_penalty_is_the_one_that_the_plan_asks_for(run: RunDir) -> None:
    plain = reduce(run)
    plan = load_plan(run.plan)
    save_plan(run.plan, plan.model_copy(update={"probe": ProbeSettings(permutations=199, penalty="inner")}))
    inner = reduce(run)
    assert inner.complete
    assert inner.probes[0].rule != plain.probes[0].rule
    assert inner.folds != plain.folds


def test_a_penalty_that_takes_too_long_to_choose_is_named_and_the_trained_backbones_stay(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_plan(run.plan)
    save_plan(run.plan, plan.model_copy(update={"probe": ProbeSettings(permutations=199, penalty="inner")}))
    monkeypatch.setattr("msbatch.results.pairs.OPERATIONS", 100)
    reduction = reduce(run)
    assert {gap.backbone for gap in reduction.missing} == {FROZEN}
    assert all("times too long" in gap.reason for gap in reduction.missing)
    assert len(reduction.results["resnet50"]) == 8
    (row,) = (row for row in read_rows(run, "tests") if row["images"] == FROZEN and "label" in row["question"])
    assert "times too long" in row["p"]


def changed(run: RunDir, _plan: Plan) -> None:
    path = run.task(FROZEN, 2).embedding
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def lost(run: RunDir, _plan: Plan) -> None:
    run.task(FROZEN, 2).embedding.unlink()


def of_other_weights(run: RunDir, plan: Plan) -> None:
    write(run, plan, 2, np.ones((3, WIDTH), np.float32), weights="x" * 64)


def of_another_store(run: RunDir, plan: Plan) -> None:
    write(run, plan, 2, np.ones((3, WIDTH), np.float32), store="x" * 64)


def of_other_cells(run: RunDir, plan: Plan) -> None:
    write(run, plan, 2, np.ones((4, WIDTH), np.float32))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (changed, "was changed after it was written"),
        (lost, "is missing"),
        (of_other_weights, "other weights"),
        (of_another_store, "another store"),
        (of_other_cells, "has 4 cells, the plan counts 3"),
    ],
)
def test_one_embedding_that_cannot_be_trusted_leaves_no_fold_of_the_head_and_all_of_the_training(
    run: RunDir, spoil: Callable[[RunDir, Plan], None], word: str
) -> None:
    spoil(run, load_plan(run.plan))
    reduction = reduce(run)
    assert {gap.backbone for gap in reduction.missing} == {FROZEN}
    reasons = {gap.fold: gap.reason for gap in reduction.missing}
    assert set(reasons) == set(range(8)), "a head without that patient would be another head"
    assert word in reasons[2]
    assert "the head needs all" in reasons[3]
    assert len(reduction.results["resnet50"]) == 8
    assert not reduction.results[FROZEN]


def test_a_backbone_that_sees_the_same_in_all_cells_predicts_nothing(run: RunDir) -> None:
    plan = load_plan(run.plan)
    for number in range(len(plan.folds)):
        write(run, plan, number, np.ones((3, WIDTH), np.float32))
    reduction = reduce(run)
    assert {gap.reason for gap in reduction.missing} == {"The backbone sees the same in all cells."}
    assert {row["p"] for row in read_rows(run, "tests") if row["images"] == FROZEN} == {
        "n/a (the features do not vary)",
        "n/a (the features add nothing to the nuisance columns)",
    }


def test_without_its_store_a_frozen_backbone_says_so_and_the_trained_ones_stay(run: RunDir) -> None:
    Path(load_plan(run.plan).store.path).unlink()
    reduction = reduce(run)
    assert {gap.backbone for gap in reduction.missing} == {FROZEN}
    assert all("does not exist" in gap.reason for gap in reduction.missing)
    assert len(reduction.results["resnet50"]) == 8

"""Further seeds, permuted labels and balanced sampling, as a task trains under them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from tasks import folder

from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort
from msbatch.layout import RunDir
from msbatch.plan import Plan, Task, load_plan, save_plan
from msbatch.predictions import Predictions, read_predictions
from msbatch.settings_file import parse_settings
from msbatch.state import Attempt
from msbatch.store import Store
from msbatch.training.job import Job
from msbatch.training.task import run_task

TINY = {"batch_size": 8, "steps": 12, "eval_every": 4, "lr": 1e-3, "input_px": 32, "tta": False}


def plan_run(root: Path, store: Path, **asked: object) -> RunDir:
    values = {
        "plan": {"backbones": ["test_vit"], "seed": 3, **asked},
        "training": TINY,
        "weights": {"pretrained": False},
    }
    run = RunDir(root)
    save_plan(run.plan, draw_plan(store, parse_settings(values, "test")))
    return run


def task_of(plan: Plan, arm: str, fold: int) -> Task:
    return next(task for task in plan.tasks if (task.arm, task.fold) == (arm, fold))


def predicted(run: RunDir, arm: str, fold: int) -> Predictions:
    """Train a task and give what it predicts."""
    plan = load_plan(run.plan)
    task = task_of(plan, arm, fold)
    run_task(run, task.index)
    return read_predictions(run.task(arm, fold), plan.identity(task))


def job_of(run: RunDir, arm: str, fold: int) -> Job:
    plan = load_plan(run.plan)
    task = task_of(plan, arm, fold)
    return Job(plan, task, folder(run, task.index), Attempt(folder(run, task.index), 1))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    draw_cohort(root, patients=6, cells=8, seed=1)
    return root


def packed(images: Path, out: Path, labels: dict[str, str] | None = None) -> Path:
    """Pack the cohort, with other labels where they are given."""
    with (images / "cohort.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    with out.with_suffix(".csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": (labels or {}).get(row["patient"], row["label"])} for row in rows)
    pack(images / "images", out.with_suffix(".csv"), out, PackOptions(size_px=48))
    return out


def test_permuted_labels_train_what_a_cohort_with_these_labels_would(images: Path, tmp_path: Path) -> None:
    run = plan_run(tmp_path / "run", packed(images, tmp_path / "true.h5"), permute_labels=1, rebalance=True)
    plan = load_plan(run.plan)
    (relabelling,) = plan.relabellings
    named = {patient: plan.classes[label] for patient, label in relabelling.labels.items()}
    other = plan_run(tmp_path / "other", packed(images, tmp_path / "other.h5", named), rebalance=True)
    assert load_plan(other.plan).folds == relabelling.folds
    under, plain = predicted(run, "test_vit.labels-01", 2), predicted(other, "test_vit", 2)
    assert np.array_equal(under.logits, plain.logits)
    with Store(tmp_path / "true.h5") as store:
        assert np.array_equal(under.labels, store.labels(under.patient))  # the truth, whatever it was trained for


def test_cells_are_trained_under_their_permuted_labels_and_held_out_under_the_true_ones(
    images: Path, tmp_path: Path
) -> None:
    run = plan_run(tmp_path / "run", packed(images, tmp_path / "true.h5"), permute_labels=1)
    job = job_of(run, "test_vit.labels-01", 0)
    relabelling = job.plan.relabellings[0]
    cells, _ = job.cells()
    assert [relabelling.labels[name] for name in job.fold.training] == cells.labels[::8].tolist()
    true = job_of(run, "test_vit", 0)
    assert np.array_equal(job.held_out().labels, true.held_out().labels)


def test_a_further_seed_has_the_same_folds_and_another_outcome(images: Path, tmp_path: Path) -> None:
    run = plan_run(tmp_path / "run", packed(images, tmp_path / "true.h5"), seeds=2)
    first, second = predicted(run, "test_vit", 1), predicted(run, "test_vit.seed-1", 1)
    assert first.patient == second.patient
    assert not np.array_equal(first.logits, second.logits)
    assert job_of(run, "test_vit", 1).fold == job_of(run, "test_vit.seed-1", 1).fold
    assert [job_of(run, arm, 1).seed for arm in ("test_vit", "test_vit.seed-1")] == [3, 4]


def test_strata_are_those_of_the_columns_asked_for(images: Path, tmp_path: Path) -> None:
    store = packed(images, tmp_path / "true.h5")
    with Store(store) as opened:
        sexes = [opened.attributes(patient)["sex"] for patient in opened.patients]
        patients = opened.patients
    plain = job_of(plan_run(tmp_path / "plain", store), "test_vit", 0)
    assert set(plain.strata(patients)) == {0}
    balanced = job_of(plan_run(tmp_path / "balanced", store, balance=["class", "sex"]), "test_vit", 0)
    assert len(set(zip(sexes, balanced.strata(patients).tolist(), strict=True))) == len(set(sexes)) == 2


def test_a_fold_without_validation_patients_trains_to_its_last_step(tmp_path: Path, images: Path) -> None:
    store = pack(images / "images", images / "cohort.csv", tmp_path / "c.h5", PackOptions(size_px=48)).output
    run = plan_run(tmp_path / "run", store, val_patients=0)
    assert load_plan(run.plan).folds[0].validation == ()
    assert np.isfinite(predicted(run, "test_vit", 0).logits).all()

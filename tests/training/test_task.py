"""One task from plan to predictions: exact, resumable, and clear about what stopped it."""

import logging
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks import files, finish, folder, scalars, start

from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.predictions import Predictions, read_predictions
from msbatch.state import read_state
from msbatch.store import Store
from msbatch.training.task import run_task

NOTHING = {"orientation": False, "rotate_deg": 0, "scale": 0, "blur": 0, "brightness": 0, "stain": 0}
STILL = {"drop_rate": 0.0, "drop_path": 0.0}


def predictions(run: RunDir, index: int = 0) -> Predictions:
    plan = load_plan(run.plan)
    task = plan.tasks[index]
    identity = {"signature": plan.signature, "backbone": task.backbone, "fold": task.fold}
    return read_predictions(run.task(task.backbone, task.fold), identity)


def test_every_held_out_cell_is_predicted_once(make_run: Any, store_path: Path) -> None:
    run = make_run("run")
    run_task(run, 2)
    plan = load_plan(run.plan)
    held_out = plan.folds[2].held_out
    with Store(store_path) as store:
        assert predictions(run, 2).patient == held_out
        assert np.array_equal(predictions(run, 2).labels, store.labels(held_out))
    assert read_state(folder(run, 2)).phase == "done"
    assert not list(folder(run, 2).checkpoints.iterdir())


def test_a_task_that_has_its_predictions_is_left_alone(make_run: Any) -> None:
    run = make_run("run")
    run_task(run, 0)
    before = files(run)
    run_task(run, 0)
    assert files(run) == before


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_loader_workers_change_no_bit(make_run: Any) -> None:
    alone, helped = make_run("alone"), make_run("helped", compute={"workers": 4})
    run_task(alone, 0)
    run_task(helped, 0)
    assert folder(alone).predictions.read_bytes() == folder(helped).predictions.read_bytes()


MAPPED_GB = 60e-6  # more than one patient of the small cohort takes, less than two


@pytest.mark.parametrize("processes", [1, 2])
def test_cells_left_in_the_store_change_no_bit(processes: int, make_run: Any) -> None:
    compute = {"processes": processes}
    read, mapped = (
        make_run("read", compute=compute),
        make_run("mapped", compute={**compute, "memory_budget_gb": MAPPED_GB}),
    )
    finish(read)
    finish(mapped)
    assert folder(read).predictions.read_bytes() == folder(mapped).predictions.read_bytes()


def test_a_budget_of_less_than_one_patient_is_refused(make_run: Any) -> None:
    with pytest.raises(MsbatchError, match="less than one patient needs"):
        run_task(make_run("run", compute={"memory_budget_gb": 1e-6}), 0)


def test_cells_that_stay_on_the_device_change_no_bit(make_run: Any) -> None:
    loaded = make_run("loaded", augment=NOTHING)
    resident = make_run("resident", augment=NOTHING, compute={"resident": True})
    run_task(loaded, 0)
    run_task(resident, 0)
    assert folder(loaded).predictions.read_bytes() == folder(resident).predictions.read_bytes()


def test_cells_that_are_augmented_cannot_stay_on_the_device(make_run: Any) -> None:
    with pytest.raises(MsbatchError, match=r"cannot be augmented.*\n.*orientation, rotate_deg"):
        run_task(make_run("run", compute={"resident": True}), 0)


def test_two_processes_agree_with_one(make_run: Any) -> None:
    one = make_run("one", precision="fp64", **STILL)
    two = make_run("two", precision="fp64", compute={"processes": 2}, **STILL)
    run_task(one, 0)
    finish(two)
    assert np.abs(predictions(one).logits).max() > 1e-3
    assert np.abs(predictions(one).logits - predictions(two).logits).max() < 1e-8


def test_batchnorm_on_several_cpu_processes_is_announced(make_run: Any) -> None:
    output = finish(make_run("run", "test_resnet", compute={"processes": 2}, steps=2))
    assert "BatchNorm cannot be synchronised on the CPU" in output


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two NVIDIA GPUs")
def test_batchnorm_is_synchronised_on_gpus(make_run: Any) -> None:
    one = make_run("one", "test_resnet", compute={"device": "cuda"}, precision="fp64", **STILL)
    two = make_run("two", "test_resnet", compute={"device": "cuda", "processes": 2}, precision="fp64", **STILL)
    finish(one)
    finish(two)
    assert np.abs(predictions(one).logits - predictions(two).logits).max() < 1e-6


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("processes", [1, 2])
def test_ten_kills_change_no_prediction(processes: int, make_run: Any) -> None:
    recipe = {"steps": 400, "drop_rate": 0.2, "drop_path": 0.2, "patience": 10_000, "compute": {"processes": processes}}
    calm, killed = make_run("calm", **recipe), make_run("killed", **recipe)
    finish(calm)
    chance = random.Random(processes)
    for attempt in range(10):
        kill_at_random(killed, attempt, chance)
    output = finish(killed)
    assert "Resuming from step" in output
    assert folder(killed).predictions.read_bytes() == folder(calm).predictions.read_bytes()
    assert scalars(killed) == scalars(calm)


def kill_at_random(run: RunDir, attempt: int, chance: random.Random) -> None:
    before = read_state(folder(run)).step
    process = start(run)
    if attempt % 5:  # every fifth kill comes before the first new checkpoint, perhaps while still importing
        while read_state(folder(run)).step == before and process.poll() is None:
            time.sleep(0.02)
    time.sleep(chance.uniform(0, 0.3))
    assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGKILL) if chance.random() < 0.5 else process.kill()
    process.communicate(timeout=60)


def steps_logged(run: RunDir) -> list[int]:
    return [step for step, _ in scalars(run)["train/loss"]]


def test_a_damaged_newest_checkpoint_costs_one_round_and_nothing_else(make_run: Any, caplog: Any) -> None:
    calm, hurt = make_run("calm", steps=60), make_run("hurt", steps=60)
    run_task(calm, 0)
    process = start(hurt)
    while len(list(folder(hurt).checkpoints.glob("*.sha256"))) < 2:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    newest = sorted(folder(hurt).checkpoints.glob("*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-10])
    with caplog.at_level(logging.WARNING):
        run_task(hurt, 0)
    assert f"{newest.name} cannot be read or is damaged" in caplog.text
    assert folder(hurt).predictions.read_bytes() == folder(calm).predictions.read_bytes()


def test_a_diverging_task_fails_and_says_so(make_run: Any) -> None:
    run = make_run("run", lr=1e30, clip_norm=1e30)
    with pytest.raises(MsbatchError, match="The loss became"):
        run_task(run, 0)
    assert read_state(folder(run)).phase == "failed"
    assert "The loss became" in read_state(folder(run)).reason
    assert not folder(run).predictions.exists()


def test_a_store_changed_since_the_plan_is_refused(make_run: Any, store_path: Path, tmp_path: Path) -> None:
    run = make_run("run")
    plan = load_plan(run.plan)
    changed = tmp_path / "changed.h5"
    changed.write_bytes(store_path.read_bytes() + b"\0")
    record = plan.store.model_copy(update={"path": str(changed)})
    run.plan.write_text(plan.model_copy(update={"store": record}).model_dump_json())
    with pytest.raises(MsbatchError, match="changed since the plan was drawn"):
        run_task(run, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_task_planned_for_a_gpu_never_falls_back(make_run: Any) -> None:
    run = make_run("run", compute={"device": "cuda"})
    with pytest.raises(MsbatchError, match=r"asks for 1 GPU\(s\), this machine shows 0"):
        run_task(run, 0)
    assert read_state(folder(run)).phase == "failed"


def test_a_batch_that_cannot_be_shared_is_refused(make_run: Any) -> None:
    with pytest.raises(MsbatchError, match="cannot be shared evenly by 3"):
        run_task(make_run("run", compute={"processes": 3}), 0)


def test_tensorboard_shows_each_step_once_and_no_phantom_run(make_run: Any) -> None:
    run = make_run("run")
    run_task(run, 0)
    assert steps_logged(run)[-1] == 20
    assert len(set(steps_logged(run))) == len(steps_logged(run))
    assert {path.parent for path in run.root.rglob("events.out*")} == {folder(run).tensorboard}


def test_another_task_number_is_refused(make_run: Any) -> None:
    with pytest.raises(MsbatchError, match="its tasks are 0 to 5"):
        run_task(make_run("run"), 6)

"""What a rerun sets aside comes back where Slurm does not run it, however the rerun ended."""

import multiprocessing
import signal
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from runs import make_run

from msbatch.cluster.aside import put_back, set_aside
from msbatch.cluster.rerun import rerun
from msbatch.cluster.submit import Order, submit
from msbatch.config import ClusterSettings
from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import load_plan

LABELS = {f"P{number}": [number % 2] * 3 for number in range(6)}
LOGITS = {"P0": [-1.0, -2.0, 1.0], "P1": [2.0, 1.0, 1.0]}


@pytest.fixture
def order(tmp_path: Path, slurm: FakeSlurm) -> Order:  # noqa: ARG001
    """Give a run of 6 tasks, two of which are done."""
    run = make_run(tmp_path / "run", LABELS, {"a": LOGITS})
    return Order(run, load_plan(run.plan), ClusterSettings(runtime="none"))


def made(run: RunDir) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.tasks.rglob("*") if path.is_file()}


def rerun_and_be_killed(order: Order) -> None:
    """Rerun both finished tasks from a process of its own, which sbatch kills."""
    killed = multiprocessing.get_context("spawn").Process(target=rerun, args=(order, order.plan.tasks[:2], False))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL


def test_what_a_killed_rerun_set_aside_comes_back_with_the_next_command(
    order: Order, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msbatch.cluster.sbatch.LATE_S", 1.0)
    before = made(order.run)
    slurm.behaves("kills before")
    rerun_and_be_killed(order)
    assert made(order.run) != before, "this is what the test is about"
    slurm.recovers()
    array, _ = submit(order, order.plan.tasks)
    assert made(order.run) == before
    assert array.tasks == (2, 3, 4, 5)


def test_what_slurm_took_before_the_rerun_was_killed_stays_aside(order: Order, slurm: FakeSlurm) -> None:
    slurm.behaves("kills")
    rerun_and_be_killed(order)
    slurm.recovers()
    (array, _) = submit(order, order.plan.tasks)
    assert array.tasks == (2, 3, 4, 5), "tasks 0 and 1 are queued"
    assert not order.run.task("a", 0).predictions.exists()


def test_a_slurm_that_fell_silent_decides_later(
    order: Order, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(order.run)
    monkeypatch.setattr("msbatch.cluster.sbatch.SETTLE_S", 0.0)
    monkeypatch.setattr("msbatch.cluster.sbatch.LATE_S", 1.0)
    slurm.refuses("sbatch", "sbatch: error: Batch job submission failed: Unable to contact slurm controller")
    real = slurm.folder / "squeue"
    real.rename(real.with_name("away"))
    (slurm.folder / "squeue").write_text(
        f'#!/bin/sh\ncase "$*" in *--name*) exit 1;; esac\nexec {slurm.folder}/away "$@"\n'
    )
    real.chmod(0o755)
    with pytest.raises(MsbatchError, match="Slurm stopped answering"):
        rerun(order, order.plan.tasks[:1], fresh=False)
    assert not order.run.task("a", 0).predictions.exists(), "Slurm may have it"
    real.with_name("away").rename(real)
    slurm.recovers()
    submit(order, order.plan.tasks)
    assert made(order.run) == before


def test_a_move_that_was_cut_short_is_taken_back(order: Order) -> None:
    before = made(order.run)
    set_aside(order.run, order.plan.tasks[:1], fresh=False)
    folder = order.run.task("a", 0)
    (folder.earlier / "0000" / "predictions.csv").rename(folder.predictions)
    put_back(order.run)
    put_back(order.run)
    assert made(order.run) == before


def test_nothing_that_was_made_since_is_written_over(order: Order) -> None:
    set_aside(order.run, order.plan.tasks[:1], fresh=False)
    folder = order.run.task("a", 0)
    folder.predictions.write_text("newer")
    put_back(order.run)
    assert folder.predictions.read_text() == "newer"
    assert (folder.earlier / "0000" / "predictions.csv").exists()

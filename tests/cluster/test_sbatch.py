"""Submissions that were broken off, in front of a stand-in for Slurm: found again by their names, or made anew."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from runs import make_run
from submitit.core.utils import DelayedSubmission

from msbatch.cluster import sbatch
from msbatch.cluster.ledger import read_ledger
from msbatch.cluster.sbatch import settle
from msbatch.cluster.submit import Order, submit
from msbatch.config import ClusterSettings
from msbatch.errors import MsbatchError
from msbatch.plan import load_plan

NO_ANSWER = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"


@pytest.fixture
def order(tmp_path: Path, slurm: FakeSlurm) -> Order:  # noqa: ARG001
    """Give a run of 12 tasks, one of which is done."""
    labels = {f"P{number}": [number % 2] * 3 for number in range(6)}
    run = make_run(tmp_path / "run", labels, {"a": {"P0": [-1.0, -2.0, 1.0]}, "b": {}})
    return Order(run, load_plan(run.plan), ClusterSettings(runtime="none"))


def test_a_job_that_slurm_took_in_spite_of_an_error_is_found_by_its_name(order: Order, slurm: FakeSlurm) -> None:
    slurm.behaves("mumbles")
    array, reducer = submit(order, order.plan.tasks)
    assert len(slurm.jobs()) == 2
    assert (array.job, reducer.job) == ("100", "101")
    slurm.recovers()
    assert submit(order, order.plan.tasks) == []
    pickles = {number: array.folder / f"{number}_submitted.pkl" for number in array.elements}
    calls = {number: DelayedSubmission.load(path).function for number, path in pickles.items()}
    assert {number: int(call.arguments[2]) for number, call in calls.items()} == array.elements
    assert (reducer.folder / "101_submitted.pkl").is_file()


def test_a_job_that_slurm_never_got_is_not_taken_for_queued(
    order: Order, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sbatch, "LATE_S", 1)
    slurm.refuses("sbatch", NO_ANSWER)
    with pytest.raises(MsbatchError, match="does not answer"):
        submit(order, order.plan.tasks)
    slurm.recovers()
    assert len(submit(order, order.plan.tasks)[0].tasks) == 11


def submit_and_be_killed(order: Order) -> None:
    """Submit from a process of its own, which sbatch kills: the person's session ends at that moment."""
    killed = multiprocessing.get_context("spawn").Process(target=submit, args=(order, order.plan.tasks))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL


def test_a_submission_that_was_killed_is_settled_by_the_next(order: Order, slurm: FakeSlurm) -> None:
    slurm.behaves("kills")
    submit_and_be_killed(order)
    assert len(slurm.jobs()) == 1
    slurm.recovers()
    (reducer,) = submit(order, order.plan.tasks)
    assert [entry.job for entry in read_ledger(order.run)] == ["100", reducer.job]
    assert slurm.jobs()[1]["wish"]["dependency"] == "afterany:100"
    assert submit(order, order.plan.tasks) == []
    assert not list(order.run.jobs.rglob(".*")), "nothing of the broken submission is left over"


def test_a_submission_that_was_killed_before_slurm_had_it_is_made_anew(
    order: Order, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sbatch, "LATE_S", 1)
    slurm.behaves("kills before")
    submit_and_be_killed(order)
    slurm.recovers()
    array, reducer = submit(order, order.plan.tasks)
    assert len(array.tasks) == 11
    assert {entry.folder.resolve() for entry in (array, reducer)} == set(order.run.jobs.resolve().iterdir())


def test_a_job_that_arrives_soon_after_who_submitted_it_was_killed_is_adopted(order: Order, slurm: FakeSlurm) -> None:
    slurm.behaves("kills before")
    submit_and_be_killed(order)
    (entry,) = read_ledger(order.run)
    late = threading.Timer(1, slurm.names, (entry.name, "100"))
    late.start()
    settle(order.run)
    late.join()
    assert [entry.job for entry in read_ledger(order.run)] == ["100"]


@pytest.mark.parametrize("name", ["", "*.pkl", "launch.conf"])
def test_a_pickle_that_others_can_write_is_never_run(order: Order, slurm: FakeSlurm, name: str) -> None:
    slurm.behaves("kills before")
    submit_and_be_killed(order)
    (entry,) = read_ledger(order.run)
    path = next(entry.folder.glob(name)) if name else entry.folder
    path.chmod(path.stat().st_mode | 0o020)
    slurm.names(entry.name, "100")
    with pytest.raises(MsbatchError, match="is not yours alone"):
        settle(order.run)
    path.chmod(path.stat().st_mode & ~0o020)
    settle(order.run)
    assert [entry.job for entry in read_ledger(order.run)] == ["100"]


def test_a_submission_of_long_ago_is_not_waited_for(order: Order, slurm: FakeSlurm) -> None:
    slurm.behaves("kills before")
    submit_and_be_killed(order)
    (entry,) = read_ledger(order.run)
    os.utime(entry.folder / "launch.conf", (1, 1))
    settle(order.run)
    assert not read_ledger(order.run)[0].open
    assert len([call for call in slurm.calls("squeue") if entry.name in call]) == 1

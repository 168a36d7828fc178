"""Submitting and rerunning, in front of a stand-in for Slurm: once each, whole or not at all, and found again."""

import json
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from runs import make_run, predict
from submitit.core.utils import DelayedSubmission

from msbatch.cluster.batchcall import BatchCall
from msbatch.cluster.ledger import Submission
from msbatch.cluster.rerun import rerun
from msbatch.cluster.submit import Order, refuse_other_resources, sbatch_texts, submit
from msbatch.config import ClusterSettings, ComputeSettings
from msbatch.errors import MsbatchError
from msbatch.files import make_dir
from msbatch.layout import RunDir
from msbatch.plan import Task, load_plan

LABELS = {f"P{number}": [number % 2] * 3 for number in range(6)}
LOGITS = {"P0": [-1.0, -2.0, 1.0]}

REFUSAL = "sbatch: error: invalid partition specified: gpuu\nsbatch: error: Invalid partition name specified"


@pytest.fixture
def order(tmp_path: Path, slurm: FakeSlurm) -> Order:  # noqa: ARG001
    """Give a run of 12 tasks, one of which is done."""
    run = make_run(tmp_path / "run", LABELS, {"a": LOGITS, "b": {}})
    return Order(run, load_plan(run.plan), ClusterSettings(runtime="none"))


def arrays(made: list[Submission]) -> list[Submission]:
    return [entry for entry in made if entry.kind == "fold"]


def files(run: RunDir) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.tasks.rglob("*") if path.is_file()}


def calls(entry: Submission) -> dict[str, BatchCall]:
    """Give what each element of an array will run."""
    names = {path.name.removesuffix("_submitted.pkl"): path for path in entry.folder.glob("*_submitted.pkl")}
    return {number: DelayedSubmission.load(path).function for number, path in names.items()}


def test_every_task_that_is_not_done_is_submitted_once_and_a_reducer_behind(order: Order, slurm: FakeSlurm) -> None:
    array, reducer = submit(order, order.plan.tasks)
    assert array.tasks == tuple(task.index for task in order.plan.tasks if task.index != 0)
    assert [job["tasks"] for job in slurm.jobs()] == [11, 1]
    assert slurm.jobs()[1]["wish"]["dependency"] == f"afterany:{array.job}"
    assert reducer.tasks == ()
    assert submit(order, order.plan.tasks) == []
    assert len(slurm.jobs()) == 2


def test_each_element_runs_the_task_that_the_ledger_says(order: Order) -> None:
    array, _ = submit(order, order.plan.tasks[3:7])
    made = calls(array)
    assert {array.element(task): str(task) for task in array.tasks} == {
        n: call.arguments[2] for n, call in made.items()
    }
    assert made[array.element(4)].log == str(order.run.task("a", 4).log)


def test_a_single_task_is_a_job_of_its_own(order: Order, slurm: FakeSlurm) -> None:
    alone, _ = submit(order, order.plan.tasks[5:6])
    assert "array" not in slurm.jobs()[0]["wish"]
    assert list(calls(alone)) == [alone.job] == [alone.element(5)]


def test_arrays_are_split_at_the_size_that_slurm_allows(order: Order, slurm: FakeSlurm) -> None:
    slurm.configures(MaxArraySize=4)
    made = submit(order, order.plan.tasks)
    assert [len(entry.tasks) for entry in arrays(made)] == [4, 4, 3]
    jobs = ":".join(str(entry.job) for entry in arrays(made))
    assert slurm.jobs()[-1]["wish"]["dependency"] == f"afterany:{jobs}"
    assert len(sbatch_texts(order, order.plan.tasks)) == 4


def test_the_dry_run_shows_what_sbatch_is_given(order: Order) -> None:
    shown = sbatch_texts(order, order.plan.tasks[1:])[0]
    (array, _) = submit(order, order.plan.tasks[1:])
    given = (array.folder / f"{array.job}_submission.sh").read_text()
    for name in (array.name, array.folder.name, next(order.run.code.iterdir()).name):
        given = given.replace(name, "NAME")
    unquoted = re.sub(r"msb-<8 hex>|<time>-<8 hex>|<12 hex>", "NAME", shown).replace("'", "")
    assert unquoted == given.replace("'", "")


def test_a_refusal_is_said_with_the_key_to_change_and_leaves_nothing(order: Order, slurm: FakeSlurm) -> None:
    slurm.refuses("sbatch", REFUSAL)
    with pytest.raises(MsbatchError, match="invalid partition specified: gpuu") as caught:
        submit(order, order.plan.tasks)
    assert "--partition" in caught.value.hint
    assert not list(order.run.jobs.iterdir())
    slurm.recovers()
    assert len(submit(order, order.plan.tasks)) == 2


def test_two_at_once_submit_every_task_once(order: Order, slurm: FakeSlurm) -> None:
    slurm.behaves("slow")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as people:
        made = list(people.map(submit, [order] * 2, [order.plan.tasks] * 2))
    assert sorted(len(entry) for entry in made) == [0, 2]
    assert len(slurm.jobs()) == 2


def test_what_a_surrounding_job_set_is_not_passed_on(
    order: Order, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SBATCH_JOB_NAME", "other")  # it would win over the name in the script
    submit(order, order.plan.tasks)
    assert [job["inside"] for job in slurm.jobs()] == [[], []]
    assert os.environ["SLURM_ARRAY_TASK_ID"] == "3"


def test_nothing_of_a_submission_is_for_other_eyes(order: Order) -> None:
    before = os.umask(0)
    try:
        submit(order, order.plan.tasks)
    finally:
        os.umask(before)
    open_ones = [
        path for path in (*order.run.jobs.rglob("*"), *order.run.code.rglob("*")) if path.stat().st_mode & 0o077
    ]
    assert open_ones == []
    assert order.run.jobs.stat().st_mode & 0o077 == 0


def test_a_rerun_takes_exactly_the_chosen_tasks_and_touches_no_other(order: Order) -> None:
    predict(order.run, "a", "P1", LABELS["P1"], [1.0, 2.0, 3.0])
    before = files(order.run)
    done, not_done = order.plan.tasks[0], order.plan.tasks[4]
    array, _ = rerun(order, [done, not_done], fresh=False)
    assert array.tasks == (0, 4)
    own = order.run.task(done.backbone, done.fold)
    assert {p: text for p, text in files(order.run).items() if not p.is_relative_to(own.root)} == {
        p: text for p, text in before.items() if not p.is_relative_to(own.root)
    }
    assert not own.predictions.exists()
    kept = own.earlier / "0000" / "predictions.csv"
    assert kept.read_bytes() == before[own.predictions]


def test_a_refused_rerun_puts_everything_back(order: Order, slurm: FakeSlurm) -> None:
    before = files(order.run)
    slurm.refuses("sbatch", REFUSAL)
    with pytest.raises(MsbatchError, match="invalid partition"):
        rerun(order, order.plan.tasks[:1], fresh=True)
    assert files(order.run) == before


def test_a_rerun_whose_reducer_is_refused_leaves_the_queued_tasks_to_train_anew(order: Order, slurm: FakeSlurm) -> None:
    done = order.run.task("a", 0)
    slurm.behaves("holds 1")
    with pytest.raises(MsbatchError, match="AssocMaxSubmitJobLimit"):
        rerun(order, order.plan.tasks[:2], fresh=False)
    assert [job["tasks"] for job in slurm.jobs()] == [2]
    assert not done.predictions.exists(), "the queued task would find it and do nothing"
    slurm.recovers()
    assert [entry.kind for entry in submit(order, order.plan.tasks[:2])] == ["reduce"]


def test_other_resources_are_refused_while_tasks_are_queued(order: Order, slurm: FakeSlurm) -> None:
    submit(order, order.plan.tasks)
    other = order.plan.model_copy(update={"compute": ComputeSettings(processes=2)})
    with pytest.raises(MsbatchError, match="queued with other processes") as caught:
        refuse_other_resources(order.run, other)
    assert "--new" in caught.value.hint
    refuse_other_resources(order.run, order.plan)
    store = order.plan.store.model_copy(update={"path": "/elsewhere.h5"})
    for update in ({"weights_dir": "/elsewhere"}, {"store": store}):
        with pytest.raises(MsbatchError, match="store or weights"):
            refuse_other_resources(order.run, order.plan.model_copy(update=update))
    slurm.holds()
    refuse_other_resources(order.run, other)


def test_nothing_is_submitted_while_tasks_run_on_a_machine(order: Order, slurm: FakeSlurm) -> None:
    order.run.local_lock.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    other = order.plan.model_copy(update={"compute": ComputeSettings(processes=2)})
    with pytest.raises(MsbatchError, match="worked on by process 7 on elsewhere"):
        submit(order, order.plan.tasks)
    with pytest.raises(MsbatchError, match="worked on by process 7 on elsewhere"):
        rerun(order, order.plan.tasks[:1], fresh=False)
    with pytest.raises(MsbatchError, match="worked on by process 7 on elsewhere"):
        refuse_other_resources(order.run, other)
    assert not slurm.jobs()
    os.utime(order.run.local_lock, (1, 1))  # its machine is gone
    assert len(submit(order, order.plan.tasks)) == 2


def test_the_reducer_is_neither_watched_nor_requeued(order: Order) -> None:
    array, reducer = submit(order, order.plan.tasks)
    told = [(entry.folder / "launch.conf").read_text().splitlines() for entry in (array, reducer)]
    assert {"HANG_S=1800", "REQUEUE=yes", "TIME_MIN=240"} <= set(told[0])
    assert {"HANG_S=0", "REQUEUE=no", "TIME_MIN=30"} <= set(told[1])


def test_a_live_task_is_not_run_again(order: Order, slurm: FakeSlurm) -> None:
    array, _ = submit(order, order.plan.tasks)
    with pytest.raises(MsbatchError, match=f"still queued or running, as {array.job}_1"):
        rerun(order, [order.plan.tasks[2]], fresh=False)
    slurm.holds()
    assert rerun(order, [order.plan.tasks[2]], fresh=False)[0].tasks == (2,)


def test_a_task_that_somebody_submitted_by_hand_is_not_submitted_again(order: Order, slurm: FakeSlurm) -> None:
    make_dir(order.run.by_hand.launches)
    order.run.by_hand.launch("77_7", 0).start.touch()
    slurm.holds("77_7|RUNNING|None|9:00|v1|msbatch", "77_8|PENDING|Priority|9:00||msbatch", "78_9|RUNNING|None|9:00|v1")
    array, _ = submit(order, order.plan.tasks[5:])
    assert array.tasks == (5, 6, 9, 10, 11)
    assert slurm.jobs()[-1]["wish"]["dependency"] == f"afterany:77:{array.job}"


def test_what_was_queued_before_a_limit_was_reached_is_reduced(order: Order, slurm: FakeSlurm) -> None:
    slurm.configures(MaxArraySize=4)
    slurm.behaves("takes 1")
    with pytest.raises(MsbatchError, match="AssocMaxSubmitJobLimit"):
        submit(order, order.plan.tasks)
    assert [job["tasks"] for job in slurm.jobs()] == [4, 1]
    slurm.recovers()
    assert [len(entry.tasks) for entry in arrays(submit(order, order.plan.tasks))] == [4, 3]


def test_a_fresh_rerun_sets_the_checkpoints_aside(order: Order, slurm: FakeSlurm) -> None:
    task: Task = order.plan.tasks[3]
    folder = order.run.task(task.backbone, task.fold)
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / "step-0000010.pt").write_bytes(b"weights")
    rerun(order, [task], fresh=False)
    assert (folder.checkpoints / "step-0000010.pt").exists()
    slurm.holds()
    rerun(order, [task], fresh=True)
    assert not folder.checkpoints.exists()
    assert (folder.earlier / "0000" / "checkpoints" / "step-0000010.pt").read_bytes() == b"weights"

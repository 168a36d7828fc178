"""How a run stands, from its files and from a Slurm that answers, or does not."""

import os
import shutil
import time
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from runs import CLASSES, make_plan
from traces import attempted, ended, started, submitted

from msbatch.cluster.ledger import record
from msbatch.cluster.status import RunStatus, TaskStatus
from msbatch.cluster.survey import Answers, survey
from msbatch.layout import RunDir
from msbatch.plan import Plan

NAN = "The loss became nan by step 40.\nLower training.lr or use precision fp32."
PATIENTS = {f"P{number}": [number % len(CLASSES)] * 3 for number in range(6)}


@pytest.fixture
def plan() -> Plan:
    return make_plan(PATIENTS)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def look(run: RunDir, plan: Plan, task: int = 0) -> TaskStatus:
    return survey(run, plan.tasks).tasks[task]


def finish(run: RunDir, plan: Plan, task: int) -> None:
    folder = run.task(plan.tasks[task].backbone, plan.tasks[task].fold)
    attempted(run, plan.tasks[task], None, phase="done")
    folder.predictions.touch()
    folder.manifest.touch()


def test_a_task_is_queued_then_runs_then_is_done(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    entry = submitted(run, [4, 0], "12")
    slurm.holds("12_0|PENDING|Priority|4:00:00|", "12_1|PENDING|Resources|4:00:00|", "99|RUNNING|None|1:00|v1")
    waiting = survey(run, plan.tasks)
    assert [task.phase for task in waiting.tasks] == ["queued", *["waiting"] * 3, "queued", "waiting"]
    assert (waiting.tasks[0].job, waiting.tasks[0].reason) == ("12_1", "Resources")
    slurm.holds("12_1|RUNNING|None|3:59:00|v2")
    assert look(run, plan).mark == "starting"
    attempted(run, plan.tasks[0], started(entry, "12_1"), phase="running", step=30, steps=120)
    running = look(run, plan)
    assert (running.mark, running.left, running.node, running.attempt) == ("30/120", "3:59:00", "v2", 1)
    finish(run, plan, 0)
    assert look(run, plan).phase == "done", "its files decide, also while Slurm still ends the job"


def test_a_stopped_task_waits_with_its_step(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    entry = submitted(run, [0], "12")
    attempted(
        run, plan.tasks[0], ended(entry, "12", 75, "time limit", requeued=True), phase="waiting", step=40, steps=90
    )
    slurm.holds("12|PENDING|BeginTime|4:00:00|")
    status = look(run, plan)
    assert (status.phase, status.reason, status.mark) == ("queued", "BeginTime", "queued at 40/90")


def test_a_task_that_says_it_runs_but_is_gone_failed(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    entry = submitted(run, [0, 1, 2, 3], "12")
    for task, launch in enumerate((ended(entry, "12_0", 137), started(entry, "12_1"), started(entry, "12_2"))):
        attempted(run, plan.tasks[task], launch, phase="running", step=40, steps=120)
    (entry.folder / "12_2_0_log.err").write_text("slurmstepd-v1: error: Exceeded job memory limit\n")
    slurm.accounts("12_0|OUT_OF_MEMORY|0:125", "12_1|NODE_FAIL|0:0", "12_2|FAILED|0:9", "12_3|CANCELLED by 1000|0:0")
    tasks = survey(run, plan.tasks).tasks
    assert [task.phase for task in tasks] == [*["failed"] * 4, "waiting", "waiting"]
    assert [task.category for task in tasks[:4]] == ["out of memory", "node lost", "out of memory", "cancelled"]
    assert tasks[0].options == "--mem 32"
    assert tasks[3].mark == "cancelled"
    assert (len(slurm.calls("squeue")), len(slurm.calls("sacct"))) == (1, 1), "however many tasks there are"


def test_without_accounting_the_launchers_records_tell(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    entry = submitted(run, [0, 1, 2, 3], "12")
    ended(entry, "12_0", 1, "the image is missing: /images/msbatch.sif")
    ended(entry, "12_1", 75, "terminated")
    ended(entry, "12_2", 75, "time limit", requeued=True)
    slurm.refuses("sacct", "Slurm accounting storage is disabled")
    tasks = survey(run, plan.tasks).tasks
    assert [task.category for task in tasks[:4]] == ["image missing", "cancelled", "cancelled", "cancelled"]
    assert "before it began" in tasks[2].reason, "it was requeued, and then cancelled while it waited"
    assert survey(run, plan.tasks).note == ""


def test_words_about_an_earlier_start_do_not_count(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    entry = submitted(run, [0], "12")
    ended(entry, "12", 2)
    long_ago = "slurmstepd: error: *** JOB 12 ON v1 CANCELLED AT 2020-01-01T00:00:00 DUE TO PREEMPTION ***\n"
    (entry.folder / "12_0_log.err").write_text(long_ago)
    assert look(run, plan).category == "unknown"
    just_now = time.strftime("%Y-%m-%dT%H:%M:%S")
    (entry.folder / "12_0_log.err").write_text(long_ago.replace("2020-01-01T00:00:00", just_now))
    assert look(run, plan).category == "preempted"
    assert slurm.calls("sacct")


def test_a_tasks_own_reason_counts_for_its_own_start_only(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    first = submitted(run, [0], "12")
    attempted(run, plan.tasks[0], ended(first, "12", 1), phase="failed", reason=NAN)
    failed = look(run, plan)
    assert (failed.category, failed.reason) == ("non-finite loss", NAN.splitlines()[0])
    submitted(run, [0], "13")
    slurm.holds("13|PENDING|Resources|1:00|")
    assert look(run, plan).phase == "queued"
    slurm.holds()
    assert look(run, plan).category == "cancelled", "the second job never began"


def test_a_task_that_failed_while_its_job_still_ends_has_failed(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    entry = submitted(run, [0], "12")
    attempted(run, plan.tasks[0], started(entry, "12"), phase="failed", reason=NAN)
    slurm.holds("12|RUNNING|None|1:00|v1")
    assert look(run, plan).category == "non-finite loss"
    started(entry, "12", restart=1)
    assert look(run, plan).phase == "running", "that was the start before"


@pytest.mark.parametrize("answer", ["refuses", "absent"])
def test_without_an_answer_the_files_are_shown(
    run: RunDir, plan: Plan, slurm: FakeSlurm, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = submitted(run, [0, 1, 2], "12")
    attempted(run, plan.tasks[0], started(entry, "12_0"), phase="running", step=40, steps=120)
    attempted(run, plan.tasks[1], ended(entry, "12_1", 1), phase="failed", reason=NAN)
    slurm.refuses("squeue", "squeue: error: slurm_load_jobs error: Unable to contact slurm controller\n")
    if answer == "absent":
        shutil.rmtree(slurm.folder)
        monkeypatch.setenv("PATH", str(slurm.folder))
    status = survey(run, plan.tasks)
    assert [task.phase for task in status.tasks[:3]] == ["running", "failed", "waiting"]
    assert ("Unable to contact slurm controller" if answer == "refuses" else "no Slurm on this machine") in status.note
    assert not slurm.calls("sacct")


def test_a_run_on_this_machine_asks_no_slurm(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    attempted(run, plan.tasks[0], None, phase="running", step=1, steps=2)
    attempted(run, plan.tasks[1], None, phase="failed", reason=NAN)
    status = survey(run, plan.tasks)
    assert [task.phase for task in status.tasks[:3]] == ["running", "failed", "waiting"]
    assert status.tasks[1].category == "non-finite loss"
    assert not slurm.calls("squeue")


def test_a_task_run_here_after_it_failed_on_the_cluster_is_told_by_its_files(
    run: RunDir, plan: Plan, slurm: FakeSlurm
) -> None:
    entry = submitted(run, [0], "12")
    attempted(run, plan.tasks[0], ended(entry, "12", 2), phase="running")
    os.utime(entry.folder / "launch.conf", (1, 1))
    attempted(run, plan.tasks[0], None, phase="running", step=5, steps=9)
    status = look(run, plan)
    assert (status.phase, status.mark, status.attempt) == ("running", "5/9", 2)
    assert slurm.calls("squeue")


def test_a_job_submitted_by_hand_is_found_by_its_attempt(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    launch = run.jobs / "by-hand" / "launches" / "77_0.0"
    launch.parent.mkdir(parents=True)
    (run.jobs / "by-hand" / "launch.conf").touch()
    Path(f"{launch}.start").touch()
    attempted(run, plan.tasks[0], launch, phase="running", step=5, steps=9)
    slurm.holds("77_0|RUNNING|None|9:00|v1|msbatch")
    assert (look(run, plan).job, look(run, plan).left) == ("77_0", "9:00")
    slurm.holds()
    assert look(run, plan).category == "node lost"


def reducer(run: RunDir, plan: Plan) -> str:
    status: RunStatus = survey(run, plan.tasks)
    assert status.reducer is not None
    return status.reducer.phase


def test_the_newest_reducer_is_followed(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    assert survey(run, plan.tasks).reducer is None
    ended(submitted(run, [], "11", "reduce"), "11", 0)
    entry = submitted(run, [], "13", "reduce")
    slurm.holds("13|PENDING|Dependency|30:00|")
    assert reducer(run, plan) == "queued"
    slurm.holds("13|RUNNING|None|30:00|v1")
    assert reducer(run, plan) == "running"
    slurm.holds()
    assert reducer(run, plan) == "failed"
    ended(entry, "13", 3)
    assert reducer(run, plan) == "partial"
    ended(entry, "13", 0)
    assert reducer(run, plan) == "done"
    slurm.refuses("squeue", "no answer")
    assert reducer(run, plan) == "done"
    submitted(run, [], "14", "reduce")
    assert reducer(run, plan) == "unknown"


def test_elements_that_were_cancelled_before_they_began_share_a_row_of_accounting(
    run: RunDir, plan: Plan, slurm: FakeSlurm
) -> None:
    submitted(run, range(6), "12")
    slurm.accounts("12_[0,2-5%3]|CANCELLED by 1000|0:0", "12_1|NODE_FAIL|0:0")
    reasons = [task.reason for task in survey(run, plan.tasks).tasks]
    assert reasons == ["cancelled", "its node was lost", *["cancelled"] * 4]


def test_accounting_is_asked_once_for_what_is_final(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    submitted(run, [0, 1], "12")
    slurm.accounts("12_0|NODE_FAIL|0:0", "12_1|RUNNING|0:0")
    answers = Answers()
    assert [task.category for task in survey(run, plan.tasks, answers).tasks[:2]] == ["node lost", "cancelled"]
    slurm.accounts("12_1|TIMEOUT|0:0")
    assert [task.category for task in survey(run, plan.tasks, answers).tasks[:2]] == ["node lost", "time limit"]
    before = len(slurm.calls("sacct"))
    survey(run, plan.tasks, answers)
    assert len(slurm.calls("sacct")) == before


def test_a_submission_of_unknown_fate_is_named(run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    submitted(run, [0], "12")
    record(run, "submitting", name="msb-lost", kind="fold", folder="jobs/lost", tasks=[1])
    slurm.holds("12|PENDING|Resources|1:00|")
    assert survey(run, plan.tasks).unsettled == ["msb-lost"]

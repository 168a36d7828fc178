"""Commands about the jobs of a run, as a person types them: status, logs, cancel."""

import json
import threading
import time
from pathlib import Path

import pytest
from commands import Run
from fake_slurm import FakeSlurm
from runs import make_plan
from traces import attempted, ended, started, submitted

from msbatch.cluster import follow, logs
from msbatch.cluster.ledger import record
from msbatch.layout import RunDir
from msbatch.plan import Plan, save_plan

SWIN = "swin_tiny_patch4_window7_224"
NAN = "The loss became nan by step 40.\nLower training.lr or use precision fp32."


@pytest.fixture
def plan() -> Plan:
    return make_plan({f"P{number}": [number % 2] * 3 for number in range(4)}, [SWIN, "resnet50"])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> RunDir:
    monkeypatch.chdir(tmp_path)
    run = RunDir(Path("runs/one"))
    save_plan(run.plan, plan)
    return run


def test_status_names_reasons_and_remedies(cli: Run, run: RunDir, plan: Plan, slurm: FakeSlurm) -> None:
    entry = submitted(run, range(8), "12")
    slurm.holds(*(f"12_{task}|PENDING|Resources|4:00:00|" for task in range(2, 8)))
    attempted(run, plan.tasks[0], ended(entry, "12_0", 1), phase="failed", reason=NAN)
    ended(entry, "12_1", 137)
    code, out, _ = cli("status")
    assert code == 0
    assert "runs/one: 0 of 8 tasks done, 6 queued, 2 failed" in out
    assert "swin fold 00: The loss became nan by step 40." in out
    assert "msbatch rerun runs/one --failed --backbones swin --folds 1 --mem 32" in out
    told = json.loads(cli("status", "runs/one", "--json")[1])
    assert told["run"] == "runs/one"
    assert [task["job"] for task in told["tasks"]] == [f"12_{task}" for task in range(8)]
    assert told["tasks"][1]["category"] == "out of memory"
    assert cli("status", "--json", "--watch")[0] == 2


def test_what_failed_is_not_run_again_while_slurm_is_silent(cli: Run, run: RunDir, slurm: FakeSlurm) -> None:
    submitted(run, [0], "12")
    slurm.refuses("squeue", "squeue: error: Unable to contact slurm controller (connect failure)")
    code, out, error = cli("rerun", "--failed", "--yes")
    assert (code, out) == (1, "")
    assert "Slurm does not answer" in error
    assert "--folds" in error


def test_status_watches_until_all_is_over_and_tells_failures_by_its_exit_code(
    cli: Run, run: RunDir, plan: Plan, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "EVERY_S", 0.2)
    entry = submitted(run, [0], "12")
    slurm.holds("12|RUNNING|None|9:00|v1")

    def end() -> None:
        time.sleep(0.5)
        attempted(run, plan.tasks[0], ended(entry, "12", 1), phase="failed", reason=NAN)
        slurm.holds()

    other = threading.Thread(target=end)
    other.start()
    code, out, _ = cli("status", "--watch")
    other.join()
    assert code == 3
    assert "swin fold 00  running -> failed: The loss became nan" in out


def test_logs_are_the_tasks_own_then_the_launchers_then_slurms(
    cli: Run, run: RunDir, plan: Plan, slurm: FakeSlurm
) -> None:
    entry = submitted(run, [4, 1], "12")
    attempted(run, plan.tasks[1], ended(entry, "12_1", 1), phase="failed", reason=NAN)
    own = run.task(SWIN, 1).log
    own.write_text("".join(f"step {number}\n" for number in range(300)))
    (entry.folder / "12_1_0_log.out").write_text("[launch] on v1\n")
    (entry.folder / "12_1_0_log.err").write_text("slurmstepd: error\n")
    (entry.folder / "12_0_0_log.err").write_text("somebody else's\n")
    code, out, _ = cli("logs", "--fold", "1", "--backbone", "swin", "-n", "50")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"==> {own} <==  (250 lines before these)"
    assert lines[1:51] == [f"step {number}" for number in range(250, 300)]
    assert [line for line in lines[51:] if not line.startswith("==>")] == [
        "[launch] on v1",
        "slurmstepd: error",
        "swin fold 01 is failed, job 12_1: The loss became nan by step 40.",
    ]
    assert len(slurm.calls("squeue")) == 1


def test_logs_of_a_task_that_did_not_begin_say_how_it_stands(
    cli: Run, run: RunDir, plan: Plan, slurm: FakeSlurm
) -> None:
    submitted(run, [plan.tasks[0].index], "12")
    slurm.holds("12|PENDING|Resources|4:00:00|")
    assert cli("logs", "--fold", "0", "--backbone", "swin")[1] == "swin fold 00 is queued, job 12: Resources\n"
    assert cli("logs", "--fold", "0", "--backbone", "resnet50")[1] == "resnet50 fold 00 is waiting\n"


def test_logs_follow_until_the_task_ends(
    cli: Run, run: RunDir, plan: Plan, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "POLL_S", 0.1)
    monkeypatch.setattr(logs, "ASK_EVERY_S", 0.3)
    entry = submitted(run, [0], "12")
    slurm.holds("12|RUNNING|None|9:00|v1")
    attempted(run, plan.tasks[0], started(entry, "12"), phase="running", step=1, steps=2)
    own = run.task(SWIN, 0).log
    own.write_text("first\nhalf a li")
    slurm.refuses("squeue", "squeue: error: Unable to contact slurm controller")

    def go_on() -> None:
        time.sleep(1)
        slurm.recovers()
        with own.open("a") as log:
            log.write("ne\nlast\n")
        (entry.folder / "12_0_log.err").write_text("slurmstepd: error: *** CANCELLED ***\n")
        slurm.holds()

    other = threading.Thread(target=go_on)
    other.start()
    out = cli("logs", "--fold", "0", "--backbone", "swin", "-f")[1]
    other.join()
    shown = [line for line in out.splitlines() if not line.startswith("==>")]
    assert shown[:4] == ["first", "half a line", "last", "slurmstepd: error: *** CANCELLED ***"]
    assert shown[4].startswith("swin fold 00 is failed, job 12: ")


def test_logs_ask_for_what_they_need_to_know(cli: Run, run: RunDir, tmp_path: Path) -> None:
    assert cli("logs")[0] == 2
    code, _, error = cli("logs", "--fold", "0")
    assert code == 1
    assert "--backbone" in error
    assert f"{SWIN}, resnet50" in error
    assert "no backbone vit_small_patch16_224" in cli("logs", "--fold", "0", "--backbone", "vit")[2]
    assert "There is no fold 9" in cli("logs", "--fold", "9", "--backbone", "swin")[2]
    alone = RunDir(tmp_path / "alone")
    save_plan(alone.plan, make_plan({f"P{number}": [number % 2] * 3 for number in range(4)}))
    assert cli("logs", str(alone.root), "--fold", "0")[1] == "resnet50 fold 00 is waiting\n"
    assert run.plan.exists()


def test_cancel_ends_this_runs_jobs_and_no_others(cli: Run, run: RunDir, slurm: FakeSlurm) -> None:
    submitted(run, [0, 1, 2], "12")
    submitted(run, [], "13", "reduce")
    submitted(run, [3], "9")
    slurm.holds(
        "12_1|RUNNING|None|9:00|v1",
        "12_2|PENDING|Resources|9:00|",
        "13|PENDING|Dependency|9:00|",
        "55_0|RUNNING|None|9:00|v1",
    )
    code, out, _ = cli("cancel", "--yes")
    assert code == 0
    assert "cancelled 1 running and 1 queued tasks and 1 reducer" in out
    assert slurm.calls("scancel") == ["scancel --quiet 13 12"], "the reducer first, else it would start"


def test_cancel_finds_jobs_of_unknown_fate_and_jobs_made_by_hand(cli: Run, run: RunDir, slurm: FakeSlurm) -> None:
    record(run, "submitting", name="msb-lost", kind="fold", folder="jobs/lost", tasks=[0])
    (run.jobs / "by-hand" / "launches").mkdir(parents=True)
    (run.jobs / "by-hand" / "launches" / "77_3.0.start").touch()
    slurm.holds("77_3|RUNNING|None|9:00|v1|msbatch", "77_4|PENDING|Resources|9:00||msbatch")
    slurm.names("msb-lost", "76")
    assert "1 running and 1 queued tasks" in cli("cancel", "--yes")[1]
    assert slurm.calls("scancel") == ["scancel --quiet 77"]
    slurm.holds("76|PENDING|Resources|9:00|")
    assert "cancelled 1 queued task." in cli("cancel", "--yes")[1]


def test_cancel_of_nothing_does_nothing(cli: Run, run: RunDir, slurm: FakeSlurm) -> None:
    submitted(run, [0], "12")
    slurm.holds("55_0|RUNNING|None|9:00|v1")
    code, out, _ = cli("cancel")
    assert code == 0
    assert "Slurm holds nothing of it" in out
    assert not slurm.calls("scancel")


def test_cancel_needs_an_answer_of_slurm(cli: Run, run: RunDir, slurm: FakeSlurm) -> None:
    submitted(run, [0], "12")
    slurm.refuses("squeue", "squeue: error: Unable to contact slurm controller")
    code, _, error = cli("cancel", "--yes")
    assert code == 1
    assert "Unable to contact slurm controller" in error

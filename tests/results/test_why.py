"""What missing.csv says of a fold: no more than its last attempt and the launcher left behind."""

import shutil
from pathlib import Path

from runs import make_run
from traces import attempted, ended, started, submitted

from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.results.reduce import reduce
from msbatch.state import Attempt


def test_the_reason_of_a_missing_fold_is_what_its_last_attempt_and_launcher_left(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {f"P{i}": [i % 2] * 4 for i in range(9)}, {"resnet50": {}})
    tasks, entry = load_plan(run.plan).tasks, submitted(run, range(9), "12")
    running, stopped = {"phase": "running"}, {"phase": "waiting", "reason": "stopped at step 4 of 9: preempted\n"}
    attempted(run, tasks[1], started(entry, "12_1"), **running)
    attempted(run, tasks[2], ended(entry, "12_2", 137), **running)
    attempted(run, tasks[3], ended(entry, "12_3", 1, "the disk is full"), **running)
    attempted(run, tasks[4], ended(entry, "12_4", 75, "preempted", requeued=True), **stopped)
    attempted(run, tasks[5], ended(entry, "12_5", 1), phase="failed", reason="The loss became nan.\nLower it.")
    Attempt.claim(run.task("resnet50", 5), str(started(entry, "13_5")))  # killed before it wrote its state
    attempted(run, tasks[6], ended(entry, "12_6", 1), phase="failed", reason="The loss became nan.\nLower it.")
    attempted(run, tasks[7], ended(entry, "12_7", 0), phase="done")
    attempted(run, tasks[8], None, **running)
    moved = RunDir(shutil.move(run.root, tmp_path / "elsewhere"))
    silent = "its last attempt left no word of an end: msbatch status says more"
    assert [gap.reason.removeprefix("No predictions; ").rstrip(".") for gap in reduce(moved).missing] == [
        "no attempt at it is on record: msbatch status says more",
        silent,
        "its last attempt ended with exit code 137",
        "its last attempt ended with exit code 1 (the disk is full)",
        "its last attempt ended with exit code 75 (stopped at step 4 of 9: preempted), and was requeued",
        silent,
        "the task is failed: The loss became nan",
        "the task had some, which were set aside or removed: msbatch status says more",
        "the task is running",
    ]
    first = (moved.results / "missing.csv").read_bytes()
    reduce(moved)
    assert (moved.results / "missing.csv").read_bytes() == first

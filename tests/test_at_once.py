"""Two commands at once on one run, each a process of its own: nothing is submitted twice, no table is torn."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Run
from fake_slurm import FakeSlurm
from runs import make_run, predict
from waiting import wait_until

from msbatch.cluster.ledger import Submission, read_ledger
from msbatch.layout import RunDir, list_runs
from msbatch.plan import load_plan
from msbatch.results.reduce import reduce

Process = subprocess.Popen[str]

LABELS = {f"P{number:03d}": [number % 2] * 3 for number in range(120)}
LOGITS = {patient: [2.0 * label - 1 for label in own] for patient, own in LABELS.items()}
LATE = "P007"


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Give a list; what a failed test left running in it is ended."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(started: list[Process], *words: str) -> Process:
    command = [sys.executable, "-m", "msbatch", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(process)
    return process


def ends(process: Process) -> tuple[int, str]:
    _, error = process.communicate(timeout=120)
    return process.returncode, error


@pytest.fixture
def planned(cli: Run, cohort_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """Give a run of two backbones and four folds whose first task is done."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(cohort_folder / "cohort.h5", tmp_path)
    assert cli("plan", "cohort.h5", "--backbones", "resnet50,swin", "--no-pretrained")[0] == 0
    (run,) = list_runs()
    predict(run, "resnet50", load_plan(run.plan).folds[0].held_out, [0] * 6, [-1.0] * 6)
    return run


def rerun(started: list[Process], folds: str) -> Process:
    return start(started, "rerun", "--folds", folds, "--yes", "--runtime", "none")


def arrays(run: RunDir) -> list[Submission]:
    return [entry for entry in read_ledger(run) if entry.kind == "fold"]


@pytest.mark.parametrize("other", ["0,1", "1,2"])
def test_of_two_reruns_of_a_task_one_is_refused(
    planned: RunDir, slurm: FakeSlurm, started: list[Process], other: str
) -> None:
    slurm.behaves("slow")
    both = {folds: rerun(started, folds) for folds in ("1,0", other)}
    (won, _), (lost, words) = sorted(((folds, ends(process)) for folds, process in both.items()), key=lambda e: e[1])
    assert [process.returncode for process in (both[won], both[lost])] == [0, 1]
    assert "is still queued or running, as 100" in words[1]
    (array,) = arrays(planned)
    assert array.tasks == tuple(fold + 4 * backbone for backbone in (0, 1) for fold in sorted(map(int, won.split(","))))
    assert [job["tasks"] for job in slurm.jobs()] == [4, 1]
    done = planned.task("resnet50", 0)
    aside = [path.name for path in done.earlier.glob("*/predictions.csv")]
    assert (done.predictions.exists(), len(aside)) == (array.tasks[0] != 0, int(array.tasks[0] == 0))


def test_two_reruns_of_different_tasks_are_both_taken_and_reduced(
    planned: RunDir, slurm: FakeSlurm, started: list[Process]
) -> None:
    slurm.behaves("slow")
    assert [ends(process)[0] for process in [rerun(started, "0"), rerun(started, "3")]] == [0, 0]
    assert sorted(entry.tasks for entry in arrays(planned)) == [(0, 4), (3, 7)]
    assert [job["tasks"] for job in slurm.jobs()] == [2, 1, 2, 1]
    assert slurm.jobs()[-1]["wish"]["dependency"] == "afterany:100:102"


@pytest.fixture
def predicted(tmp_path: Path) -> RunDir:
    """Give a run of 240 tasks, of which one has no predictions yet."""
    logits = {backbone: {**LOGITS} for backbone in ("resnet50", "swin")}
    del logits["swin"][LATE]
    return make_run(tmp_path / "run", LABELS, logits)


def tables(run: RunDir) -> dict[str, bytes]:
    files = [path for path in run.results.iterdir() if path.is_file() and not path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in files}


def one_reducers(run: RunDir) -> dict[str, bytes]:
    """Give the tables that one reducer makes of the same predictions elsewhere."""
    elsewhere = RunDir(run.root.with_name("elsewhere"))
    shutil.copytree(run.root, elsewhere.root)
    reduce(elsewhere)
    return tables(elsewhere)


def test_two_reducers_at_once_write_what_one_writes_and_nobody_sees_half_a_table(
    predicted: RunDir, started: list[Process]
) -> None:
    reduce(predicted)
    old = tables(predicted)
    predict(predicted, "swin", LATE, LABELS[LATE], LOGITS[LATE])
    new = one_reducers(predicted)
    assert [name for name in new if old[name] != new[name]]
    both = [start(started, "reduce", str(predicted.root)) for _ in range(2)]
    while any(process.poll() is None for process in both):
        torn = [name for name, seen in tables(predicted).items() if seen not in (old[name], new[name])]
        assert torn == []
    assert [ends(process)[0] for process in both] == [0, 0]
    assert tables(predicted) == new
    assert not list(predicted.root.glob("**/.*")), "neither leaves anything half-written"


def test_a_reducer_waits_for_the_one_before_and_has_the_last_word(predicted: RunDir, started: list[Process]) -> None:
    first = halted_in_the_middle(predicted, started)
    predict(predicted, "swin", LATE, LABELS[LATE], LOGITS[LATE])
    second = start(started, "reduce", str(predicted.root))
    time.sleep(3)  # long enough for it to write its tables, if it did not wait
    assert second.poll() is None
    assert not predicted.results.exists()
    first.send_signal(signal.SIGCONT)
    assert (ends(first)[0] in (0, 3), ends(second)[0]) == (True, 0), "the first may have missed the late predictions"
    assert tables(predicted) == one_reducers(predicted)


def test_two_reports_at_once_write_what_one_writes(predicted: RunDir, started: list[Process], cli: Run) -> None:
    predict(predicted, "swin", LATE, LABELS[LATE], LOGITS[LATE])
    both = [start(started, "report", str(predicted.root)) for _ in range(2)]
    assert [ends(process)[0] for process in both] == [0, 0]
    page = (predicted.results / "report.html").read_bytes()
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=predicted.results, check=True)
    assert not list(predicted.root.glob("**/.*")), "neither leaves anything half-written"
    assert cli("report", str(predicted.root))[0] == 0
    assert (predicted.results / "report.html").read_bytes() == page


def test_of_two_plans_at_once_one_makes_the_run_and_the_other_finds_it(
    cohort_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Process]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(cohort_folder / "cohort.h5", tmp_path)
    both = [start(started, "plan", "cohort.h5", "--backbones", name) for name in ("resnet50", "swin")]
    assert [ends(process)[0] for process in both] == [0, 0]
    (run,) = list_runs()
    assert sorted(load_plan(run.plan).backbones) == ["resnet50", "swin_tiny_patch4_window7_224"]


def halted_in_the_middle(run: RunDir, started: list[Process]) -> Process:
    """Halt a reducer while it reads; where it was quicker, try again."""
    for _ in range(20):
        process = start(started, "reduce", str(run.root))
        lock = run.root / "reduce.lock"
        wait_until(lambda: lock.exists() or process.poll() is not None, "a reducer")  # noqa: B023
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: process.poll() is not None or halted(process), "it to halt")  # noqa: B023
        if lock.exists() and not run.results.exists():
            return process
        process.send_signal(signal.SIGCONT)
        process.communicate()
        shutil.rmtree(run.results, ignore_errors=True)
    raise AssertionError("no reducer could be halted while it reads")


def halted(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

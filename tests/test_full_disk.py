"""A full disk: whatever is written, what was there before stays, and it is said in a line."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Run
from disks import fill, mounted
from runs import make_run, predict

from msbatch.embeddings import Origin, check_embedding, write_embedding
from msbatch.layout import RunDir, TaskDir
from msbatch.lock import run_lock
from msbatch.plan import load_plan, save_plan
from msbatch.predictions import Predictions, read_predictions, write_predictions
from msbatch.results.reduce import reduce
from msbatch.results.report.page import write_report
from msbatch.state import Attempt, read_state
from msbatch.training.checkpoint import load_checkpoint, save_checkpoint
from msbatch.verify import parts

LABELS = {f"P{number}": [number % 2] * 40 for number in range(6)}
LOGITS = {patient: [2.0 * label - 1 for label in own] for patient, own in LABELS.items()}
IDENTITY = {"signature": "s"}
ORIGIN = Origin("s", 0, "resnet50", "w", 4, "fp32")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "16m"):
        yield folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "ballast")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def checkpoint(folder: Path, version: int) -> None:
    content = {"identity": IDENTITY, "weights": torch.full((40_000,), float(version))}
    save_checkpoint(folder, version, content, lambda: None)
    load_checkpoint(folder, IDENTITY)


def predictions(folder: Path, version: int) -> None:
    own = Predictions("P", np.zeros(4000, np.uint8), np.full(4000, float(version)))
    write_predictions(TaskDir(folder), own, IDENTITY, lambda: None)
    read_predictions(TaskDir(folder), IDENTITY)


def embedding(folder: Path, version: int) -> None:
    write_embedding(TaskDir(folder), np.full((100, 100), float(version), np.float32), ORIGIN, lambda: None)
    check_embedding(TaskDir(folder))


def plan(folder: Path, version: int) -> None:
    run = make_run(folder / "elsewhere", LABELS, {}) if version == 1 else RunDir(folder / "elsewhere")
    save_plan(run.plan, load_plan(run.plan).model_copy(update={"seed": version}))


def state(folder: Path, version: int) -> None:
    task = TaskDir(folder)
    (Attempt.claim(task) if version == 1 else Attempt(task, 1)).write(reason=f"{version}" * 8000)
    read_state(task)


@pytest.mark.parametrize("leave_bytes", [0, 4096])
@pytest.mark.parametrize("write", [checkpoint, predictions, embedding, plan, state])
def test_a_file_stays_as_it_was(write: Callable[[Path, int], None], leave_bytes: int, disk: Path) -> None:
    write(disk, 1)
    before = contents(disk)
    ballast = fill(disk, leave_bytes)
    with pytest.raises(Exception, match=r"No space left on device|the disk is full"):
        write(disk, 2)
    assert contents(disk) == before
    ballast.unlink()
    write(disk, 2)
    assert contents(disk) != before


@pytest.fixture
def reported(disk: Path) -> RunDir:
    """Give a run with tables and a report of all but one fold, whose predictions have come since."""
    late = {patient: own for patient, own in LOGITS.items() if patient != "P3"}
    run = make_run(disk / "run", LABELS, {"resnet50": late})
    write_report(run, reduce(run))
    predict(run, "resnet50", "P3", LABELS["P3"], LOGITS["P3"])
    return run


@pytest.mark.parametrize("part", [0, 0.1, 0.4])
@pytest.mark.parametrize("command", ["reduce", "report"])
def test_tables_and_report_stay_together(command: str, part: float, reported: RunDir, cli: Run) -> None:
    before = contents(reported.results)
    pages = sum(-(-len(own) // 4096) for name, own in before.items() if command == "report" or name.endswith(".csv"))
    ballast = fill(reported.root.parent, int(part * pages) * 4096)
    code, _, error = cli(command, str(reported.root))
    assert (code, "No space left on device" in error, len(error.strip().splitlines())) == (1, True, 2)
    assert "Free some space" in error.splitlines()[-1]
    left = contents(reported.results)
    well = {name for name in before if not name.startswith("tensorboard/")}
    if command == "reduce":
        assert {name: left[name] for name in well} == {name: before[name] for name in well}
    assert set(left) >= well
    assert not list(reported.root.glob("*.lock"))
    found = [finding for each in parts(reported, load_plan(reported.plan))[2:] for finding in each()]
    assert [finding.path for finding in found if finding.bad and "tensorboard" not in finding.path.parts] == []
    ballast.unlink()
    assert cli(command, str(reported.root))[0] == 0


def test_a_lock_that_cannot_be_signed_is_not_held(disk: Path) -> None:
    ballast = fill(disk, 0)
    with pytest.raises(OSError, match=r"No space left"), run_lock(disk / "a.lock"):
        pass
    assert [path.name for path in disk.iterdir()] == ["ballast"]
    shutil.copyfile("/dev/null", ballast)
    with run_lock(disk / "a.lock"):
        pass

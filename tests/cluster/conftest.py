"""A checkout whose job script predicts without training, so that the launcher is tested by itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msbatch.layout import PACKAGE, RunDir, list_runs

STAND_IN = '''
"""Do what a training job does to its folder, but predict without training; STAND_IN says how it ends."""

import os, signal, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import msbatch
from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.predictions import Predictions, write_predictions
from msbatch.state import Attempt
from msbatch.store import Store

how = os.environ["STAND_IN"]
run = RunDir(Path(sys.argv[1]))
plan = load_plan(run.plan)
task = plan.tasks[int(sys.argv[3])]
folder = run.task(task.backbone, task.fold)
print("code", msbatch.__file__, "edition 1", "threads", os.environ["OMP_NUM_THREADS"], flush=True)
print("devices", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if how == "dies at once":
    os.kill(os.getpid(), signal.SIGKILL)
attempt = Attempt.claim(folder)
attempt.write(phase="running", step=1, steps=2, reason="")
if how == "fails":
    attempt.write(phase="failed", reason="the loss became nan")
    sys.exit(1)
while how == "waits" and not Path("go").exists():
    time.sleep(0.05)
held_out = plan.folds[task.fold].held_out
with Store(Path(plan.store.path)) as store:
    labels = store.labels(held_out)
identity = {"signature": plan.signature, "backbone": task.backbone, "fold": task.fold}
write_predictions(folder, Predictions(held_out, labels, labels * 4.0 - 2.0), identity, attempt.check)
attempt.write(phase="done")
'''


class Study:
    """A folder in which msbatch runs from a checkout of its own."""

    def __init__(self, folder: Path, cohort: Path) -> None:
        self.folder = folder / "study"
        self.checkout = folder / "checkout"
        self.folder.mkdir()
        shutil.copy(cohort / "cohort.h5", self.folder)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, self.checkout / "msbatch", ignore=ignored)
        self.script = self.checkout / "jobs" / "fold.py"
        self.script.parent.mkdir()
        self.script.write_text(STAND_IN)
        self.started: list[subprocess.Popen[str]] = []

    @property
    def run(self) -> RunDir:
        return list_runs(self.folder / "runs")[-1]

    def log(self, fold: int) -> Path:
        return self.run.task("test_vit", fold).log

    def start(self, how: str, *options: str, **environment: str) -> "subprocess.Popen[str]":
        study = ["--backbones", "test_vit", "--no-pretrained"]
        command = [sys.executable, "-m", "msbatch", "submit", "--local", *study, *options]
        settings: dict[str, Any] = {"STAND_IN": how, "PYTHONPATH": str(self.checkout), **environment}
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def stop(self) -> None:
        """End whatever a failed test left running."""
        for process in self.started:
            process.kill()
            process.communicate()

    def submit(self, how: str, *options: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(how, *options, **environment)
        out, error = process.communicate(timeout=120)
        return process.returncode, out, error

    def processes(self) -> list[int]:
        """List the job processes of this study that are alive."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_text().split("\0")
            except OSError:
                continue
            if any(word.startswith(str(self.folder)) and word.endswith("fold.py") for word in words):
                found.append(int(entry.parent.name))
        return found


@pytest.fixture
def study(tmp_path: Path, cohort_folder: Path) -> Iterator[Study]:
    study = Study(tmp_path, cohort_folder)
    yield study
    study.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where a cluster was named, a skipped test of the cluster is a failure."""
    report = yield
    if "MSBATCH_CLUSTER" in os.environ and item.get_closest_marker("cluster") and report.skipped:
        report.outcome = "failed"
    return report

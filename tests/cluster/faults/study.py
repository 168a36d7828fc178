"""One small study on a test cluster: submitted, struck, waited for, and compared with the undisturbed one."""

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grounds import Grounds, Process, record_of, sandbox_of
from slurm_cluster import USER, Done

from msbatch.cluster.ledger import Submission, newest, read_ledger
from msbatch.files import make_dir
from msbatch.layout import RunDir, TaskDir, list_runs
from msbatch.plan import load_plan
from msbatch.state import read_state

BACKBONE = "test_vit"
TASKS = 4
STEPS = 30
SETTINGS = f"""
[training]
batch_size = 4
head_steps = 0
steps = {STEPS}
eval_every = 5
patience = 1000
input_px = 32
tta = false
[weights]
pretrained = false
[compute]
processes = 2
[cluster]
time_min = 10
mem_gb = 2
signal_lead_s = 15
image = "image.sif"
"""
DISKS = {"scratch": "12m", "runs": "96m"}
TABLES = ("folds.csv", "cells.csv", "patients.csv", "missing.csv")


class StudyError(Exception):
    """The study did what it must not do."""


class Study:
    """A study in a folder of the ordinary user.

    Parameters
    ----------
    tasks : list of int
        The tasks that it runs. Those of the other folds were done before, undisturbed: the campaign has an hour.
    """

    def __init__(self, grounds: Grounds, name: str, runtime: str, base: Path, tasks: list[int]) -> None:
        self.grounds = grounds
        self.folder = grounds.work / name
        self.runtime = runtime
        self.scratch = self.folder / "scratch"
        self.tasks = tasks
        self.options: tuple[str, ...] = ()
        self._base = base
        self._mounted: list[Path] = []
        self._asking = threading.Lock()

    # --- its folder ------------------------------------------------------------------------------

    def make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "scratch").mkdir(parents=True)
        for name in ("cohort.h5", "cohort.h5.sha256"):
            shutil.copy(self._base / "local" / name, self.folder)
        site = f'runtime = "{self.runtime}"\nscratch = "{self.scratch}"\n'
        (self.folder / "msbatch.toml").write_text(SETTINGS + site)
        for ending in ("", ".json"):
            os.link(f"{self.grounds.image}{ending}", self.folder / f"image.sif{ending}")
        self.give(self.folder)

    def give(self, folder: Path) -> None:
        """Give a folder, and all that is in it, to the ordinary user."""
        self.grounds.root("chown", "--recursive", "--no-dereference", f"{USER}:", folder)

    def take_over_the_rest(self) -> None:
        """Copy the undisturbed run with the tasks that are not run here; submit finds it by its signature."""
        done = list_runs(self._base / "local" / "runs")[-1]
        run = RunDir(self.folder / "runs" / done.root.name)
        make_dir(run.root)
        for path in (done.plan, done.settings, done.environment):
            shutil.copy(path, run.root)
        for task in load_plan(done.plan).tasks:
            if task.index not in self.tasks:
                folder = run.task(task.backbone, task.fold).root
                make_dir(folder.parent)
                shutil.copytree(done.task(task.backbone, task.fold).root, folder)
        self.give(self.folder / "runs")

    def share_sandbox(self) -> None:
        """Let the study find the image unpacked, as the second one on a node does."""
        sandbox = sandbox_of(self._base, self.grounds.image)
        own = self.scratch / f"msbatch-{self.folder.stat().st_uid}"
        own.mkdir(exist_ok=True)
        for path in (sandbox, record_of(sandbox)):
            (own / path.name).symlink_to(path)
        self.give(self.scratch)

    def purge_sandbox(self) -> None:
        """Leave of the unpacked image what a cleaner of scratch may leave."""
        found = next(self.scratch.glob("msbatch-*")) / sandbox_of(self._base, self.grounds.image).name
        found.unlink()
        (found / "opt").mkdir(parents=True)
        self.give(self.scratch)

    def mount(self, folder: Path, size: str) -> None:
        """Put a small disk of its own under a folder."""
        folder.mkdir(exist_ok=True)
        self.grounds.root("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
        self._mounted.append(folder)
        self.give(folder)

    def unmount(self) -> None:
        for folder in self._mounted:
            self.grounds.root("umount", "--lazy", folder, check=False)

    # --- its commands ------------------------------------------------------------------------------

    def msbatch(self, *words: str, **options: str) -> Done:
        return self.grounds.run("msbatch", *words, check=False, cwd=self.folder, **options)

    @property
    def submission(self) -> tuple[str, ...]:
        return ("submit", "--backbones", BACKBONE, "--yes", *self.options)

    def submit(self) -> None:
        self.demand(self.msbatch(*self.submission))

    def rerun(self) -> None:
        # The options of its submission are in the run's settings; among them may be to hold it back.
        self.demand(self.msbatch("rerun", "--failed", "--yes"))
        self.release()

    def demand(self, done: Done) -> None:
        if done.returncode:
            raise StudyError(f"msbatch {done.args[1]} ended with {done.returncode}: {done.stderr[-300:]}")

    def status(self) -> dict[str, Any]:
        done = self.msbatch("status", "--json")
        self.demand(done)
        return dict(json.loads(done.stdout))

    # --- its tasks ---------------------------------------------------------------------------------

    @property
    def run(self) -> RunDir:
        return list_runs(self.folder / "runs")[-1]

    def task(self, task: int) -> TaskDir:
        return self.run.task(BACKBONE, load_plan(self.run.plan).tasks[task].fold)

    def entry(self, task: int) -> Submission:
        found = newest(read_ledger(self.run), task)
        if found is None:
            raise StudyError(f"task {task} is in no submission")
        return found

    def element(self, task: int) -> str:
        return self.entry(task).element(task)

    def starts(self, task: int) -> list[Path]:
        """Give what the launcher's files of every start of a task begin with, oldest first."""
        folder, number = self.entry(task).folder / "launches", self.element(task)
        found = sorted(folder.glob(f"{number}.*.start"), key=lambda path: int(path.suffixes[-2][1:]))
        return [path.with_suffix("") for path in found]

    def attempts(self, task: int) -> int:
        return len(list(self.task(task).attempts.glob("*")))

    def ranks(self, task: int) -> list[Process]:
        """List the training processes of a task's newest start."""
        return [process for process in self.payload(task) if "spawn_main" in process.command]

    def payload(self, task: int) -> list[Process]:
        """List all processes of a task's newest start that the launcher started."""
        launch = str(self.starts(task)[-1])
        return [process for process in self.grounds.processes() if _launch(process) == launch]

    @contextmanager
    def paused(self, task: int, step: int) -> Iterator[list[Process]]:
        """Let a task's processes stand still once they have taken so many steps: a very slow task."""
        self.wait_step(task, step)
        ranks = self.ranks(task)
        for process in ranks:
            process.send(signal.SIGSTOP)
        try:
            yield ranks
        finally:
            for process in ranks:
                process.send(signal.SIGCONT)

    def wait_told(self, task: int) -> None:
        """Wait until the launcher asks a task's newest start to stop."""
        launch = self.starts(task)[-1]
        self.wait(launch.with_name(f"{launch.name}.stop").exists, f"a warning to task {task}")

    def node(self, task: int) -> str:
        return self.grounds.queue()[self.element(task)][2]

    # --- waiting -----------------------------------------------------------------------------------

    def wait(self, ready: Callable[[], object], what: str, seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise StudyError(f"waited {seconds:.0f} s in vain for: {what}")
            time.sleep(0.2)

    def wait_step(self, task: int, step: int) -> None:
        """Wait until a task runs and has taken so many steps."""
        self.wait(lambda: self._reached(task, step), f"step {step} of task {task}")

    def _reached(self, task: int, step: int) -> bool:
        state = read_state(self.task(task))
        if state.phase in ("done", "failed"):
            raise StudyError(f"task {task} was {state.phase} before it could be struck: {state.reason}")
        return state.phase == "running" and state.step >= step

    def wait_restart(self, task: int) -> None:
        """Wait until Slurm starts a task once more; its delay is cut short."""
        self.wait(lambda: self.hurry() or len(self.starts(task)) > 1, f"another start of task {task}")

    def wait_gone(self, task: int) -> None:
        number = self.element(task)
        self.wait(lambda: number not in self.grounds.queue(), f"the end of task {task}")

    def set_limit(self, task: int, minutes: int) -> None:
        """Change a task's time limit; Slurm refuses it for a moment while the task is being requeued."""
        words = ("scontrol", "update", f"JobId={self.element(task)}", f"TimeLimit={minutes}")
        self.wait(lambda: self.grounds.root(*words, check=False).returncode == 0, "another time limit", 60)

    def hurry(self) -> None:
        """Let requeued jobs start now rather than after Slurm's delay."""
        with self._asking:
            for number, (state, reason, _) in self.grounds.queue().items():
                if state == "PENDING" and reason == "BeginTime":
                    self.grounds.root("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)

    def release(self, task: int | None = None) -> None:
        """Release one task, or everything, that was submitted held."""
        held = [number for number, (_, reason, _) in self.grounds.queue().items() if reason.startswith("JobHeld")]
        for number in held if task is None else [self.element(task)]:
            self.grounds.root("scontrol", "release", number, check=False)

    def finish(self, seconds: float = 1200) -> None:
        """Wait until Slurm holds nothing any more."""
        self.wait(lambda: self.hurry() or not self.grounds.queue(), "the end of the study", seconds)

    # --- what came of it -----------------------------------------------------------------------------

    def differences(self) -> list[str]:
        """Name the tables that are not those of the undisturbed run."""
        return [name for name in TABLES if _bytes(self.run.results / name) != _bytes(self._base / "expected" / name)]

    def missing(self) -> list[int]:
        """Give the tasks that the written tables say are missing."""
        lines = (self.run.results / "missing.csv").read_text().splitlines()[1:]
        folds = [int(line.split(",")[1]) for line in lines]
        return sorted(task.index for task in load_plan(self.run.plan).tasks if task.fold in folds)

    def leftovers(self) -> list[str]:
        """Name what a study must not leave behind."""
        found = [f"process {process.pid}: {process.command[:80]}" for process in self.grounds.processes()]
        found += [str(path) for path in self.run.root.rglob("*") if is_leftover(path)]
        return found + [str(path) for path in self.scratch.iterdir() if not re.fullmatch(r"msbatch-\d+", path.name)]


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def is_leftover(path: Path) -> bool:
    if path.suffix == ".pkl":
        return not path.name.endswith(("_submitted.pkl", "_result.pkl"))
    return (
        ".tmp." in path.name
        or path.name.endswith(".tmp")
        or ".lock" in path.name
        or path.name.startswith(".submission_file_")
    )


def _launch(process: Process) -> str:
    own = process.environment
    return own.get("MSBATCH_LAUNCH") or own.get("APPTAINERENV_MSBATCH_LAUNCH") or own.get("LAUNCH", "")

"""What is killed: each way in which msbatch writes, on a study of four patients, and what must hold after a kill."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort
from msbatch.errors import MsbatchError
from msbatch.files import hash_beside, remove_temporary
from msbatch.layout import RunDir
from msbatch.plan import load_plan, save_plan
from msbatch.predictions import read_of_task
from msbatch.results.reduce import reduce
from msbatch.results.report.page import write_report
from msbatch.settings_file import parse_settings
from msbatch.state import read_state
from msbatch.store import Store
from msbatch.training import embed, work  # noqa: F401  (what a task imports, so that a fork need not)
from msbatch.training.checkpoint import load_checkpoint, save_checkpoint
from msbatch.training.task import run_task

Note = Callable[[int], None]
InChild = Callable[[Callable[[], None]], int]

LAST_STEP = 8
IDENTITY = {"signature": "s"}
# These hold the time; and a task that is killed once it has its predictions leaves its last checkpoints.
VARYING = ("state.json", "attempts", "tensorboard", "checkpoints")


@dataclass(frozen=True)
class Act:
    """One way to write.

    Attributes
    ----------
    prepare : callable
        Put into a folder what is there before.
    run : callable
        Do it in a folder, or go on with it; to be told of each step once it is safe.
    judge : callable
        Say what is unreadable or lost in a folder after a kill, and what it was told.
    result : callable
        Give all files of a folder that do not hold the time, by name.
    writes : str
        Pattern of the first file that is half-written.
    window_s : float
        How long it writes from then on.
    """

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path, Note], None]
    inspect: Callable[[Path, int], list[str]]
    result: Callable[[Path], dict[str, bytes]]
    writes: str = ".*.tmp.*"
    window_s: float = 0.1

    def note(self, folder: Path) -> Note:
        """Give what an act tells of its steps to; it survives a kill."""
        path = folder.with_name(f"{folder.name}.told")
        return lambda step: _append(path, step)

    def judge(self, folder: Path) -> list[str]:
        """Say what is unreadable or lost after a kill."""
        path = folder.with_name(f"{folder.name}.told")
        told = max((int(line) for line in path.read_text().split()), default=0) if path.exists() else 0
        return self.inspect(folder, told)


def _append(path: Path, step: int) -> None:
    with path.open("a") as out:
        out.write(f"{step}\n")


@dataclass(frozen=True)
class Grounds:
    """A cohort, its store, a run that is finished and one that has yet to predict; made once."""

    folder: Path
    in_child: InChild
    cells: int = field(default=12)

    @cached_property
    def images(self) -> Path:
        """A folder with images/ and cohort.csv."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draw_cohort(self.folder / "cohort", patients=4, cells=self.cells, seed=2)
        return self.folder / "cohort"

    @cached_property
    def store(self) -> Path:
        """The store, written by a process that nobody disturbs."""
        path = self.folder / "cohort.h5"
        assert self.in_child(lambda: _pack(self.images, path)) == 0
        return path

    @cached_property
    def planned(self) -> Path:
        """A run of one backbone, with its plan alone."""
        training = {"batch_size": 4, "steps": 8, "eval_every": 2, "input_px": 32, "tta": False, "patience": 99}
        plan, weights = {"backbones": ["test_vit"], "seed": 3}, {"pretrained": False, "dir": str(self.folder)}
        settings = parse_settings({"plan": plan, "training": training, "weights": weights}, "kills")
        run = RunDir(self.folder / "planned")
        save_plan(run.plan, draw_plan(self.store, settings))
        return run.root

    @cached_property
    def unpredicted(self) -> Path:
        """The same, where task 0 has trained and has yet to predict."""

        def train() -> None:
            work._predict = lambda *_: None
            run_task(RunDir(own), 0)

        own = Path(shutil.copytree(self.planned, self.folder / "unpredicted"))
        assert self.in_child(train) == 0
        return own

    @cached_property
    def trained(self) -> Path:
        """The same with all predictions."""
        own = Path(shutil.copytree(self.planned, self.folder / "trained"))
        for index in range(4):
            assert self.in_child(lambda: run_task(RunDir(own), index)) == 0  # noqa: B023
        return own

    @cached_property
    def partial(self) -> Path:
        """The same with the tables and the report of three folds, and by now the predictions of four."""
        own = Path(shutil.copytree(self.trained, self.folder / "partial" / "run"))
        late, aside = task_zero(own).manifest, self.folder / "late.json"
        shutil.move(late, aside)
        assert self.in_child(lambda: _report(own)) == 0
        shutil.move(aside, late)
        return own

    @cached_property
    def complete(self) -> Path:
        """The same with the tables and the report of all four."""
        own = Path(shutil.copytree(self.partial, self.folder / "complete" / "run"))
        assert self.in_child(lambda: _report(own)) == 0
        return own


def make_acts(grounds: Grounds) -> list[Act]:
    """Give all acts."""

    def copy_of(name: str) -> Callable[[Path], None]:
        return lambda folder: _copy(getattr(grounds, name), folder)

    def tables(folder: Path, _told: int) -> list[str]:
        return _judge_tables(folder, grounds)

    return [
        Act("pack", copy_of("images"), lambda f, _: _pack(f, f / "c.h5"), _judge_store, _all_files),
        Act("checkpoint", lambda f: f.mkdir(parents=True), _save_all, _judge_checkpoints, _last_step),
        Act("training", copy_of("planned"), lambda f, _: _train(f), _judge_task, _all_files, "*.pt", 1.0),
        Act("prediction", copy_of("unpredicted"), lambda f, _: _train(f), _judge_task, _all_files),
        Act("reduce", copy_of("partial"), lambda f, _: _reduce(f), tables, _all_files),
        Act("report", copy_of("partial"), lambda f, _: _report(f), tables, _all_files, ".report.html.tmp.*", 1.0),
    ]


def task_zero(run: Path):
    """Give the folder of the first task."""
    task = load_plan(RunDir(run).plan).tasks[0]
    return RunDir(run).task(task.arm, task.fold)


def _copy(source: Path, folder: Path) -> None:
    # A report names its run: all runs that are compared are called alike.
    shutil.copytree(source, folder / source.name if source.name == "cohort" else folder / "run")


def _pack(folder: Path, output: Path) -> None:
    images = folder / "cohort" if (folder / "cohort").exists() else folder
    pack(images / "images", images / "cohort.csv", output, PackOptions(size_px=48, overwrite=True))


def _save_all(folder: Path, note: Note) -> None:
    remove_temporary(folder)  # as each attempt at a task begins
    found = load_checkpoint(folder, IDENTITY)
    for step in range(found["step"] + 1 if found else 1, LAST_STEP + 1):
        save_checkpoint(folder, step, _content(step), lambda: None)
        note(step)


def _content(step: int) -> dict[str, object]:
    return {"identity": IDENTITY, "step": step, "weights": torch.full((200_000,), float(step))}


def _last_step(folder: Path) -> dict[str, bytes]:
    """Give the last checkpoint; an older one may stay where its removal was killed, until the task ends."""
    return {path.name: path.read_bytes() for path in folder.glob(f"*{LAST_STEP:07d}*")}


def _train(folder: Path) -> None:
    run_task(RunDir(folder / "run"), 0)


def _reduce(folder: Path) -> None:
    reduce(RunDir(folder / "run"))


def _report(folder: Path) -> None:
    run = RunDir(folder / "run" if (folder / "run").exists() else folder)
    write_report(run, reduce(run))


def _judge_store(folder: Path, _told: int) -> list[str]:
    path = folder / "c.h5"
    if not path.exists():
        return []
    try:
        with Store(path) as store:
            cells = sum(len(store.images(patient)) for patient in store.patients)
    except MsbatchError as error:
        return [f"unreadable: {error}"]
    beside = hash_beside(path)
    if beside.exists() and beside.read_text().split()[0] != hashlib.sha256(path.read_bytes()).hexdigest():
        return ["unreadable: another hash stands beside the store"]
    return [] if cells else ["lost: a store without cells"]


def _judge_checkpoints(folder: Path, told: int) -> list[str]:
    try:
        found = load_checkpoint(folder, IDENTITY)
    except Exception as error:
        return [f"unreadable: {type(error).__name__}: {error}"]
    step = found["step"] if found else 0
    if found and not torch.equal(found["weights"], _content(step)["weights"]):
        return [f"unreadable: step {step} has other weights"]
    return [f"lost: step {told} was written, step {step} is there"] if step < told else []


def _judge_task(folder: Path, _told: int) -> list[str]:
    run = RunDir(folder / "run")
    plan = load_plan(run.plan)
    task, own = plan.tasks[0], task_zero(run.root)
    try:
        state = read_state(own)
        if own.done:
            read_of_task(run, plan, task)
            return []
        found = load_checkpoint(own.checkpoints, plan.identity(task))
    except Exception as error:
        return [f"unreadable: {type(error).__name__}: {error}"]
    step = found["step"] if found else 0
    return [f"lost: the task was at step {state.step}, a checkpoint is of step {step}"] if step < state.step else []


def _judge_tables(folder: Path, grounds: Grounds) -> list[str]:
    """Every file of the results is the one before or the one after; none is gone, but while boards change places."""
    results, problems = folder / "run" / "results", []
    before, after = grounds.partial / "results", grounds.complete / "results"
    for path in sorted(path for path in before.rglob("*") if path.is_file()):
        name = path.relative_to(before)
        own, known = results / name, [side / name for side in (before, after) if (side / name).is_file()]
        if not own.is_file():
            problems += [] if "tensorboard" in name.parts or len(known) == 1 else [f"lost: {name}"]
        elif own.read_bytes() not in [side.read_bytes() for side in known] and own.name != "SHA256SUMS":
            problems.append(f"unreadable: {name}")
    return problems


def _all_files(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    in_tasks = [name for name in files if "/tasks/" in name and any(word in name for word in VARYING)]
    return {name: path.read_bytes() for name, path in files.items() if name not in in_tasks}

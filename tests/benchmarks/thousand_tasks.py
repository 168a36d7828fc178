"""Processor time of the commands that handle a whole study, for a thousand tasks and for ten.

A stand-in for Slurm, whose own time counts as well, takes the jobs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from fake_slurm import FakeSlurm
from rows import Row, processor_s, row
from runs import make_plan, make_store, predict_all
from test_thousand_tasks import BACKBONES, SUBMIT, cohort, mixed

from msbatch.layout import RunDir
from msbatch.plan import save_plan

FEW, MANY = 10, 1000
ROUNDS = 2

Seconds = dict[str, float]


def measure() -> list[Row]:
    """Compare what a task costs among a thousand with what it costs among ten."""
    few, many = {}, {}
    for _ in range(ROUNDS):
        few, many = _least(few, _commands(FEW)), _least(many, _commands(MANY))
    return [
        row(
            f"{name}, a task among {MANY:,}",
            f"a task among {FEW}",
            many[name] / MANY / (few[name] / FEW),
            1,
            "lower",
            f"{many[name]:.2f} s of processor time for {MANY:,} tasks, {few[name]:.2f} s for {FEW}, least of {ROUNDS}",
        )
        for name in many
    ]


def _commands(tasks: int) -> Seconds:
    """Give the processor time of every command on a study of so many tasks."""
    labels = cohort(tasks // len(BACKBONES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slurm = FakeSlurm(folder / "slurm")
        call = partial(_seconds, folder, slurm)
        make_store(folder / "cohort.h5", labels)
        seconds = {"plan": call("plan", *SUBMIT[1:4]), "submit": call(*SUBMIT, "--yes")}
        plan, run = make_plan(labels, BACKBONES), RunDir(folder / "mixed")
        save_plan(run.plan, plan)
        mixed(run, plan, slurm)
        seconds["status"] = call("status", "mixed")
        logits = {patient: [2.0 * label - 1 for label in own] for patient, own in labels.items()}
        predict_all(run, plan, labels, dict.fromkeys(BACKBONES, logits))
        return seconds | {"reduce": call("reduce", "mixed")}


def _seconds(folder: Path, slurm: FakeSlurm, *words: str) -> float:
    environment = {**os.environ, "PATH": f"{slurm.folder}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "msbatch", *words]
    run = partial(subprocess.run, command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    return processor_s(run)


def _least(before: Seconds, now: Seconds) -> Seconds:
    return {name: min(seconds, before.get(name, seconds)) for name, seconds in now.items()}

"""How soon a task takes its first step, beside the imports that no task can do without; no container around either."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from lite0_weights import BACKBONE, write_weights
from pictures import cells
from rows import CORES, Row, alternating, row, wall_s
from runs import make_store

from msbatch.cohort.features import FEATURES
from msbatch.cohort.folds import draw_plan
from msbatch.config import PlanSettings, Settings, TrainingSettings, WeightSettings
from msbatch.layout import RunDir
from msbatch.plan import save_plan

PATIENTS, OF_EACH, SIDE_PX = 8, 20, 128
ROUNDS = 5
IMPORTS = "import torch, timm, albumentations"
FOLD = Path(__file__).resolve().parents[2] / "jobs" / "fold.py"


def measure() -> list[Row]:
    """Measure seconds from the start of a process to the end of its first step and validation."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # as msbatch does: importing it would use the network
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = write_weights(folder / "weights").parent
        store = _write_store(folder)
        runs = iter(range(1000))
        sides = (
            lambda: wall_s(partial(_first_step, _plan(folder / f"run{next(runs)}", store, weights))),
            lambda: wall_s(partial(subprocess.run, [sys.executable, "-c", IMPORTS], check=True)),
        )
        ours, imports = (median(seconds) for seconds in alternating(sides, ROUNDS))
    return [
        row(
            "start of a task to its first step, more than the imports, in seconds",
            IMPORTS,
            ours - imports,
            3,
            "lower",
            f"{ours:.1f} s, imports {imports:.1f} s, median of {ROUNDS}, {CORES} cores; {BACKBONE} with weights, "
            "without a container; counts the first validation and checkpoint as well",
        )
    ]


def _write_store(folder: Path) -> Path:
    names = [f"P{number}" for number in range(PATIENTS)]
    features = np.zeros((OF_EACH, len(FEATURES)), np.float32)
    parts = np.split(cells(PATIENTS * OF_EACH, SIDE_PX), PATIENTS)
    looks = {name: (part, features) for name, part in zip(names, parts, strict=True)}
    return make_store(folder / "cohort.h5", {name: [int(name[1:]) % 2] * OF_EACH for name in names}, looks=looks)


def _plan(root: Path, store: Path, weights: Path) -> RunDir:
    settings = Settings(
        plan=PlanSettings(backbones=(BACKBONE,)),
        training=TrainingSettings(head_steps=0, steps=1, eval_every=1),
        weights=WeightSettings(dir=weights),
    )
    run = RunDir(root)
    save_plan(run.plan, draw_plan(store, settings))
    return run


def _first_step(run: RunDir) -> None:
    """Start a task, and wait until it logs its first step; what it does then is cut short."""
    command = [sys.executable, str(FOLD), str(run.root), "--task", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if "step 1/1" in line:
            process.kill()
            process.communicate()
            return
    raise RuntimeError(f"The task took no step: {''.join(told[-3:])}")

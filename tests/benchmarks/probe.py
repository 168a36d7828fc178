"""The probe on real cells with real weights, beside a plain forward pass of the same network over the same images."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lite0_weights import BACKBONE, write_weights
from rows import CORES, Row, SkippedError, row, wall_s

from msbatch.cluster.local import run_local
from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.config import FROZEN, PathSettings, PlanSettings, Settings, WeightSettings
from msbatch.layout import RunDir
from msbatch.plan import load_plan
from msbatch.results.metrics import Value
from msbatch.results.reduce import reduce
from msbatch.results.reduction import Reduction
from msbatch.results.tables import patient_auc
from msbatch.runs import create_or_reuse

DATA = Path(os.environ.get("MSBATCH_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"

FORWARD = f"""
import sys, numpy as np, timm, torch
from pathlib import Path
from safetensors.torch import load_file
from msbatch.store import Store
with Store(Path(sys.argv[1])) as store:
    images = torch.from_numpy(np.concatenate([store.images(patient) for patient in store.patients]))
network = timm.create_model("{BACKBONE}", num_classes=0).eval()
network.load_state_dict(load_file(sys.argv[2]), strict=False)
mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
torch.set_num_threads({CORES})
with torch.inference_mode():
    parts = [network((part.permute(0, 3, 1, 2) / 255 - mean) / std) for part in images.split(64)]
np.save(sys.argv[3], torch.cat(parts))
"""


def measure() -> list[Row]:
    """Measure a cohort labelled by patient, whose colour goes with the label, and one labelled by cell."""
    if not DATA.is_dir():
        raise SkippedError(f"the real cells are not in {DATA}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = write_weights(folder / "weights")
        return [*_by_patient(folder, weights), *_by_cell(folder, weights)]


def _by_patient(folder: Path, weights: Path) -> list[Row]:
    run = _plan(folder, weights, "malaria_cohort24", "patient_status", positive="infected")
    store = Path(load_plan(run.plan).store.path)
    forward = [sys.executable, "-c", FORWARD, str(store), str(weights), str(folder / "seen.npy")]
    by_hand = wall_s(lambda: subprocess.run(forward, check=True, env={**os.environ, "OMP_NUM_THREADS": str(CORES)}))
    embedding = wall_s(lambda: _embed(run))
    reduction: list[Reduction] = []
    rest = wall_s(lambda: reduction.append(reduce(run)))
    cohort = reduction[0].cohort
    assert cohort is not None
    colour = round(patient_auc(cohort.nuisance["colour"].values()).number or 0, 3)
    return [
        row(
            "probe on malaria_cohort24, embedding stage",
            "a plain timm forward pass over the same images, both from the start of their processes",
            embedding / by_hand,
            1.3,
            "lower",
            f"1,440 cells at 128 px, {BACKBONE}: {embedding:.1f} s, by hand {by_hand:.1f} s, {CORES} cores each",
        ),
        row(
            "probe on malaria_cohort24, all the rest, in seconds",
            "none",
            rest,
            30,
            "lower",
            f"10,000 permutations of each test; colour row: patient AUC {colour}; {cohort.verdict.sentence}",
        ),
    ]


def _by_cell(folder: Path, weights: Path) -> list[Row]:
    run = _plan(folder, weights, "malaria_cells12", "cell_class")
    embedding = wall_s(lambda: _embed(run))
    reduction: list[Reduction] = []
    rest = wall_s(lambda: reduction.append(reduce(run)))
    (f1,) = (own["f1_parasitized"] for own in reduction[0].cells if own["backbone"] == BACKBONE + FROZEN)
    assert isinstance(f1, Value)
    assert f1.number is not None
    return [
        row(
            "probe on malaria_cells12, pooled F1 of cells",
            "a logistic regression on the same features by hand, .890",
            f1.number,
            0.89,
            detail=f"720 cells; {embedding:.1f} s to embed, {rest:.1f} s for all the rest",
        )
    ]


def _plan(folder: Path, weights: Path, data: str, label: str, positive: str | None = None) -> RunDir:
    own = folder / data
    own.mkdir()
    options = PackOptions(patient="patient_id", label=label, positive=positive)
    store = pack(DATA / data, DATA / data / "manifest.csv", own / "cohort.h5", options).output
    settings = Settings(
        paths=PathSettings(store=store, runs=own / "runs"),
        plan=PlanSettings(backbones=(BACKBONE + FROZEN,)),
        weights=WeightSettings(dir=weights.parent),
    )
    return create_or_reuse(draw_plan(store, settings), settings)


def _embed(run: RunDir) -> None:
    plan = load_plan(run.plan)
    shutil.rmtree(run.tasks, ignore_errors=True)
    failed = run_local(run, plan, plan.tasks, CORES)
    assert not failed, failed[0].reason

"""A whole study small enough for a laptop, on a synthetic cohort."""

from __future__ import annotations

from pathlib import Path

import click

from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort
from msbatch.layout import RunDir
from msbatch.runs import create_or_reuse
from msbatch.settings_file import parse_settings

PATIENTS = 8
CELLS = 40
SIZE_PX = 64

# Two of timm's smallest networks, from scratch: nothing has to be downloaded.
SETTINGS = {
    "plan": {"backbones": ["test_convnext", "test_efficientnet"]},
    "training": {"batch_size": 16, "steps": 120, "lr": 2e-3, "eval_every": 40, "drop_path": 0.0, "ema_decay": 0.9},
    "weights": {"pretrained": False},
}


def prepare_demo(folder: Path) -> RunDir:
    """Draw, pack and plan the demo's cohort, or find what an earlier call left."""
    store = folder / "cohort.h5"
    if not store.exists():
        click.echo(f"Drawing {PATIENTS} synthetic patients with {CELLS} cells each in {folder}/images ...")
        table = draw_cohort(folder, patients=PATIENTS, cells=CELLS)
        click.echo(pack(folder / "images", table, store, PackOptions(size_px=SIZE_PX)).text())
    settings = parse_settings({**SETTINGS, "paths": {"store": store, "runs": folder / "runs"}}, "demo")
    run = create_or_reuse(draw_plan(store, settings), settings)
    click.echo(f"Run: {run.root}")
    return run

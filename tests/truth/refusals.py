"""Planted faults that need no statistics: what must be refused, and what must score 0."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bounds import Finding
from planted import SIDE_PX, Design, draw_planted
from verdicts import pack_planted

from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.config import Settings
from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import save_plan
from msbatch.predictions import Predictions, write_predictions
from msbatch.results.head import fit_head
from msbatch.results.nuisance import read_cells
from msbatch.results.reduce import Reduction, reduce
from msbatch.store import Store

SMALL = Design(8, 4, cells=5)


def shared_image(folder: Path) -> Finding:
    """Give one image to two patients."""
    table = draw_planted(folder, SMALL, 1)
    shutil.copy(folder / "images" / "P00" / "000.bmp", folder / "images" / "P05" / "copy.bmp")
    store = folder / "cohort.h5"
    found = _refused(
        lambda: pack(folder / "images", table, store, PackOptions(size_px=SIDE_PX)), "share the same pixels"
    )
    return Finding(found.holds and not store.exists(), found.figures)


def every_patient_wrong(folder: Path) -> Finding:
    """Call patients by a head that sees nothing: the other patients lean to the other class, so all calls are wrong."""
    reduction = reduce(_blind_run(folder))
    rows = [row for row in [*reduction.cells, *reduction.patients] if row["backbone"] == reduction.plan.backbones[0]]
    scores = {f"{name} {float(str(row[name])):.1f}" for row in rows for name in ("f1_control", "f1_ms", "macro_f1")}
    calls = {row["correct"] for row in reduction.folds}
    holds = calls == {"no"} and scores == {"f1_control 0.0", "f1_ms 0.0", "macro_f1 0.0"} and _all_folds(reduction)
    return Finding(
        holds, f"patients called correctly: {sorted(calls)}; cells and patients: {', '.join(sorted(scores))}"
    )


def one_class(folder: Path) -> Finding:
    """Plan a cohort of class ms alone."""
    return _refused_plan(folder, Design(6, 6, cells=3), "there is only one class")


def single_patient(folder: Path) -> Finding:
    """Plan a cohort with one patient of class ms."""
    return _refused_plan(folder, Design(6, 1, cells=3), "Only one patient has class ms")


def too_few(folder: Path) -> Finding:
    """Plan a cohort of three."""
    return _refused_plan(folder, Design(3, 1, cells=3), "too few patients")


def _refused_plan(folder: Path, design: Design, message: str) -> Finding:
    return _refused(lambda: draw_plan(pack_planted(folder, design, 1), Settings()), message)


def _refused(command: Callable[[], object], message: str) -> Finding:
    try:
        command()
    except MsbatchError as error:
        return Finding(message in error.problem and bool(error.hint), f"refused: {error.problem}")
    return Finding(False, "not refused")


def _blind_run(folder: Path) -> RunDir:
    """Write the predictions of a head without a feature; patients weigh alike, whatever their number of cells."""
    store = pack_planted(folder, SMALL, 1)
    plan, run = draw_plan(store, Settings()), RunDir(folder / "run")
    save_plan(run.plan, plan)
    with Store(store) as opened:
        cells = read_cells(opened)
    _, index, counts = np.unique(cells.groups, return_inverse=True, return_counts=True)
    head = fit_head(np.zeros((len(index), 1)), cells.groups, weights=1 / counts[index])
    logits = head.predict(cells.labels) - 0.5
    for fold in plan.folds:
        own = cells.groups == fold.held_out
        task, identity = plan.backbones[0], {"signature": plan.signature, "fold": fold.number}
        predictions = Predictions(fold.held_out, cells.labels[own], logits[own])
        write_predictions(run.task(task, fold.number), predictions, {**identity, "backbone": task}, lambda: None)
    return run


def _all_folds(reduction: Reduction) -> bool:
    return reduction.complete and len(reduction.folds) == SMALL.patients

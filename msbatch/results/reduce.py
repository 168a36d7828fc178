"""From the predictions of a run to its tables."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from msbatch.checksums import NAME, fill_sums
from msbatch.config import is_frozen
from msbatch.errors import DiskError, MsbatchError
from msbatch.files import atomic_path, fill_csv, json_text, remove_temporary
from msbatch.layout import RunDir
from msbatch.lock import run_lock
from msbatch.plan import Plan, Task, load_plan
from msbatch.predictions import Predictions
from msbatch.results.analysis import Cohort, compare_backbones, look_at, study_cohort
from msbatch.results.boards import write_boards
from msbatch.results.collect import Missing, collect, of_arm
from msbatch.results.covariates import read_covariates
from msbatch.results.folds import FoldResult, summarise
from msbatch.results.frozen import Probe, read_frozen, score_frozen, without
from msbatch.results.reduction import Reduction
from msbatch.results.rows import ALWAYS_POSITIVE, Row, cell_row, fold_rows, patient_rows
from msbatch.results.subjects import Subjects, read_subjects
from msbatch.results.tables import tables, verdict_json
from msbatch.store import Store, verify_store
from msbatch.text import safe

LOCK_WAIT_S = 300
FIGURES = "figures"  # of the report


def reduce(run: RunDir) -> Reduction:
    """Read a run's predictions, and write its tables and the summaries for TensorBoard.

    The same predictions give the same bytes; of two reducers at once, one waits for the other. The hashes of all that
    is written stand in ``results/SHA256SUMS``. Where the store is
    gone or was changed, the tables that need it say so, and the others are written all the same.

    Raises
    ------
    MsbatchError
        If the plan cannot be read, or the disk fails that holds the store or what tasks made. Unusable predictions
        raise nothing: they are listed as missing.
    """
    plan = load_plan(run.plan)
    # Sums in another order differ in their last digit: results must not depend on the number of cores.
    with run_lock(run.reduce_lock, LOCK_WAIT_S), threadpool_limits(1):
        reduction = _reduce(run, plan)
        for folder in (run.results, run.results / FIGURES):
            remove_temporary(folder)  # of killed writers: whoever writes here holds the lock
        _write(run, reduction)
    return reduction


def _reduce(run: RunDir, plan: Plan) -> Reduction:
    found, missing = collect(run, plan)
    subjects, probes, no_cohort = _read_cohort(run, plan, found, missing)
    arms = _summarise(plan, found)
    results = {task.arm: arms[task.arm] for task in plan.tasks if task.relabelling is None}
    summarised = {**results, ALWAYS_POSITIVE: _always_positive(found)}
    patients = [row for backbone, own in summarised.items() for row in patient_rows(plan, backbone, own)]
    covariates = read_covariates(subjects.attributes) if subjects else []
    return Reduction(
        plan=plan,
        predictions=found,
        results=results,
        arms=arms,
        folds=[row for backbone, own in results.items() for row in fold_rows(plan, backbone, own)],
        cells=[cell_row(plan, backbone, own) for backbone, own in summarised.items()],
        patients=patients,
        missing=missing,
        backbones={name: look_at(plan, own, of_arm(found, name), covariates) for name, own in results.items()},
        comparison=compare_backbones(plan, results),
        cohort=_study(plan, subjects, found, patients),
        no_cohort=no_cohort,
        probes=probes,
    )


def _summarise(plan: Plan, found: Mapping[Task, Predictions]) -> dict[str, dict[int, FoldResult]]:
    arms: dict[str, dict[int, FoldResult]] = {arm: {} for arm in plan.arms}
    for task, predictions in found.items():
        arms[task.arm][task.fold] = summarise(task.fold, predictions)
    return arms


def _always_positive(found: Mapping[Task, Predictions]) -> dict[int, FoldResult]:
    first = {task.fold: own for task, own in reversed(list(found.items()))}
    return {
        fold: summarise(fold, Predictions(own.patient, own.labels, np.ones(len(own.labels))))
        for fold, own in sorted(first.items())
    }


def _read_cohort(
    run: RunDir, plan: Plan, found: dict[Task, Predictions], missing: list[Missing]
) -> tuple[Subjects | None, list[Probe], str]:
    """Read the store, and add what frozen backbones predict; without a store they predict nothing."""
    embeddings, origins, gaps = read_frozen(run, plan)
    missing += gaps
    path = Path(plan.store.path)
    try:
        verify_store(path, plan.store.sha256)
        with Store(path) as store:
            subjects = read_subjects(store, embeddings)
    except DiskError:  # the tables that are there may still have what it does not give now
        raise
    except MsbatchError as error:
        missing += without(plan, origins, error.problem)
        return None, [], error.problem
    predictions, probes, blind = score_frozen(plan, subjects, origins)
    found |= predictions
    missing += blind
    return subjects, probes, ""


def _study(
    plan: Plan, subjects: Subjects | None, found: Mapping[Task, Predictions], patients: list[Row]
) -> Cohort | None:
    named = [row for row in patients if row["backbone"] != ALWAYS_POSITIVE and row.get("rule") != "majority_vote"]
    return study_cohort(plan, subjects, found, named) if subjects else None


def _write(run: RunDir, reduction: Reduction) -> None:
    """Write all tables beside their targets before the first is moved: a full disk leaves the old ones together."""
    found = {f"{name}.csv": table for name, table in tables(reduction).items()}
    verdict = json_text(verdict_json(reduction))
    with ExitStack() as moves:  # moves in reverse: the hashes come last
        names = [NAME, *found, "verdict.json"]
        beside = {name: moves.enter_context(atomic_path(run.results / name)) for name in names}
        for name, (header, rows) in found.items():
            fill_csv(beside[name], [safe(key) for key in header], [[safe(row[key]) for key in header] for row in rows])
        beside["verdict.json"].write_text(verdict, encoding="utf-8")
        boards = _write_boards(run, reduction)
        fill_sums(beside.pop(NAME), {**beside, **boards})


def _write_boards(run: RunDir, reduction: Reduction) -> dict[str, Path]:
    trained = {arm: own for arm, own in reduction.results.items() if not is_frozen(arm)}
    folder = write_boards(run, reduction.plan, reduction.predictions, trained)
    return {path.relative_to(run.results).as_posix(): path for path in folder.rglob("*") if path.is_file()}

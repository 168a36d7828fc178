"""Frozen backbones: their embeddings as a run has them, and what the exact head on these says of held-out patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from msbatch.embeddings import EmbeddingError, Origin, check_embedding
from msbatch.layout import RunDir
from msbatch.plan import Plan, Task
from msbatch.predictions import Predictions
from msbatch.results.collect import Missing
from msbatch.results.head import Array, HeadError, fit_head
from msbatch.results.inner import inner_penalty
from msbatch.results.matrix import StackedRows
from msbatch.results.metrics import Value
from msbatch.results.nuisance import DIGITS
from msbatch.results.pairs import leave_pair_out_auc
from msbatch.results.subjects import Embedding, Subjects
from msbatch.results.why import why_missing

LABEL_FREE = "the mean squared singular value of the features, which knows no label"
INNER = (
    "chosen for each held-out patient from a grid, by leaving out each other patient as well; "
    "tests beyond nuisance rows and of covariates use the mean squared singular value"
)
_OTHERS = "Another patient's embedding is missing, and the head needs all."
_ANEW = "Embed anew with: msbatch probe --new"
_OTHER_WEIGHTS = f"Its embedding was made with other weights or settings than most. {_ANEW}"


@dataclass(frozen=True)
class Probe:
    """What a frozen backbone's head was made of.

    Attributes
    ----------
    backbone : str
        As it is shown.
    weights : str
        SHA-256 of the pretrained weights, or which initial ones.
    input_px : int
        Side of the network's input.
    cells, features : int
        Rows and columns of the embeddings.
    rule : str
        How the penalty was found.
    penalty : float
        Lambda; with the rule "inner" the one that the grid lies around.
    pair_auc : Value
        Over pairs of a positive and a negative patient who were left out together.
    """

    backbone: str
    weights: str
    input_px: int
    cells: int
    features: int
    rule: str
    penalty: float
    pair_auc: Value


def read_frozen(run: RunDir, plan: Plan) -> tuple[dict[str, Embedding], dict[str, Origin], list[Missing]]:
    """Read the embeddings of every frozen backbone, and why others are missing.

    One head needs the cells of all patients: where those of one are missing, no fold of that backbone is there.
    """
    embeddings, origins, missing = {}, {}, []
    for backbone in plan.probed:
        tasks = sorted((task for task in plan.tasks if task.backbone == backbone), key=lambda task: task.fold)
        found, reasons = _check_all(run, plan, tasks)
        if reasons:
            missing += [_missing(plan, task, reasons.get(task, _OTHERS)) for task in tasks]
            continue
        paths = [run.task(task.arm, task.fold).embedding for task in tasks]
        rows = StackedRows(paths)
        inner = plan.probe.penalty == "inner"
        embeddings[backbone] = Embedding(np.arange(len(rows)), rows, inner)
        origins[backbone] = found[tasks[0]]
    return embeddings, origins, missing


def score_frozen(
    plan: Plan, subjects: Subjects, origins: Mapping[str, Origin]
) -> tuple[dict[Task, Predictions], list[Probe], list[Missing]]:
    """Let the exact head predict every patient from all others, for each frozen backbone.

    A cell's score, which stands in place of a logit, is the ridge prediction less the mean label of its training
    cells; above 0 it is a positive call.
    """
    predictions: dict[Task, Predictions] = {}
    probes, missing = [], []
    for backbone, origin in origins.items():
        tasks = [task for task in plan.tasks if task.backbone == backbone]
        try:
            scores, probe = _score(subjects, backbone, origin)
        except HeadError as error:
            missing += [_missing(plan, task, error.problem) for task in tasks]
            continue
        probes.append(probe)
        for task in tasks:
            patient = plan.folds[task.fold].held_out
            own = subjects.cells.groups == patient
            predictions[task] = Predictions(patient, subjects.cells.labels[own], scores[own])
    return predictions, probes, missing


def _score(subjects: Subjects, backbone: str, origin: Origin) -> tuple[Array, Probe]:
    embedding, labels = subjects.embeddings[backbone], subjects.cells.labels
    head = fit_head(embedding.values, subjects.cells.groups)
    if not head.penalty:
        raise HeadError("The backbone sees the same in all cells.")
    scores = inner_penalty(head.cohort).cell_scores(labels) if embedding.inner else head.cell_scores(labels)
    cells, features = embedding.values.shape
    rule, auc = INNER if embedding.inner else LABEL_FREE, leave_pair_out_auc(head, labels)
    probe = Probe(backbone, origin.weights, origin.input_px, cells, features, rule, head.penalty, auc)
    return np.round(scores, DIGITS) + 0.0, probe


def without(plan: Plan, origins: Mapping[str, Origin], reason: str) -> list[Missing]:
    """Say of every fold of these backbones that it is missing, and why."""
    return [_missing(plan, task, reason) for task in plan.tasks if task.backbone in origins]


def _check_all(run: RunDir, plan: Plan, tasks: list[Task]) -> tuple[dict[Task, Origin], dict[Task, str]]:
    found, reasons, widths = {}, {}, {}
    for task in tasks:
        folder = run.task(task.arm, task.fold)
        try:
            origin, shape = check_embedding(folder)
        except EmbeddingError as error:
            spoilt = f"{error.problem.replace(f'{run.root}/', '')} {_ANEW}"
            reasons[task] = spoilt if folder.embedding_manifest.exists() else why_missing(run, folder)
            continue
        reason = _does_not_fit(plan, task, origin, shape[0])
        if reason:
            reasons[task] = reason
        found[task], widths[task] = origin, (origin.weights, origin.input_px, origin.precision, shape[1])
    usual = max(widths.values(), key=list(widths.values()).count, default=())
    reasons |= {task: _OTHER_WEIGHTS for task, own in widths.items() if own != usual and task not in reasons}
    return found, reasons


def _does_not_fit(plan: Plan, task: Task, origin: Origin, cells: int) -> str:
    if (origin.store, origin.fold, origin.network) != (plan.store.sha256, task.fold, task.network):
        return f"Its embedding is of another store, fold or network. {_ANEW}"
    counted = sum(part["cells"] for part in plan.folds[task.fold].counts["held_out"].values())
    return "" if cells == counted else f"Its embedding has {cells} cells, the plan counts {counted}. {_ANEW}"


def _missing(plan: Plan, task: Task, reason: str) -> Missing:
    return Missing(task.arm, task.fold, plan.folds[task.fold].held_out, reason)

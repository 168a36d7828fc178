"""One cohort from its images to its verdict: pack, plan, the frozen head on the small network, and the tests."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from planted import SIDE_PX, Design, draw_planted
from scipy.stats import rankdata

from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.config import ProbeSettings, Settings
from msbatch.predictions import Predictions
from msbatch.results.evidence import evidence, run_tests
from msbatch.results.folds import FoldResult, summarise
from msbatch.results.head import Array, Head, fit_head
from msbatch.results.network import NETWORK
from msbatch.results.nuisance import fitted_on
from msbatch.results.subjects import read_subjects
from msbatch.results.verdict import Evidence, Verdict, judge
from msbatch.store import Store

PERMUTATIONS = 999
RELABELLINGS = 200


@dataclass(frozen=True)
class Study:
    """What a cohort gave.

    Attributes
    ----------
    evidence : Evidence
        What its tests say.
    verdict : Verdict
        And in words.
    auc : float
        Over patients, of scores less the mean label of their training cells.
    null_auc : float
        Its mean over relabellings of the patients, each refitted: where nothing is planted every one of them is as
        true as the labels, and their mean says far more closely where the AUC of no effect lies.
    results : list of FoldResult
        Of every patient.
    """

    evidence: Evidence
    verdict: Verdict
    auc: float
    null_auc: float
    results: list[FoldResult] = field(repr=False)


def run_study(design: Design, seed: int) -> Study:
    """Draw a cohort into a folder that lasts as long as this call, and take it to its verdict."""
    with tempfile.TemporaryDirectory() as name:
        store = pack_planted(Path(name), design, seed)
        return examine(store, seed)


def pack_planted(folder: Path, design: Design, seed: int) -> Path:
    """Draw a cohort and pack it; give the store."""
    table = draw_planted(folder, design, seed)
    return pack(folder / "images", table, folder / "cohort.h5", PackOptions(size_px=SIDE_PX)).output


def examine(path: Path, seed: int) -> Study:
    """Take a store to its verdict."""
    plan = draw_plan(path, Settings())
    with Store(path) as store:
        subjects = read_subjects(store)
    labels, embedding = subjects.cells.labels, subjects.embeddings[NETWORK]
    head = fit_head(embedding.values, subjects.cells.groups[embedding.rows])
    # The head leaves one patient out and fits on all others: it must be what the plan's folds say.
    folds = fitted_on(plan)
    if {patient: {*others, patient} for patient, others in folds.items()} != {
        p: {*head.patients} for p in head.patients
    }:
        raise AssertionError("the plan does not hold every patient out once")
    found = evidence(subjects, run_tests(subjects, ProbeSettings(permutations=PERMUTATIONS), seed=seed), {}, {})
    truth, scores = head.patient_means(labels), head.patient_scores(labels)
    area, null_area = float(auc(truth, scores)), _null_auc(head, truth, seed)
    return Study(found, judge(found), area, null_area, _results(head, labels))


def _results(head: Head, labels: NDArray[np.uint8]) -> list[FoldResult]:
    scores = head.cell_scores(labels)
    cells = [head.index == number for number in range(len(head.patients))]
    return [
        summarise(number, Predictions(patient, labels[own], scores[own]))
        for number, (patient, own) in enumerate(zip(head.patients, cells, strict=True))
    ]


def auc(classes: Array, scores: Array) -> Array:
    """Give the area under the ROC curve, for one vector or column by column."""
    positive = classes.sum(axis=0)
    ranks = (rankdata(scores, axis=0) * classes).sum(axis=0)
    return np.asarray((ranks - positive * (positive + 1) / 2) / (positive * (len(classes) - positive)))


def _null_auc(head: Head, classes: Array, seed: int) -> float:
    relabelled = np.tile(classes[:, None], (1, RELABELLINGS))
    drawn = np.random.default_rng([seed, 1]).permuted(relabelled, axis=0)
    return float(auc(drawn, head.score_map() @ drawn).mean())

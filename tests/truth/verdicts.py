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
from msbatch.config import Settings
from msbatch.predictions import Predictions
from msbatch.results.folds import FoldResult, summarise
from msbatch.results.head import Array, Head, fit_head
from msbatch.results.metrics import Value
from msbatch.results.network import NETWORK, embed
from msbatch.results.nuisance import components, fitted_on, read_cells
from msbatch.results.permutation import association, beyond_nuisance
from msbatch.results.subgroups import Subgroups, subgroups
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
        cells = read_cells(store)
        features = embed(np.concatenate([store.images(patient) for patient in store.patients]))
        sexes = {patient: store.attributes(patient)["sex"] for patient in store.patients}
        classes = store.classes
    head = fit_head(features, cells.groups)
    # The head leaves one patient out and fits on all others: it must be what the plan's folds say.
    folds = fitted_on(plan)
    if {patient: {*others, patient} for patient, others in folds.items()} != {
        p: {*head.patients} for p in head.patients
    }:
        raise AssertionError("the plan does not hold every patient out once")
    truth = head.patient_means(cells.labels)
    results = _results(head, cells.labels)
    by_sex = subgroups(results, "sex", sexes, permutations=99, seed=seed)
    columns = {row: components(own, cells.groups) for row, own in cells.columns.items()}
    columns["sex"] = np.array([[sexes[patient] == "F"] for patient in cells.groups], np.float64)
    evidence = Evidence(
        patients=len(truth),
        per_class={name: int((truth == label).sum()) for label, name in enumerate(classes)},
        association={NETWORK: association(head, cells.labels, permutations=PERMUTATIONS, seed=seed).p},
        beyond=_beyond(features, cells.groups, cells.labels, columns, seed),
        covariates={"sex": by_sex.association.p},
        separating=_separating(by_sex),
    )
    scores = head.patient_scores(cells.labels)
    return Study(evidence, judge(evidence), float(auc(truth, scores)), _null_auc(head, truth, seed), results)


def _beyond(
    features: Array, groups: NDArray[np.str_], labels: NDArray[np.uint8], columns: dict[str, Array], seed: int
) -> dict[str, dict[str, Value]]:
    rows = {row: own for row, own in columns.items() if own.shape[1]}
    return {
        row: {NETWORK: beyond_nuisance(features, groups, labels, own, permutations=PERMUTATIONS, seed=seed).p}
        for row, own in rows.items()
    }


def _separating(found: Subgroups) -> tuple[str, ...]:
    return (found.covariate,) if found.separates else ()


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

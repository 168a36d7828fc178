"""What could explain the result instead: a linear model on colour, size, shape or the number of cells alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from warnings import catch_warnings, filterwarnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from msbatch.plan import Plan
from msbatch.results.head import Array, HeadError, fit_head
from msbatch.results.metrics import Value
from msbatch.store import Store

# Which of the store's features make a row; the number of cells is a row of its own.
ROWS = {
    "colour": ("red_mean", "green_mean", "blue_mean", "red_sd", "green_sd", "blue_sd"),
    "size": ("area", "width", "height"),
    "shape": (
        "perimeter",
        "circularity",
        "elongation",
        "eccentricity",
        "equivalent_diameter",
        "solidity",
        "pallor_fraction",
        "pallor_contrast",
    ),
}
COUNT = "count"
LENGTHS = ("area", "width", "height", "perimeter", "equivalent_diameter")  # and areas

REFITS = 100  # patients up to which the model is a logistic regression for each fold
COMPONENTS = 3
DIGITS = 9  # of logits behind the point

Folds = Mapping[str, Collection[str]]  # held-out patient to those the model is fitted on


@dataclass(frozen=True)
class Cells:
    """All cells of a store, patient after patient.

    Attributes
    ----------
    groups : ndarray of str, shape (n,)
        The patient of each cell.
    labels : ndarray of uint8, shape (n,)
        Of each cell.
    columns : dict of str to ndarray of float64, shape (n, k)
        By row.
    """

    groups: NDArray[np.str_]
    labels: NDArray[np.uint8]
    columns: dict[str, Array]


@dataclass(frozen=True)
class NuisanceRow:
    """What one row says of every held-out patient.

    Attributes
    ----------
    logits : dict of str to ndarray of float64, shape (cells,)
        Of each patient's cells, above 0 for a positive call; of large studies, the scores of the exact head.
    reasons : dict of str to str
        Why a patient has none.
    """

    logits: dict[str, Array] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, Value]:
        """The mean logit of each patient's cells."""
        found = {patient: Value(float(own.mean())) for patient, own in self.logits.items()}
        return found | {patient: Value(None, reason) for patient, reason in self.reasons.items()}


def read_cells(store: Store) -> Cells:
    """Read what the rows need; nothing is computed from images."""
    patients = store.patients
    counts = np.array([store.cells(patient) for patient in patients])
    features = np.concatenate([store.features(patient) for patient in patients]).astype(np.float64)
    place = {name: number for number, name in enumerate(store.feature_names)}
    columns = {row: features[:, [place[name] for name in names]] for row, names in ROWS.items()}
    return Cells(
        groups=np.repeat(np.array(patients, np.str_), counts),
        labels=np.concatenate([store.labels(patient) for patient in patients]),
        columns={**columns, COUNT: np.repeat(counts, counts)[:, None].astype(np.float64)},
    )


def fitted_on(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Give whom each held-out patient's model is fitted on: training, and validation, which stops nothing here."""
    return {fold.held_out: (*fold.training, *fold.validation) for fold in plan.folds}


def nuisance_rows(cells: Cells, folds: Folds) -> dict[str, NuisanceRow]:
    """Give every row, on the folds of the plan.

    Up to 100 patients it is a logistic regression for each fold, balanced and with C = 1, on columns that are
    standardised over the cells it is fitted on. In larger studies it is least squares on all other patients by the
    exact head, where the columns are free of penalty and so of scale; with folds that leave out more patients it
    stays a logistic regression.
    """
    everyone = set(folds)
    exact = len(everyone) > REFITS and all({*others} == everyone - {patient} for patient, others in folds.items())
    score = head_row if exact else logistic_row
    return {row: score(columns, cells.groups, cells.labels, folds) for row, columns in cells.columns.items()}


def logistic_row(columns: Array, groups: NDArray[np.str_], labels: NDArray[np.uint8], folds: Folds) -> NuisanceRow:
    """Score every held-out patient by a logistic regression that is fitted on others.

    Parameters
    ----------
    columns : ndarray of float64, shape (n, k)
        Of each cell.
    groups : ndarray of str, shape (n,)
        The patient of each cell.
    labels : ndarray of uint8, shape (n,)
        Of each cell.
    folds : mapping of str to collection of str
        Held-out patient to those the model is fitted on.
    """
    names, index = np.unique(groups, return_inverse=True)
    row = NuisanceRow()
    for patient, others in folds.items():
        own = np.isin(names, list(others))[index]
        reason = _why_not(columns[own], labels[own])
        if reason:
            row.reasons[patient] = reason
            continue
        model = make_pipeline(StandardScaler(), _logistic())
        with catch_warnings():
            # Where the columns say nothing, the first point is the optimum, and no step from it is found.
            filterwarnings("ignore", message="Line search of Newton solver", category=ConvergenceWarning)
            model.fit(columns[own], labels[own])
        row.logits[patient] = _without_noise(model.decision_function(columns[(names == patient)[index]]))
    return row


def head_row(columns: Array, groups: NDArray[np.str_], labels: NDArray[np.uint8], folds: Folds) -> NuisanceRow:
    """Score every patient by least squares on all others, without a refit; see `logistic_row`."""
    reason = _why_not(columns, labels)
    if reason:
        return NuisanceRow(reasons=dict.fromkeys(folds, reason))
    try:
        head = fit_head(np.empty((len(labels), 0)), groups, nuisance=columns)
    except HeadError as error:
        return NuisanceRow(reasons=dict.fromkeys(folds, error.problem))
    scores, place = head.cell_scores(labels), {name: number for number, name in enumerate(head.patients)}
    return NuisanceRow({patient: _without_noise(scores[head.index == place[patient]]) for patient in folds})


def components(features: ArrayLike, groups: ArrayLike, *, by_cell: bool = False, limit: int = COMPONENTS) -> Array:
    """Give the leading principal components of patients' mean features, for a test beyond them.

    Each feature is scaled to the spread of its patient means. Labels are not looked at.

    Parameters
    ----------
    features : array_like of float, shape (n, k)
        Of each cell.
    groups : array_like, shape (n,)
        The patient of each cell.
    by_cell : bool
        Give each cell its own values on these components, in place of its patient's: for labels that vary within
        patients.
    limit : int
        At most so many, and fewer than half the patients: a model without one of them still decides their
        coefficients.

    Returns
    -------
    ndarray of float64, shape (n, at most limit)
        No column where the features are alike in all patients.
    """
    values = np.asarray(features, np.float64)
    names, index = np.unique(np.asarray(groups).astype(np.str_), return_inverse=True)
    sums = [np.bincount(index, column, len(names)) for column in values.T]
    means = np.column_stack(sums) / np.bincount(index)[:, None]
    scaler = StandardScaler().fit(means)
    varying = np.ptp(means, axis=0) > 1e-9 * np.abs(means).max(axis=0)
    _, sizes, loadings = np.linalg.svd(scaler.transform(means)[:, varying], full_matrices=False)
    real = int((sizes > 1e-9 * max(sizes, default=0.0)).sum())
    kept = max(0, min(limit, real, (len(names) - 2) // 2))
    scaled = scaler.transform(values if by_cell else means[index])[:, varying]
    return np.asarray(scaled @ loadings[:kept].T, np.float64)


def _without_noise(logits: Array) -> Array:
    """Cut off what rounding leaves in place of 0: it must call nobody positive."""
    return np.asarray(np.round(logits, DIGITS) + 0.0, np.float64)


def _logistic() -> LogisticRegression:
    # Few columns and many cells: Newton's method needs a few steps, and stops at the optimum proper.
    return LogisticRegression(C=1.0, class_weight="balanced", solver="newton-cholesky", tol=1e-8)


def _why_not(columns: Array, labels: NDArray[np.uint8]) -> str:
    if len(np.unique(labels)) < 2:
        return "the model would be fitted on one class only"
    return "" if (columns != columns[0]).any() else "it is the same in all cells the model is fitted on"

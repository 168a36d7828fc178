"""The exact head against refits on raw training rows, and the leak that it does not have."""

import numpy as np
import pytest
from heads import Array, Noise, draw, patient_means, refit, refit_by_scikit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from msbatch.results.head import HeadError, fit_head

SHAPES = [
    pytest.param([7, 3, 12, 5, 1, 6], 4, id="more cells than columns"),
    pytest.param([7, 3, 12, 5, 1, 6], 90, id="more columns than cells"),
    pytest.param([7, 3, 12, 5, 1, 6], 34, id="as many columns as cells"),
    pytest.param([40, 2, 30, 25], 3, id="blocks larger than the root"),
    pytest.param([4, 4], 3, id="two patients"),
]


def weights_of(cohort: Noise) -> Array:
    counts = {name: (cohort.groups == name).sum() for name in cohort.names}
    return np.array([1 / counts[name] for name in cohort.groups])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("sizes", "columns"), SHAPES)
def test_predictions_equal_refits_on_the_other_patients_raw_rows(sizes, columns, weighted) -> None:
    cohort = draw(1, sizes, columns)
    weights = weights_of(cohort) if weighted else None
    head = fit_head(cohort.features, cohort.groups, weights=weights)
    predicted = head.predict(cohort.labels)
    np.testing.assert_allclose(predicted, refit(cohort, cohort.labels, head.penalty, weights), atol=1e-9)
    np.testing.assert_allclose(predicted, refit_by_scikit(cohort, cohort.labels, head.penalty, weights), atol=1e-9)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("columns", [4, 90])
def test_any_penalty_will_do(columns: int, penalty: float) -> None:
    cohort = draw(2, [5, 6, 7, 8], columns, by_cell=True)
    head = fit_head(cohort.features, cohort.groups, penalty=penalty)
    assert head.penalty == penalty
    np.testing.assert_allclose(head.predict(cohort.labels), refit(cohort, cohort.labels, penalty), atol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("columns", [0, 3, 90])
def test_nuisance_columns_carry_no_penalty(columns: int, weighted: bool) -> None:
    cohort = draw(3, [7, 9, 12, 5, 8, 6], columns)
    weights = weights_of(cohort) if weighted else None
    nuisance = np.random.default_rng(0).normal(100, 5, (len(cohort.labels), 2))
    head = fit_head(cohort.features, cohort.groups, weights=weights, nuisance=nuisance)
    expected = refit(cohort, cohort.labels, head.penalty, weights, nuisance)
    np.testing.assert_allclose(head.predict(cohort.labels), expected, atol=1e-9)
    # A column that others make up changes nothing, nor does one that never varies, nor their scale.
    more = np.column_stack([nuisance[:, 0] + nuisance[:, 1], np.full(len(nuisance), 0.1), nuisance * 1e5])
    again = fit_head(cohort.features, cohort.groups, weights=weights, nuisance=more)
    np.testing.assert_allclose(again.predict(cohort.labels), expected, atol=1e-8)


def test_scores_lack_the_mean_label_of_the_training_rows() -> None:
    cohort = draw(4, [3, 8, 5, 4, 9], 6)
    head = fit_head(cohort.features, cohort.groups)
    expected = [cohort.labels[cohort.groups != name].mean() for name in cohort.names]
    np.testing.assert_allclose(head.training_means(cohort.labels), expected, atol=1e-12)
    raw = patient_means(cohort, refit(cohort, cohort.labels, head.penalty))
    np.testing.assert_allclose(head.patient_scores(cohort.labels), raw - expected, atol=1e-9)


def test_with_weights_that_mean_is_weighted() -> None:
    cohort = draw(4, [3, 8, 5, 4, 9], 6)
    head = fit_head(cohort.features, cohort.groups, weights=weights_of(cohort))
    classes = np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(head.training_means(cohort.labels), (classes.sum() - classes) / 4, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("sizes", "columns"), SHAPES)
def test_many_labels_at_once_are_each_answered_alone(sizes, columns, weighted) -> None:
    cohort = draw(5, sizes, columns)
    head = fit_head(cohort.features, cohort.groups, weights=weights_of(cohort) if weighted else None)
    classes = np.random.default_rng(0).normal(size=(len(sizes), 5))
    together = head.patient_scores(classes[head.index])
    alone = np.column_stack([head.patient_scores(column[head.index]) for column in classes.T])
    np.testing.assert_allclose(together, alone, atol=1e-12)
    np.testing.assert_allclose(head.score_map() @ classes, together, atol=1e-9)
    means = head.patient_means(head.predict(classes[head.index]))
    np.testing.assert_allclose(head.prediction_map() @ classes, means, atol=1e-9)


@pytest.mark.parametrize("columns", [6, 60])
def test_the_default_penalty_is_the_mean_squared_singular_value(columns: int) -> None:
    cohort = draw(6, [5, 6, 7], columns)
    sizes = np.linalg.svd(cohort.features - cohort.features.mean(axis=0), compute_uv=False)
    expected = float((sizes[sizes > 1e-9] ** 2).mean())
    assert fit_head(cohort.features, cohort.groups).penalty == pytest.approx(expected, rel=1e-9)
    # A column that is dead, or the same in all cells, is no reason to shrink the others less.
    dead = np.column_stack([cohort.features, np.zeros(18), np.full(18, 1 / 3)])
    assert fit_head(dead, cohort.groups).penalty == pytest.approx(expected, rel=1e-9)


def test_leverage_is_the_diagonal_of_the_hat_matrix() -> None:
    cohort = draw(7, [5, 6, 7], 4)
    head = fit_head(cohort.features, cohort.groups)
    centred = cohort.features - cohort.features.mean(axis=0)
    gram = centred.T @ centred + head.penalty * np.eye(4)
    hat = 1 / 18 + centred @ np.linalg.solve(gram, centred.T)
    np.testing.assert_allclose(head.leverage, np.diag(hat), atol=1e-12)


def without_intercept(cohort: Noise, classes: Array) -> Array:
    """Score patients as a head does whose columns are centred over all patients and whose H has no intercept."""
    centred = cohort.features - cohort.features.mean(axis=0)
    basis, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    real = sizes > 1e-9 * sizes[0]
    root = basis[:, real] * np.sqrt(sizes[real] ** 2 / (sizes[real] ** 2 + (sizes[real] ** 2).mean()))
    labels = 2 * classes[np.unique(cohort.groups, return_inverse=True)[1]] - 1
    rest, scores = labels - root @ (root.T @ labels), np.empty_like(classes)
    for number, name in enumerate(cohort.names):
        own = cohort.groups == name
        block = np.eye(int(own.sum())) - root[own] @ root[own].T
        scores[number] = (labels[own] - np.linalg.solve(block, rest[own])).mean(axis=0)
    return scores


def mean_auc(classes: Array, scores: Array) -> float:
    ranks = rankdata(scores, axis=0)
    positive = classes.sum(axis=0)
    pairs = positive * (len(classes) - positive)
    return float(np.mean(((ranks * classes).sum(axis=0) - positive * (positive + 1) / 2) / pairs))


@pytest.mark.parametrize(("patients", "raw", "leak"), [(8, 0.11, 1.00), (12, 0.25, 1.00), (24, 0.39, 0.97)])
def test_noise_scores_as_chance_though_a_head_without_intercept_knows_the_labels(patients, raw, leak) -> None:
    found = []
    for seed in range(20):
        cohort = draw(seed, [20] * patients, 400)
        head = fit_head(cohort.features, cohort.groups)
        half = np.repeat([0.0, 1.0], patients // 2)
        classes = np.random.default_rng(seed).permuted(np.tile(half[:, None], (1, 30)), axis=0)
        ways = (head.prediction_map() @ classes, head.score_map() @ classes, without_intercept(cohort, classes))
        found.append([mean_auc(classes, scores) for scores in ways])
    uncorrected, corrected, leaking = np.mean(found, axis=0)
    assert uncorrected == pytest.approx(raw, abs=0.06)
    assert corrected == pytest.approx(0.49, abs=0.04)
    assert leaking == pytest.approx(leak, abs=0.04)


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.sampled_from([3, 40]), st.booleans())
def test_order_and_names_of_patients_change_nothing(lot, columns: int, weighted: bool) -> None:
    cohort = draw(8, [4, 2, 5, 3], columns)
    weights = weights_of(cohort) if weighted else np.ones(len(cohort.labels))
    head = fit_head(cohort.features, cohort.groups, weights=weights)
    rows, names = list(range(len(cohort.labels))), list("wxyz")
    lot.shuffle(rows)
    lot.shuffle(names)
    renamed = dict(zip(cohort.names, names, strict=True))
    groups = np.array([renamed[name] for name in cohort.groups[rows]])
    again = fit_head(cohort.features[rows], groups, weights=weights[rows])
    np.testing.assert_allclose(again.predict(cohort.labels[rows]), head.predict(cohort.labels)[rows], atol=1e-9)
    scores = dict(zip(again.patients, again.patient_scores(cohort.labels[rows]), strict=True))
    expected = head.patient_scores(cohort.labels)
    assert [scores[renamed[name]] for name in head.patients] == pytest.approx(expected.tolist(), abs=1e-9)


@given(st.floats(-100, 100), st.floats(0.1, 100))
def test_scores_follow_labels_in_scale_and_ignore_where_they_are_zero(shift: float, scale: float) -> None:
    cohort = draw(9, [4, 2, 5, 3], 5)
    head = fit_head(cohort.features, cohort.groups)
    moved = head.patient_scores(shift + scale * cohort.labels)
    np.testing.assert_allclose(moved, scale * head.patient_scores(cohort.labels), atol=1e-9)


def test_features_that_never_vary_leave_the_training_mean() -> None:
    cohort = draw(10, [4, 2, 5, 3], 5)
    for features in (np.full((14, 3), 0.1), np.empty((14, 0))):
        head = fit_head(features, cohort.groups)
        assert head.penalty == 0.0
        np.testing.assert_allclose(head.patient_scores(cohort.labels), 0, atol=1e-12)


def test_a_nuisance_column_of_one_patient_is_refused_by_the_patients_name() -> None:
    cohort = draw(11, [4, 2, 5, 3], 5)
    batch = (cohort.groups == "P002").astype(np.float64)[:, None]
    with pytest.raises(HeadError, match="Without patient P002 the other cells do not decide"):
        fit_head(cohort.features, cohort.groups, nuisance=batch)


def test_groups_may_be_numbers() -> None:
    cohort = draw(12, [4, 2, 5, 3], 5)
    numbers = np.unique(cohort.groups, return_inverse=True)[1]
    expected = fit_head(cohort.features, cohort.groups).predict(cohort.labels)
    np.testing.assert_array_equal(fit_head(cohort.features, numbers).predict(cohort.labels), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((3, 2))}, r"features must have shape \(14, columns\), not \(3, 2\)"),
        ({"features": np.full((14, 2), np.nan)}, "features must be finite"),
        ({"nuisance": np.zeros(14)}, r"nuisance columns must have shape \(14, columns\), not \(14,\)"),
        ({"weights": np.zeros(14)}, "weights must be 14 numbers above 0"),
        ({"weights": np.ones(3)}, "weights must be 14 numbers above 0"),
        ({"penalty": 0.0}, "the penalty must be a number above 0, not 0.0"),
        ({"groups": ["one"] * 14}, "needs at least two patients"),
    ],
)
def test_what_is_no_cohort_is_refused(change, message: str) -> None:
    cohort = draw(13, [4, 2, 5, 3], 5)
    with pytest.raises(ValueError, match=message):
        fit_head(**{"features": cohort.features, "groups": cohort.groups, **change})

"""A penalty chosen inside every fold against refits that leave out each other patient as well."""

from itertools import combinations

import numpy as np
import pytest
from heads import Array, Noise, draw, patient_means, refit
from test_pairs import without_both

from msbatch.results.decomposition import decompose
from msbatch.results.head import HeadError, fit_head, head_at
from msbatch.results.inner import MULTIPLES, InnerPenalty, inner_penalty
from msbatch.results.permutation import association


def chosen_by_refits(cohort: Noise, held: str, classes: Array, penalties: tuple[float, ...]) -> int:
    """Refit without the held-out patient and each other one, for each penalty, and give the place of the best."""
    labels = classes[np.unique(cohort.groups, return_inverse=True)[1]]
    errors = np.zeros(len(penalties))
    for place, penalty in enumerate(penalties):
        for other, label in zip(cohort.names, classes, strict=True):
            if other != held:
                errors[place] += (without_both(cohort, (held, other), labels, penalty)[1] - label) ** 2
    return int(np.argmin(errors))


def scores_by_refits(cohort: Noise, classes: Array, penalties: tuple[float, ...]) -> Array:
    """Score every cell under the penalty chosen without its patient."""
    labels = classes[np.unique(cohort.groups, return_inverse=True)[1]]
    scores = np.empty(len(labels))
    for held in cohort.names:
        own = cohort.groups == held
        penalty = penalties[chosen_by_refits(cohort, held, classes, penalties)]
        scores[own] = refit(cohort, labels, penalty)[own] - labels[~own].mean()
    return scores


def fit(cohort: Noise) -> InnerPenalty:
    return inner_penalty(decompose(cohort.features, cohort.groups))


@pytest.mark.parametrize("columns", [4, 50])
def test_scores_equal_refits_under_penalties_chosen_by_refits(columns: int) -> None:
    chosen = set()
    for seed in range(3):
        cohort = draw(seed, [5, 3, 6, 4, 7, 3], columns, effect=0.3 * seed)
        inner, classes = fit(cohort), patient_means(cohort, cohort.labels)
        assert inner.penalties == pytest.approx([inner.cohort.penalty * multiple for multiple in MULTIPLES])
        expected = scores_by_refits(cohort, classes, inner.penalties)
        np.testing.assert_allclose(inner.cell_scores(cohort.labels), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(inner.patient_scores(classes), patient_means(cohort, expected), rtol=0, atol=1e-9)
        chosen |= set(inner.choose(classes).tolist())
    assert len(chosen) > 1


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_every_permutation_chooses_anew(effect: float) -> None:
    cohort = draw(4, [3, 2, 4, 3, 2], 6, effect=effect)
    inner = fit(cohort)

    def statistic(classes: Array) -> float:
        scores = patient_means(cohort, scores_by_refits(cohort, classes, inner.penalties))
        return float((scores[classes == 1].mean() - scores[classes == 0].mean()) / np.abs(scores).mean())

    classes = patient_means(cohort, cohort.labels)
    every = [np.bincount(own, minlength=5).astype(float) for own in combinations(range(5), int(classes.sum()))]
    null, observed = np.array([statistic(own) for own in every]), statistic(classes)
    test = association(head_at(inner.cohort), cohort.labels, inner=inner)
    assert test.exact
    assert test.statistic.number == pytest.approx(observed, abs=1e-9)
    assert test.p.number == pytest.approx(np.mean(null >= observed - 1e-9))


def test_the_choice_for_a_patient_does_not_know_its_label() -> None:
    cohort = draw(5, [4] * 8, 10, effect=0.5)
    inner, classes = fit(cohort), patient_means(cohort, cohort.labels)
    for held in range(8):
        other = classes.copy()
        other[held] = 1 - other[held]
        assert inner.choose(classes)[held] == inner.choose(other)[held]


def test_ties_go_to_the_larger_penalty() -> None:
    cohort = draw(6, [4] * 5, 3)
    # With one positive patient held out the others are all alike, and every penalty predicts them.
    only = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    assert fit(cohort).choose(only)[2] == 0


def test_many_labels_at_once_are_each_answered_alone() -> None:
    cohort = draw(7, [4] * 9, 5, effect=0.5)
    inner = fit(cohort)
    classes = np.random.default_rng(0).permuted(np.tile([[0.0], [1.0], [1.0]], (3, 20)), axis=0)
    together = inner.patient_scores(classes)
    alone = np.column_stack([inner.patient_scores(column) for column in classes.T])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)


def test_what_has_no_inner_penalty_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = draw(8, [4] * 6, 3, by_cell=True)
    inner = fit(cohort)
    for ask in (inner.cell_scores, lambda labels: association(head_at(inner.cohort), labels, inner=inner)):
        with pytest.raises(HeadError, match="--lambda inner needs one label per patient, and labels vary"):
            ask(cohort.labels)
    two, many = draw(9, [4, 4], 3), draw(9, [1] * 101, 2)
    with pytest.raises(HeadError, match="pairs of patients: 2 are too few"):
        fit(two)
    with pytest.raises(HeadError, match="pairs of patients: 101 patients are too many, it takes at most 100"):
        fit(many)
    monkeypatch.setattr("msbatch.results.pairs.OPERATIONS", 100)
    with pytest.raises(HeadError, match=r"6 patients with 4 columns would take .* times too long"):
        fit(cohort)


def test_features_that_never_vary_leave_nothing_to_choose() -> None:
    cohort = draw(10, [4] * 6, 3)
    inner = inner_penalty(decompose(np.ones((24, 2)), cohort.groups))
    np.testing.assert_allclose(inner.cell_scores(cohort.labels), 0, atol=1e-12)
    test = association(fit_head(np.ones((24, 2)), cohort.groups), cohort.labels, inner=inner)
    assert test.p.reason == "the features do not vary"

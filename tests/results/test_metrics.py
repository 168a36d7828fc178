"""Metrics against scikit-learn, against figures worked by hand, and where they are undefined."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as reference

from msbatch.results import metrics
from msbatch.results.metrics import Counts, Value

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
counts = st.builds(Counts, *[st.integers(0, 1000)] * 4)

AGAINST = [
    (metrics.sensitivity, lambda y, c: reference.recall_score(y, c)),
    (metrics.specificity, lambda y, c: reference.recall_score(y, c, pos_label=0)),
    (metrics.balanced_accuracy, reference.balanced_accuracy_score),
    (metrics.f1_positive, lambda y, c: reference.f1_score(y, c, labels=[0, 1])),
    (metrics.f1_negative, lambda y, c: reference.f1_score(y, c, pos_label=0)),
    (metrics.macro_f1, lambda y, c: reference.f1_score(y, c, average="macro", labels=[0, 1])),
    (metrics.mcc, reference.matthews_corrcoef),
]


@pytest.mark.parametrize(("ours", "theirs"), AGAINST, ids=lambda function: getattr(function, "__name__", ""))
@given(pairs=pairs)
def test_metrics_agree_with_scikit_learn(ours, theirs, pairs) -> None:
    labels, calls = (np.array(column) for column in zip(*pairs, strict=True))
    assume(len(set(labels.tolist())) == 2 and len(set(calls.tolist())) == 2)
    value = ours(metrics.count(labels.astype(np.uint8), calls))
    assert value.number == pytest.approx(theirs(labels.astype(int), calls.astype(int)), abs=1e-12)


@given(pairs)
def test_counts_agree_with_scikit_learn(pairs) -> None:
    labels, calls = (np.array(column) for column in zip(*pairs, strict=True))
    (tn, fp), (fn, tp) = reference.confusion_matrix(labels.astype(int), calls.astype(int), labels=[0, 1])
    assert metrics.count(labels.astype(np.uint8), calls) == Counts(tp, fp, fn, tn)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5)), min_size=2, max_size=50))
def test_auc_agrees_with_the_share_of_ordered_pairs(cells) -> None:
    positive = [score for label, score in cells if label]
    negative = [score for label, score in cells if not label]
    assume(positive and negative)
    wins = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
    labels, scores = (np.array(column) for column in zip(*cells, strict=True))
    value = metrics.auc(labels.astype(np.uint8), scores.astype(np.float64))
    assert value.number == pytest.approx(wins / len(positive) / len(negative))


@pytest.mark.parametrize(("recall", "f1"), [(0.67, 0.80), (0.80, 0.89), (0.90, 0.95), (1.0, 1.0), (0.0, 0.0)])
def test_own_class_f1_follows_from_recall(recall: float, f1: float) -> None:
    assert metrics.own_class_f1(Value(recall)).number == pytest.approx(f1, abs=0.005)


def test_every_call_wrong_gives_zero_and_not_one() -> None:
    wrong = Counts(tp=0, fp=12, fn=12, tn=0)
    assert metrics.f1_positive(wrong) == metrics.f1_negative(wrong) == metrics.macro_f1(wrong) == Value(0.0)
    assert metrics.mcc(wrong) == Value(-1.0)


@given(st.integers(1, 500), st.integers(1, 500))
def test_always_positive_has_the_f1_of_the_prevalence(positives: int, negatives: int) -> None:
    prevalence = positives / (positives + negatives)
    found = Counts(tp=positives, fp=negatives)
    assert metrics.f1_positive(found).number == pytest.approx(2 * prevalence / (1 + prevalence))
    assert metrics.f1_negative(found) == Value(0.0)
    assert metrics.mcc(found) == Value(None, "all calls alike")


@pytest.mark.parametrize(
    ("found", "reason"), [(Counts(fp=3, tn=2), "no positive case"), (Counts(tp=3, fn=2), "no negative case")]
)
def test_one_class_leaves_every_summary_undefined_with_a_reason(found: Counts, reason: str) -> None:
    for metric in (metrics.f1_positive, metrics.f1_negative, metrics.macro_f1, metrics.mcc, metrics.balanced_accuracy):
        assert metric(found) == Value(None, reason)


def test_auc_needs_both_classes() -> None:
    assert metrics.auc(np.ones(3, np.uint8), np.arange(3.0)) == Value(None, "one class only")


@given(counts)
def test_no_counts_give_a_number_that_is_not_finite(found: Counts) -> None:
    for metric, _ in AGAINST:
        value = metric(found)
        assert bool(value.reason) if value.number is None else math.isfinite(value.number)


@given(st.lists(counts), counts)
def test_pooling_does_not_depend_on_the_order(folds: list[Counts], first: Counts) -> None:
    assert sum(folds, first) == sum(reversed(folds), Counts()) + first


def test_a_value_is_written_in_full_or_with_its_reason() -> None:
    assert str(Value(1 / 3)) == "0.3333333333333333"
    assert str(Value(None, "no positive case")) == "n/a (no positive case)"


def test_a_mean_counts_only_what_is_defined() -> None:
    assert metrics.mean([Value(0.5), Value(None, "one class only"), Value(1.0)]) == (Value(0.75), 2)
    assert metrics.mean([Value(None, "one class only")]) == (Value(None, "no patient has one"), 0)

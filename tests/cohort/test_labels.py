"""Which labels become the classes."""

import pytest

from msbatch.cohort.labels import NO_CLASS, LabelRule, choose_classes
from msbatch.errors import MsbatchError


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("ms", "control"), ("control", "ms")),
        (("MS", "HC"), ("HC", "MS")),
        (("uninfected", "parasitized"), ("uninfected", "parasitized")),
        (("0", "1"), ("0", "1")),
        (("no", "Yes"), ("no", "Yes")),
        (("ms",), (NO_CLASS, "ms")),
    ],
)
def test_an_obvious_positive_class_is_found(labels: tuple[str, ...], classes: tuple[str, str]) -> None:
    assert choose_classes(set(labels), LabelRule()) == classes


@pytest.mark.parametrize("labels", [("a", "b"), ("case", "positive"), ("control",)])
def test_nothing_is_guessed_where_it_is_not_obvious(labels: tuple[str, ...]) -> None:
    with pytest.raises(MsbatchError, match=labels[0]) as caught:
        choose_classes(set(labels), LabelRule())
    assert "--positive" in caught.value.hint


def test_what_is_named_wins_over_what_is_obvious() -> None:
    assert choose_classes({"ms", "control"}, LabelRule(positive="control")) == ("ms", "control")
    assert choose_classes({"a", "b"}, LabelRule(negative="a")) == ("a", "b")
    assert choose_classes({"control"}, LabelRule(positive="ms")) == ("control", "ms")


def test_a_third_label_is_refused_unless_two_are_picked() -> None:
    labels = {"ms", "control", "nmo"}
    with pytest.raises(MsbatchError, match="3 labels: control, ms, nmo"):
        choose_classes(labels, LabelRule())
    with pytest.raises(MsbatchError, match="3 labels"):
        choose_classes(labels, LabelRule(positive="ms"))
    assert choose_classes(labels, LabelRule(positive="nmo", negative="ms")) == ("ms", "nmo")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (LabelRule(positive="sick", negative="control"), "No row has the label 'sick'"),
        (LabelRule(positive="ms", negative="ms"), "both 'ms'"),
        (LabelRule(positive="sick"), "do not match"),
        (LabelRule(negative="healthy"), "do not match"),
    ],
)
def test_classes_that_no_row_has_are_refused(rule: LabelRule, reason: str) -> None:
    with pytest.raises(MsbatchError, match=reason):
        choose_classes({"ms", "control"}, rule)

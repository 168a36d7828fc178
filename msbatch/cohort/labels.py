"""Which two labels of a table are the classes, and which of them is positive."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from msbatch.errors import MsbatchError

LabelLevel = Literal["auto", "patient", "cell"]

POSITIVE_WORDS = frozenset(
    (
        "1",
        "yes",
        "true",
        "positive",
        "pos",
        "case",
        "patient",
        "disease",
        "diseased",
        "infected",
        "parasitized",
        "ms",
    )
)
NO_CLASS = "(none)"


@dataclass(frozen=True)
class LabelRule:
    """How labels are read.

    Attributes
    ----------
    positive, negative : str, optional
        The two classes; rows with any other label are dropped where both are given.
    level : {"auto", "patient", "cell"}
        Whether a patient's cells may differ: "patient" refuses it, "cell" asks for one row per image,
        "auto" takes the table as it is.
    """

    positive: str | None = None
    negative: str | None = None
    level: LabelLevel = "auto"


def choose_classes(labels: Collection[str], rule: LabelRule) -> tuple[str, str]:
    """Give the negative class, then the positive one.

    Where only one label occurs, the class without a cell is called `NO_CLASS` unless the rule names it.

    Raises
    ------
    MsbatchError
        If a class does not occur, more than two labels remain, or nothing tells which one is positive.
    """
    found = sorted(labels)
    if rule.positive is not None and rule.positive == rule.negative:
        raise MsbatchError(f"The positive and the negative class are both {rule.positive!r}.")
    if rule.positive is not None and rule.negative is not None:
        return _occurring(rule.negative, found), _occurring(rule.positive, found)
    if len(found) > 2:
        raise MsbatchError(
            f"The table has {len(found)} labels: {', '.join(found)}; a study compares two.",
            "Pick two with --positive and --negative; rows of the others are left out.",
        )
    positive = rule.positive if rule.positive is not None else _guess(found, rule.negative)
    others = [label for label in found if label != positive]
    if len(others) > 1 or (rule.negative is not None and others not in ([], [rule.negative])):
        raise MsbatchError(f"The classes do not match the labels of the table: {', '.join(found)}.")
    return (others[0] if others else rule.negative or NO_CLASS), positive


def _occurring(name: str, found: list[str]) -> str:
    if name not in found:
        raise MsbatchError(f"No row has the label {name!r}.", f"The labels are: {', '.join(found)}.")
    return name


def _guess(found: list[str], negative: str | None) -> str:
    others = [label for label in found if label != negative]
    if negative is not None and len(others) == 1:
        return others[0]
    obvious = [label for label in others if label.casefold() in POSITIVE_WORDS]
    if len(obvious) != 1:
        raise MsbatchError(
            f"Nothing tells which label is the positive class: {', '.join(found)}.",
            f"Say it: --positive {found[-1]!r}",
        )
    return obvious[0]

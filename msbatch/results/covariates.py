"""The further columns of the cohort's table: what kind each is, and whether it goes with the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msbatch.covariates import MISSING
from msbatch.results.head import Array
from msbatch.results.metrics import Value
from msbatch.results.nuisance import COMPONENTS, components
from msbatch.results.subgroups import Outcome, fisher, gap

FEW_NUMBERS = 5  # as many whole numbers, or fewer, are codes: of a batch or a site, say

Kind = Literal["category", "number", "identifier", "constant"]


@dataclass(frozen=True)
class Covariate:
    """One column of the cohort's table.

    Attributes
    ----------
    name : str
        Its heading.
    kind : str
        A category; a number, as dates are too; an identifier, with a value of its own for every patient; or a
        constant, which can explain nothing.
    values : dict of str to str
        By patient, without those that are missing.
    patients : tuple of str
        Everyone.
    """

    name: str
    kind: Kind
    values: dict[str, str]
    patients: tuple[str, ...]

    @property
    def testable(self) -> bool:
        """Whether it can explain anything."""
        return self.kind in ("category", "number")

    @property
    def missing(self) -> int:
        """Patients without a value."""
        return len(self.patients) - len(self.values)

    @property
    def levels(self) -> dict[str, str]:
        """Give each patient's level, for subgroups: the category, or which half a number lies in."""
        if self.kind == "category":
            return self.values
        middle = float(np.median(list(self.numbers.values())))
        shown = min((text for text in self.values.values() if _number(text) == middle), default=self._write(middle))
        return {
            patient: f"up to {shown}" if number <= middle else f"above {shown}"
            for patient, number in self.numbers.items()
        }

    @property
    def numbers(self) -> dict[str, float]:
        """Give values as numbers; a date is a number of days."""
        return {patient: _number(text) or 0.0 for patient, text in self.values.items()}

    def columns(self, groups: NDArray[np.str_]) -> Array:
        """Give at most three columns that stand for it, shape (n, at most 3); each cell has its patient's values.

        Categories of one patient are taken together, and so are missing values, and all but the most common
        categories: components of more columns than may be kept would be of one size, and rounding would choose.
        No column sets one patient apart, since a fit without that patient could not decide its coefficient.
        """
        names, index = np.unique(groups, return_inverse=True)
        raw = self._raw(names.tolist(), min(COMPONENTS, (len(names) - 2) // 2))
        return components(np.column_stack(raw)[index], groups) if raw else np.empty((len(index), 0))

    def _raw(self, patients: Sequence[str], kept: int) -> list[Array]:
        """Give columns of a rank of at most `kept`; of categories those that are set apart from all others."""
        if self.kind == "number":
            known = self.numbers
            middle = float(np.mean(sorted(known.values())))
            absent = np.array([patient not in known for patient in patients], np.float64)
            both = [np.array([known.get(patient, middle) for patient in patients]), absent]
            return both[: kept if absent.sum() > 1 else 1]
        found = Counter(self.values.values())
        common = sorted((level for level in found if found[level] > 1), key=lambda level: (-found[level], level))[:kept]
        if len(patients) - sum(found[level] for level in common) == 1:
            common = common[:-1]
        return [np.array([self.values.get(patient) == level for patient in patients], np.float64) for level in common]

    def _write(self, number: float) -> str:
        if all(_plain_number(text) is None for text in self.values.values()):
            return date.fromordinal(int(number)).isoformat()
        return f"{number:.10g}"


def read_covariates(attributes: Mapping[str, Mapping[str, str]]) -> list[Covariate]:
    """Sort a table's columns into kinds.

    Parameters
    ----------
    attributes : mapping of str to mapping of str to str
        By patient and heading. Empty values are missing, and so are NA, N/A, NaN, none and unknown.
    """
    patients = tuple(sorted(attributes))
    names = sorted({name for own in attributes.values() for name in own})
    return [_covariate(name, patients, attributes) for name in names]


def association(covariate: Covariate, labels: Mapping[str, int], *, seed: int = 0) -> Outcome:
    """Test whether a covariate goes with the patients' labels.

    Categories by Fisher's exact test; numbers by the difference of the classes' means against permuted labels.

    Parameters
    ----------
    covariate : Covariate
        That is testable.
    labels : mapping of str to int
        By patient, 0 or 1.
    seed : int
        Decides the draws, where not all arrangements are looked at.
    """
    if covariate.kind == "category":
        return fisher(_table(covariate, labels), seed=seed)
    groups = _by_class(covariate, labels)
    return gap(groups, seed=seed) if all(groups) else _none("no patient of a class has a value")


def separates(covariate: Covariate, labels: Mapping[str, int]) -> bool:
    """Say whether a covariate tells the classes apart completely, so that nothing can be told from it.

    Not where it is known of less than half of a class, or where a value has fewer than two patients on average: such
    a covariate separates by being scarce.
    """
    known = [[patient in covariate.values for patient, own in labels.items() if own == label] for label in (0, 1)]
    if any(2 * sum(own) < len(own) for own in known):
        return False
    if covariate.kind == "category" and 2 * len(set(covariate.values.values())) > len(covariate.values):
        return False
    if covariate.kind == "category":
        table = _table(covariate, labels)
        return bool((table.min(axis=1) == 0).all() and (table.sum(axis=0) > 0).all())
    negative, positive = _by_class(covariate, labels)
    if not negative or not positive:
        return False
    return max(negative) < min(positive) or max(positive) < min(negative)


def _table(covariate: Covariate, labels: Mapping[str, int]) -> NDArray[np.int64]:
    levels = sorted(set(covariate.values.values()))
    own = [[labels[patient] for patient, value in covariate.values.items() if value == level] for level in levels]
    return np.array([(sum(part), len(part) - sum(part)) for part in own], np.int64)


def _by_class(covariate: Covariate, labels: Mapping[str, int]) -> list[list[float]]:
    numbers = covariate.numbers
    return [[number for patient, number in numbers.items() if labels[patient] == label] for label in (0, 1)]


def _covariate(name: str, patients: tuple[str, ...], attributes: Mapping[str, Mapping[str, str]]) -> Covariate:
    given = {patient: attributes[patient].get(name, "").strip() for patient in patients}
    known = {patient: text for patient, text in given.items() if text.casefold() not in MISSING}
    values = _one_spelling(known)
    return Covariate(name, _kind(list(values.values())), values, patients)


def _one_spelling(values: Mapping[str, str]) -> dict[str, str]:
    """Write values that differ by case alone as most patients have them: case makes no other value."""
    spellings: dict[str, Counter[str]] = {}
    for text in values.values():
        spellings.setdefault(text.casefold(), Counter())[text] += 1
    usual = {folded: min(own, key=lambda text: (-own[text], text)) for folded, own in spellings.items()}
    return {patient: usual[text.casefold()] for patient, text in values.items()}


def _kind(values: Sequence[str]) -> Kind:
    distinct = set(values)
    if len(distinct) < 2:
        return "constant"
    numbers = [_number(text) for text in distinct]
    real = [number for number in numbers if number is not None]
    if len(real) == len(distinct):
        codes = len(distinct) <= FEW_NUMBERS and all(_is_whole(text) for text in distinct)
        return "category" if codes and len(distinct) < len(values) else "number"
    return "identifier" if len(distinct) == len(values) else "category"


def _number(text: str) -> float | None:
    number = _plain_number(text)
    if number is None:
        with suppress(ValueError):
            return float(date.fromisoformat(text).toordinal())
    return number


def _plain_number(text: str) -> float | None:
    with suppress(ValueError):
        number = float(text)
        return number if np.isfinite(number) and "_" not in text else None
    return None


def _is_whole(text: str) -> bool:
    number = _plain_number(text)
    return number is not None and number.is_integer()


def _none(reason: str) -> Outcome:
    return Outcome(Value(None, reason), Value(None, reason))

"""Further columns of the cohort table, by their names; upper and lower case make no difference, nor do blanks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msbatch.errors import MsbatchError

Attributes = Mapping[str, str]


MISSING = {"", "na", "n/a", "nan", "none", "unknown"}  # in any case


def covariate(attributes: Attributes, name: str) -> str:
    """Give a patient's value in a column, in lower case; '' where it is missing."""
    wanted = name.strip().casefold()
    found = next((text.strip().casefold() for column, text in attributes.items() if column.casefold() == wanted), "")
    return "" if found in MISSING else found


def strata(attributes: Sequence[Attributes], names: Sequence[str]) -> list[int]:
    """Give each patient a number, from 0; patients of the same number agree in all of these columns."""
    values = [tuple(covariate(own, name) for name in names) for own in attributes]
    levels = sorted(set(values))
    return [levels.index(own) for own in values]


def check_covariates(attributes: Sequence[Attributes], names: Sequence[str]) -> None:
    """Refuse the name of a column that the cohort table does not have.

    Raises
    ------
    MsbatchError
        Naming the column, and those that there are.
    """
    known = sorted({column for own in attributes for column in own})
    unknown = [name for name in names if name.strip().casefold() not in {column.casefold() for column in known}]
    if unknown:
        raise MsbatchError(f"The cohort has no column {unknown[0]}.", f"It has: {', '.join(known) or 'none'}.")

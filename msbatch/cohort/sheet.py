"""A CSV table of strings, and which of its columns is which."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from msbatch.errors import MsbatchError
from msbatch.files import open_regular
from msbatch.text import has_control, shown

SEPARATORS = ",;\t"
GUESSES = {
    "patient": ("patient", "patient_id", "id", "subject"),
    "label": ("label", "class", "diagnosis", "status", "group"),
    "path": ("path", "file", "filename", "image"),
}


@dataclass(frozen=True)
class Columns:
    """Names of the columns that matter; what is left out is guessed, and of further ones all are kept."""

    patient: str | None = None
    label: str | None = None
    path: str | None = None
    keep: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Sheet:
    """A table read from a file.

    Attributes
    ----------
    columns : list of str
        Names of all columns, without those that have none.
    rows : dict of int to dict of str to str
        Values as they are written, blanks around them removed, by the number of their row; the header is row 1.
    """

    path: Path
    columns: list[str]
    rows: dict[int, dict[str, str]]

    def find(self, role: str, name: str | None) -> str | None:
        """Give the column that plays a role: the named one, or else the first of the usual names that is there.

        Raises
        ------
        MsbatchError
            If the named column is not there; the message lists the columns there are.
        """
        if name is not None:
            return name if name in self.columns else self._refuse(f"has no column {name!r}", role)
        known = {column.casefold(): column for column in reversed(self.columns)}
        return next((known[guess] for guess in GUESSES[role] if guess in known), None)

    def need(self, role: str, name: str | None) -> str:
        """Give the column that plays a role, which the table must have.

        Raises
        ------
        MsbatchError
            If it is not there; the message lists the columns there are.
        """
        column = self.find(role, name)
        return column if column is not None else self._refuse(f"has no column that looks like a {role}", role)

    def _refuse(self, problem: str, role: str) -> NoReturn:
        raise MsbatchError(
            f"{self.path} {problem}; its columns are: {', '.join(self.columns)}.", f"Name one with --{role}."
        )


def read_sheet(path: Path) -> Sheet:
    """Read a CSV file, separated by commas, semicolons or tabs, as strings.

    Raises
    ------
    MsbatchError
        If it is missing, not UTF-8, not a table, has a column twice, or a row of another length than its header.
    """
    try:
        with TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as handle:
            separator = _separator(handle.readline())
            handle.seek(0)
            lines = [
                [value.strip(" ") for value in line] for line in csv.reader(handle, delimiter=separator, strict=True)
            ]
    except FileNotFoundError:
        raise MsbatchError(f"{path} does not exist.") from None
    except UnicodeDecodeError:
        raise MsbatchError(f"{path} is not UTF-8 text.", "Save it from the spreadsheet as: CSV UTF-8") from None
    except (OSError, csv.Error) as error:
        raise MsbatchError(f"{path} cannot be read as CSV: {error}.") from None
    return _parse(path, lines)


def _separator(header: str) -> str:
    # Spreadsheets of many countries write semicolons.
    return max(SEPARATORS, key=header.count)


def _parse(path: Path, lines: list[list[str]]) -> Sheet:
    header, *body = lines or [[]]
    columns = [name for name in header if name]
    strange = [name for name in columns if has_control(name)]
    if strange:
        raise MsbatchError(f"{path}: the column {shown(strange[0])} holds a control character.", "Rename it.")
    if any("\0" in value for line in body for value in line):
        raise MsbatchError(f"{path} holds a NUL, so it is no text.", "Save it from the spreadsheet as: CSV UTF-8")
    twice = [name for name, n in Counter(columns).items() if n > 1]
    if twice:
        raise MsbatchError(f"{path} has the column {twice[0]!r} twice.")
    numbered = {number: line for number, line in enumerate(body, start=2) if any(line)}
    uneven = [number for number, line in numbered.items() if len(line) != len(header)]
    if uneven:
        raise MsbatchError(f"{path}: row {uneven[0]} has another number of values than the header.")
    if not numbered:
        raise MsbatchError(f"{path} has no rows.")
    named = {
        number: {name: value for name, value in zip(header, line, strict=True) if name}
        for number, line in numbered.items()
    }
    return Sheet(path, columns, named)

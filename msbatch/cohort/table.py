"""The cohort's table: which image belongs to which patient, with which label and covariates."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from msbatch.errors import MsbatchError

LabelLevel = Literal["auto", "patient", "cell"]
Row = dict[str, str]

PATIENT_NAMES = ("patient", "patient_id", "id", "subject")
LABEL_NAMES = ("label", "class", "diagnosis", "status", "group")
PATH_NAMES = ("path", "file", "filename", "image")
POSITIVE_WORDS = (
    "ms",
    "case",
    "positive",
    "infected",
    "parasitized",
    "patient",
    "disease",
    "1",
    "yes",
    "true",
)
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MAX_IDENTIFIER = 100


class TableError(MsbatchError):
    """The table, or the folder it speaks of, cannot be used."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and which labels count; what is None is guessed."""

    patient: str | None = None
    label: str | None = None
    path: str | None = None
    positive: str | None = None
    negative: str | None = None
    label_level: LabelLevel = "auto"


@dataclass(frozen=True)
class Listed:
    """One image that the table speaks of."""

    patient: str
    path: str
    label: int


@dataclass(frozen=True)
class Cohort:
    """What the table says.

    Attributes
    ----------
    images : list of Listed
        Sorted by patient, then by path, which is relative to the images' folder.
    classes : tuple of str
        The negative class, then the positive one.
    attributes : dict
        Patient to its further columns, where they are constant within the patient.
    dropped : int
        Rows left out because their label is neither of the two that were chosen.
    """

    images: list[Listed]
    classes: tuple[str, str]
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    dropped: int = 0


def read_cohort(images: Path, table: Path, columns: Columns) -> Cohort:
    """Read the table and find the images it speaks of.

    Parameters
    ----------
    images : Path
        The folder that paths are relative to, or that holds a folder per patient.
    table : Path
        CSV with one row per image (it has a path column) or one per patient. Everything stays text: 007 is not 7.
    columns : Columns
        Which column is which.

    Raises
    ------
    TableError
        If a column, a patient or a label does not fit; the message says which and what to do.
    """
    if not images.is_dir():
        raise TableError(f"{images} is not a folder.")
    header, rows = _read(table)
    patient = _column(header, columns.patient, PATIENT_NAMES, "patient", table)
    label = _column(header, columns.label, LABEL_NAMES, "label", table)
    path = _path_column(header, columns.path, table)
    check_identifiers({row[patient] for row in rows})
    chosen, classes = _choose(rows, label, columns)
    _check_levels(chosen, patient, label, columns.label_level)
    listed = _listed_rows(chosen, path, images) if path else _walk_patients(chosen, rows, patient, images)
    cells = [Listed(row[patient], where, int(row[label] == classes[1])) for row, where in listed]
    _check_twice(cells)
    keys = [name for name in header if name not in (patient, label, path)]
    found = sorted(cells, key=lambda cell: (cell.patient, cell.path))
    return Cohort(found, classes, _attributes(chosen, patient, keys), len(rows) - len(chosen))


def check_identifiers(identifiers: Iterable[str]) -> None:
    """Refuse patient identifiers that cannot be kept apart or told safely.

    Raises
    ------
    TableError
        For the first that is empty, long, holds a path separator or control character, or that differs from
        another only in case or in how its letters are encoded.
    """
    seen: dict[str, str] = {}
    for identifier in sorted(identifiers):
        reason = _fault(identifier)
        if reason:
            raise TableError(
                f"The patient identifier {identifier[:40]!r} {reason}.",
                "Change it in the table and in the folder's name.",
            )
        twin = seen.setdefault(unicodedata.normalize("NFC", identifier).casefold(), identifier)
        if twin != identifier:
            raise TableError(
                f"The patient identifiers {twin!r} and {identifier!r} differ only in case or encoding.",
                "If they are one patient, write them alike; if not, rename one.",
            )


def _fault(identifier: str) -> str:
    if not identifier.strip():
        return "is empty"
    if len(identifier) > MAX_IDENTIFIER:
        return f"has {len(identifier)} characters, more than {MAX_IDENTIFIER}"
    if any(unicodedata.category(letter).startswith("C") for letter in identifier):
        return "holds a line break or another control character"
    if set(identifier) & set("/\\") or ".." in identifier or identifier.startswith("."):
        return "looks like a path"
    return "begins or ends with a space" if identifier != identifier.strip() else ""


def _read(table: Path) -> tuple[list[str], list[Row]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            rows = list(reader)
    except FileNotFoundError:
        raise TableError(f"{table} does not exist.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(
            f"{table} cannot be read as UTF-8 CSV: {error}.", "Save it again as CSV in UTF-8."
        ) from None
    header = list(reader.fieldnames or [])
    if not rows or len(set(header)) != len(header):
        raise TableError(f"{table} has {'a column twice' if rows else 'no rows'}.")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise TableError(f"{table}, line {number}: it has another number of columns than the header.")
    return header, rows


def _column(header: Sequence[str], wanted: str | None, guesses: Sequence[str], what: str, table: Path) -> str:
    found = (
        [name for name in header if name == wanted]
        if wanted
        else [n for g in guesses for n in header if n.casefold() == g]
    )
    if not found:
        problem = (
            f"{table} has no column {wanted}"
            if wanted
            else f"{table} has no column that is clearly the {what}"
        )
        raise TableError(f"{problem}; it has {', '.join(header)}.", f"Name it with --{what} COLUMN.")
    return found[0]


def _path_column(header: Sequence[str], wanted: str | None, table: Path) -> str | None:
    if wanted is None and not {name.casefold() for name in header} & set(PATH_NAMES):
        return None
    return _column(header, wanted, PATH_NAMES, "path", table)


def _choose(rows: list[Row], label: str, columns: Columns) -> tuple[list[Row], tuple[str, str]]:
    labels = sorted({row[label] for row in rows})
    for wanted in (columns.positive, columns.negative):
        if wanted is not None and wanted not in labels:
            raise TableError(f"No row has the label {wanted!r}; labels are {', '.join(map(repr, labels))}.")
    if columns.positive and columns.negative:
        classes = (columns.negative, columns.positive)
        return [row for row in rows if row[label] in classes], classes
    if len(labels) > 2:
        raise TableError(
            f"The column {label} has {len(labels)} labels: {', '.join(map(repr, labels[:6]))}; a study has two.",
            "Pick two with --positive LABEL --negative LABEL.",
        )
    positive = columns.positive or _guess_positive(labels)
    negative = columns.negative or next((name for name in labels if name != positive), "negative")
    return rows, (negative, positive)


def _guess_positive(labels: Sequence[str]) -> str:
    obvious = [name for name in labels if name.strip().casefold() in POSITIVE_WORDS]
    if len(obvious) == 1:
        return obvious[0]
    if len(labels) == 1:
        return "positive"
    raise TableError(
        f"Which of {' and '.join(map(repr, labels))} is the positive class?", "Say so with --positive LABEL."
    )


def _check_levels(rows: list[Row], patient: str, label: str, level: LabelLevel) -> None:
    if level != "patient":
        return
    seen: dict[str, str] = {}
    for row in rows:
        first = seen.setdefault(row[patient], row[label])
        if first != row[label]:
            raise TableError(
                f"Patient {row[patient]!r} has two labels, {first!r} and {row[label]!r}, but labels were declared per patient.",
                "Correct the table, or leave out --label-per patient.",
            )


def _listed_rows(rows: list[Row], path: str, images: Path) -> list[tuple[Row, str]]:
    root = images.resolve()
    for number, row in enumerate(rows, 2):
        where = row[path]
        if not where or Path(where).is_absolute() or not (root / where).resolve().is_relative_to(root):
            raise TableError(f"Line {number}: the path {where!r} does not lie inside {images}.")
    return [(row, Path(row[path]).as_posix()) for row in rows]


def _walk_patients(chosen: list[Row], rows: list[Row], patient: str, images: Path) -> list[tuple[Row, str]]:
    by_patient = {row[patient]: row for row in chosen}
    if len(by_patient) != len(chosen):
        raise TableError(
            f"A patient has several rows, but there is no column of image paths in {', '.join(rows[0])}.",
            "Name it with --path COLUMN.",
        )
    known = {row[patient] for row in rows}
    folders = {folder.name: folder for folder in images.iterdir() if folder.is_dir() and _images_in(folder)}
    strangers, missing = sorted(set(folders) - known), sorted(set(by_patient) - set(folders))
    if strangers:
        raise TableError(
            f"The folder {folders[strangers[0]]} belongs to no patient of the table.",
            "Add its row, or move the folder away.",
        )
    if missing:
        raise TableError(
            f"Patient {missing[0]!r} has no images: {images / missing[0]} is missing or holds none."
        )
    return [
        (row, path.relative_to(images).as_posix())
        for name, row in by_patient.items()
        for path in _images_in(folders[name])
    ]


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _check_twice(cells: Iterable[Listed]) -> None:
    seen: dict[str, str] = {}
    for cell in cells:
        if cell.path in seen:
            raise TableError(
                f"The table lists {cell.path} twice, for {seen[cell.path]!r} and {cell.patient!r}."
            )
        seen[cell.path] = cell.patient


def _attributes(rows: Iterable[Row], patient: str, keys: Sequence[str]) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        for key in keys:
            values.setdefault(row[patient], {}).setdefault(key, set()).add(row[key].strip())
    constant = [key for key in keys if all(len(own[key]) == 1 for own in values.values())]
    return {name: {key: next(iter(own[key])) for key in constant} for name, own in values.items()}

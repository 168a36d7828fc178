"""The cohort that a table and a folder describe: patients, their files, labels and attributes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from msbatch.cohort.identifiers import check_identifiers, has_control, shown
from msbatch.cohort.labels import LabelRule, choose_classes
from msbatch.cohort.sheet import Columns, Sheet, read_sheet
from msbatch.errors import MsbatchError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

Row = dict[str, str]


@dataclass(frozen=True)
class CellFile:
    """One image file that the cohort names.

    Attributes
    ----------
    path : str
        Relative to the folder of images, with forward slashes.
    label : int
        0 negative, 1 positive.
    """

    path: str
    label: int


@dataclass(frozen=True)
class Patient:
    """One patient: files sorted by path, and the columns that are constant within every patient."""

    identifier: str
    files: tuple[CellFile, ...]
    attributes: dict[str, str]


@dataclass(frozen=True)
class Cohort:
    """All patients, sorted by identifier.

    Attributes
    ----------
    classes : tuple of str
        The negative class, then the positive one.
    dropped : int
        Rows left out because their label is of neither class.
    varying : tuple of str
        Columns that no attribute came of, since they vary within a patient.
    """

    patients: tuple[Patient, ...]
    classes: tuple[str, str]
    dropped: int
    varying: tuple[str, ...]


def read_cohort(images: Path, table: Path, columns: Columns, rule: LabelRule) -> Cohort:
    """Read a table with a row per image or per patient, and find the files that it means.

    Parameters
    ----------
    images : Path
        The folder that paths are relative to, or that holds a folder per patient.
    table : Path
        CSV; all values stay text, so 007 and 7 are two patients.
    columns : Columns
        Which column is which.
    rule : LabelRule
        How labels are read.

    Raises
    ------
    MsbatchError
        If a column, an identifier, a label, a path or a folder does not fit; the message names it.
    """
    if not images.is_dir():
        raise MsbatchError(f"{images} is not a folder.")
    sheet = read_sheet(table)
    patient, label = sheet.need("patient", columns.patient), sheet.need("label", columns.label)
    path = sheet.find("path", columns.path)
    check_identifiers(row[patient] for row in sheet.rows.values())
    classes = choose_classes({row[label] for row in sheet.rows.values()}, rule)
    rows = {number: row for number, row in sheet.rows.items() if row[label] in classes}
    _check_levels(sheet, rows, patient, label, rule)
    files = _listed(images, rows, patient, path) if path else _found(images, sheet, rows, patient)
    _check_once(files)
    others = [name for name in sheet.columns if name not in (patient, label, path)]
    varying = tuple(name for name in others if _varies(rows.values(), patient, name))
    patients = [
        Patient(name, _cell_files(files[name], label, classes), _attributes(files[name], others, varying))
        for name in sorted(files)
    ]
    return Cohort(tuple(patients), classes, len(sheet.rows) - len(rows), varying)


Files = dict[str, list[tuple[str, Row]]]


def _listed(images: Path, rows: dict[int, Row], patient: str, path: str) -> Files:
    root = images.resolve()
    files: Files = {}
    for number, row in rows.items():
        where = row[path]
        outside = Path(where).is_absolute() or not (root / where).resolve().is_relative_to(root)
        if not where or has_control(where) or outside:
            raise MsbatchError(f"Row {number}: the path {shown(where)} does not lie inside {images}.")
        files.setdefault(row[patient], []).append((Path(where).as_posix(), row))
    return files


def _found(images: Path, sheet: Sheet, rows: dict[int, Row], patient: str) -> Files:
    by_patient = {row[patient]: row for row in rows.values()}
    if len(by_patient) < len(rows):
        columns = ", ".join(sheet.columns)
        raise MsbatchError(
            f"{sheet.path} has several rows of one patient, but no column that looks like a path; it has: {columns}.",
            "Name it with --path.",
        )
    folders = {folder.name: _images_in(folder) for folder in images.iterdir() if folder.is_dir()}
    known = {row[patient] for row in sheet.rows.values()}
    strangers = sorted(name for name, found in folders.items() if found and name not in known)
    if strangers:
        raise MsbatchError(
            f"The folder {images / strangers[0]} belongs to no patient of {sheet.path}.",
            "Add the patient to the table, or move the folder away.",
        )
    for name in by_patient:
        if not folders.get(name):
            raise MsbatchError(f"Patient {name} has no image: {images / name} is missing or holds none.")
    return {
        name: [(path.relative_to(images).as_posix(), row) for path in folders[name]] for name, row in by_patient.items()
    }


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _check_levels(sheet: Sheet, rows: dict[int, Row], patient: str, label: str, rule: LabelRule) -> None:
    if rule.level != "patient":
        return
    labels: dict[str, str] = {}
    for row in rows.values():
        first = labels.setdefault(row[patient], row[label])
        if first != row[label]:
            raise MsbatchError(
                f"{sheet.path}: patient {row[patient]} has two labels, {first} and {row[label]}.",
                "Correct the table, or leave out --label-per patient.",
            )


def _check_once(files: Files) -> None:
    owners: dict[str, str] = {}
    for name, own in files.items():
        for path, _ in own:
            if path in owners:
                raise MsbatchError(f"The table lists {path} twice, for {owners[path]} and {name}.")
            owners[path] = name


def _cell_files(own: list[tuple[str, Row]], label: str, classes: tuple[str, str]) -> tuple[CellFile, ...]:
    return tuple(CellFile(path, classes.index(row[label])) for path, row in sorted(own, key=lambda item: item[0]))


def _varies(rows: Iterable[Row], patient: str, name: str) -> bool:
    first: dict[str, str] = {}
    return any(first.setdefault(row[patient], row[name]) != row[name] for row in rows)


def _attributes(own: list[tuple[str, Row]], others: list[str], varying: tuple[str, ...]) -> dict[str, str]:
    return {name: own[0][1][name] for name in others if name not in varying}

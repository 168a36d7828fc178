"""The cohort that a table and a folder describe: patients, their files, labels and attributes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from msbatch.cohort.identifiers import check_identifiers
from msbatch.cohort.images import SLIDES
from msbatch.cohort.labels import LabelRule, choose_classes
from msbatch.cohort.sheet import Columns, Sheet, read_sheet
from msbatch.errors import MsbatchError
from msbatch.text import has_control, shown

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
REFUSED = (".dcm", ".dicom", ".gif", ".webp", ".jp2", ".heic", *SLIDES)  # told why, rather than passed over

Row = dict[str, str]
Files = dict[str, list[tuple[str, Row]]]


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
    left_out : tuple of str
        Columns that no attribute came of, since they were not among those to keep.
    """

    patients: tuple[Patient, ...]
    classes: tuple[str, str]
    dropped: int
    varying: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Roles:
    """Which column holds what; `path` is None where a row is a patient."""

    patient: str
    label: str
    path: str | None

    def others(self, sheet: Sheet) -> list[str]:
        return [name for name in sheet.columns if name not in (self.patient, self.label, self.path)]


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
    roles = _find_roles(sheet, columns)
    check_identifiers(row[roles.patient] for row in sheet.rows.values())
    classes = choose_classes({row[roles.label] for row in sheet.rows.values()}, rule)
    strange = [name for name in classes if has_control(name)]
    if strange:
        raise MsbatchError(f"{table}: the label {shown(strange[0])} holds a control character.", "Rename it.")
    rows = {number: row for number, row in sheet.rows.items() if row[roles.label] in classes}
    _check_level(sheet, rows, roles, rule)
    files = (
        _listed(images, rows, roles.patient, roles.path) if roles.path else _found(images, sheet, rows, roles.patient)
    )
    _check_once(files)
    others = _kept(sheet, roles, columns.keep)
    varying = tuple(name for name in others if _varies(rows.values(), roles.patient, name))
    patients = [
        Patient(name, _cell_files(files[name], roles.label, classes), _attributes(files[name], others, varying))
        for name in sorted(files)
    ]
    left_out = tuple(name for name in roles.others(sheet) if name not in others)
    return Cohort(tuple(patients), classes, len(sheet.rows) - len(rows), varying, left_out)


def _find_roles(sheet: Sheet, columns: Columns) -> _Roles:
    roles = _Roles(
        sheet.need("patient", columns.patient), sheet.need("label", columns.label), sheet.find("path", columns.path)
    )
    for number, row in sheet.rows.items():
        blank = [name for name in (roles.patient, roles.label, roles.path) if name and not row[name]]
        if blank:
            raise MsbatchError(f"{sheet.path}: row {number} has no {blank[0]}.")
    return roles


def _kept(sheet: Sheet, roles: _Roles, names: Collection[str] | None) -> list[str]:
    others = roles.others(sheet)
    unknown = [name for name in names or () if name not in others]
    if unknown:
        raise MsbatchError(
            f"{sheet.path} has no further column {unknown[0]!r} to keep; it has: {', '.join(others)}.",
            "Name those with --keep.",
        )
    return [name for name in others if names is None or name in names]


def _check_level(sheet: Sheet, rows: dict[int, Row], roles: _Roles, rule: LabelRule) -> None:
    if rule.level == "cell" and not roles.path:
        raise MsbatchError(
            f"{sheet.path} has a row per patient, so it cannot label cells.", "Name its column of image paths: --path"
        )
    if rule.level != "patient":
        return
    labels: dict[str, str] = {}
    for row in rows.values():
        first = labels.setdefault(row[roles.patient], row[roles.label])
        if first != row[roles.label]:
            raise MsbatchError(
                f"{sheet.path}: patient {row[roles.patient]} has two labels, {first} and {row[roles.label]}.",
                "Correct the table, or leave out --label-per patient.",
            )


def _listed(images: Path, rows: dict[int, Row], patient: str, path: str) -> Files:
    root = images.resolve()
    files: Files = {}
    for number, row in rows.items():
        if not _is_inside(root, row[path]):
            raise MsbatchError(f"Row {number}: the path {shown(row[path])} does not lie inside {images}.")
        files.setdefault(row[patient], []).append((Path(os.path.normpath(row[path])).as_posix(), row))
    return files


def _is_inside(root: Path, path: str) -> bool:
    if has_control(path) or Path(path).is_absolute():
        return False
    return (root / path).resolve().is_relative_to(root)


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
            problem = f"Patient {name} has no image: {images / name} is missing or holds no PNG, JPEG, TIFF or BMP."
            raise MsbatchError(problem)
    return {
        name: [(path.relative_to(images).as_posix(), row) for path in folders[name]] for name, row in by_patient.items()
    }


def _images_in(folder: Path) -> list[Path]:
    found = [p for p in folder.rglob("*") if p.suffix.lower() in (*SUFFIXES, *REFUSED) and not p.name.startswith(".")]
    strange = [str(path) for path in found if has_control(str(path))]
    if strange:
        raise MsbatchError(f"The name {shown(strange[0])} holds a control character or is not UTF-8.", "Rename it.")
    return found


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

"""What a pack has accepted and left out so far, and the report that becomes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from msbatch.cohort.writer import Cell
from msbatch.errors import MsbatchError


@dataclass(frozen=True)
class PackReport:
    """What a pack did.

    Attributes
    ----------
    output : Path
        The store.
    patients, cells : int
        What it holds.
    per_class : dict of str to int
        Cells of the negative class, then of the positive one.
    scale : float
        The cohort's common scale.
    cropped : int
        Images of which a part fell outside the canvas.
    quarantined : tuple of (str, str)
        Files that were left out, and why.
    dropped : int
        Rows of the table with a label of neither class.
    varying : tuple of str
        Columns of the table that no attribute came of, since they vary within a patient.
    sha256 : str
        Of the store's bytes.
    left_out : tuple of str
        Columns of the table that no attribute came of, since they were not among those to keep.
    pseudonyms : bool
        Whether the store holds pseudonyms.
    """

    output: Path
    patients: int
    cells: int
    per_class: dict[str, int]
    scale: float
    cropped: int
    quarantined: tuple[tuple[str, str], ...]
    dropped: int
    varying: tuple[str, ...]
    sha256: str
    left_out: tuple[str, ...] = ()
    pseudonyms: bool = False

    def text(self) -> str:
        """Say it in a few lines."""
        classes = ", ".join(f"{cells} {name}" for name, cells in self.per_class.items())
        empty = [name for name, cells in self.per_class.items() if not cells]
        notes = {
            f"The cohort was scaled by {self.scale:.3f} to fit the canvas.": self.scale != 1,
            f"Cropped to the canvas: {self.cropped} images.": self.cropped > 0,
            self._quarantine(): bool(self.quarantined),
            f"Left out: {self.dropped} rows of other labels.": self.dropped > 0,
            f"No attribute, since they vary within a patient: {', '.join(self.varying)}.": bool(self.varying),
            f"Columns left out, as --keep does not name them: {', '.join(self.left_out)}.": bool(self.left_out),
            f"Warning: there is no cell of class {', '.join(empty)}; such a cohort cannot be planned.": bool(empty),
        }
        first = f"Packed {self.patients} patients, {self.cells} cells ({classes}) into {self.output}."
        return "\n".join([first, *(note for note, holds in notes.items() if holds)])

    def _quarantine(self) -> str:
        """Say which files were left out; where patients have pseudonyms, here alone: files are named after patients."""
        first = f"Left out: {len(self.quarantined)} file{'s' * (len(self.quarantined) != 1)}"
        if not self.pseudonyms:
            return f"{first}; {quarantine_path(self.output)} says why."
        return "\n".join([f"{first}:", *(f"  {file}: {reason}" for file, reason in self.quarantined)])


@dataclass
class Tally:
    """Counts, and where each picture was seen first.

    Attributes
    ----------
    strict : bool
        Whether leaving out a file is an error.
    patients : dict of str to int
        Cells of each patient.
    labels : Counter of int
        Cells of each class, 0 negative, 1 positive.
    cropped : int
        Images of which a part fell outside the canvas.
    quarantined : dict of str to str
        Files that were left out, and why.
    """

    strict: bool
    patients: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    cropped: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, tuple[str, str, int]] = field(default_factory=dict)

    def leave_out(self, file: str, reason: str) -> None:
        """Note a file that cannot be used.

        Raises
        ------
        MsbatchError
            Under `strict`.
        """
        if self.strict:
            raise MsbatchError(f"{file}: {reason}.", "Mend or remove it, or pack without --strict.")
        self.quarantined[file] = reason

    def accept(self, patient: str, cell: Cell) -> bool:
        """Count a cell, unless its patient has the same picture already.

        Raises
        ------
        MsbatchError
            If another patient has the same picture, or it was given another label.
        """
        here = (patient, cell.source, cell.label)
        first = self._seen.setdefault(cell.digest, here)
        if first is here:
            self.patients[patient] += 1
            self.labels[cell.label] += 1
            self.cropped += cell.cropped
            return True
        _refuse_conflict(first, here)
        self.leave_out(cell.source, f"it holds the same pixels as {first[1]}")
        return False


def quarantine_path(output: Path) -> Path:
    """Where the files that were left out of a store are listed."""
    return output.with_name(f"{output.name}.quarantine.csv")


def _refuse_conflict(first: tuple[str, str, int], second: tuple[str, str, int]) -> None:
    (owner, file, label), (other_owner, other_file, other_label) = first, second
    if owner != other_owner:
        raise MsbatchError(
            f"Patients {owner} and {other_owner} share the same pixels: {file} and {other_file}.",
            "A picture must not stand on both sides of a split: find out whose it is.",
        )
    if label != other_label:
        raise MsbatchError(
            f"{file} and {other_file} hold the same pixels under two labels.",
            "Find out which label is right.",
        )

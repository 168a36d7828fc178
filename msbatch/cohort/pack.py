"""A folder of images and a table, packed into one store that is whole or absent."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from msbatch.access import let_read
from msbatch.cohort.fit import Fit, common_scale
from msbatch.cohort.labels import LabelLevel, LabelRule
from msbatch.cohort.prepare import Preparation, Refusal
from msbatch.cohort.pseudonyms import FINGERPRINT, Key, pseudonymised, refuse_other_file, refuse_other_key, write_lookup
from msbatch.cohort.sheet import Columns
from msbatch.cohort.table import CellFile, Cohort, Patient, read_cohort
from msbatch.cohort.tally import PackReport, Tally, quarantine_path
from msbatch.cohort.workers import OrderedMap, ordered_map
from msbatch.cohort.writer import Canvas, Cell, create_store, verify
from msbatch.errors import MsbatchError
from msbatch.files import atomic_path, hash_beside, make_dir, sha256, write_csv, write_text
from msbatch.text import safe

Advance = Callable[[int], None]
Progress = Callable[[str, int, str], AbstractContextManager[Advance]]


@dataclass(frozen=True)
class PackOptions:
    """How a cohort is packed.

    Attributes
    ----------
    patient, label, path : str, optional
        Columns of the table; guessed where left out.
    positive, negative : str, optional
        The classes; see `LabelRule`.
    label_level : {"auto", "patient", "cell"}
        What carries the label; see `LabelRule`.
    size_px : int
        Side of the canvas; an image with a side above twice this is refused.
    fit : {"pad", "crop", "resize"}
        How images meet the canvas; see `msbatch.cohort.fit.fit`.
    workers : int
        Decoding processes; the store does not depend on it.
    strict : bool
        Fail on the first file that would be left out.
    overwrite : bool
        Replace an existing store once the new one is whole.
    keep : tuple of str, optional
        Further columns of the table to keep; where left out, all without a key and none with one.
    key : Key, optional
        Patients get pseudonyms under it, and nothing that is written holds their names or those of their files.
    lookup : Path, optional
        Where to write which pseudonym is whose.
    group : int, optional
        The number of a group that may read the store.
    """

    patient: str | None = None
    label: str | None = None
    path: str | None = None
    positive: str | None = None
    negative: str | None = None
    label_level: LabelLevel = "auto"
    size_px: int = 128
    fit: Fit = "pad"
    workers: int = 1
    strict: bool = False
    overwrite: bool = False
    keep: tuple[str, ...] | None = None
    key: Key | None = None
    lookup: Path | None = None
    group: int | None = None

    @property
    def columns(self) -> Columns:
        """Which column of the table is which."""
        keep = () if self.keep is None and self.key is not None else self.keep
        return Columns(self.patient, self.label, self.path, keep)

    @property
    def rule(self) -> LabelRule:
        """Which labels are the classes."""
        return LabelRule(self.positive, self.negative, self.label_level)


def silent(_label: str, _total: int, _unit: str) -> AbstractContextManager[Advance]:
    """Show no progress."""
    return nullcontext(lambda _n: None)


def pack(
    images: Path,
    table: Path,
    output: Path,
    options: PackOptions | None = None,
    progress: Progress = silent,
) -> PackReport:
    """Pack a cohort.

    The store's bytes depend on the images, the table and the options alone, not on the number of workers. Files
    that cannot be used are listed with their reason in ``<output>.quarantine.csv``; the store's hash goes to
    ``<output>.sha256``.

    Parameters
    ----------
    images : Path
        The folder that the table's paths are relative to, or that holds a folder per patient.
    table : Path
        CSV with a row per image or per patient.
    output : Path
        The store. Whatever goes wrong, one that exists stays as it is.
    options : PackOptions, optional
        How to pack.
    progress : callable
        Called with a label, a total and a unit for each of two phases; gives a context manager over a function that
        is told how many images were just done. `msbatch.terminal.progress` is one.

    Raises
    ------
    MsbatchError
        If `output` exists, the table does not hold, two patients share an image, a patient has no usable image,
        most images are whole fields of view, a file is left out under `strict`, or the disk is full.
    """
    options = options or PackOptions()
    _check_targets(output, options)
    named = read_cohort(images, table, options.columns, options.rule)
    cohort = named if options.key is None else pseudonymised(named, options.key)
    tally = Tally(options.strict)
    preparation = Preparation(images, options.size_px, options.fit)
    with _disk_explained(output), ordered_map(options.workers) as run:
        _remove_leftovers(output, options.lookup)
        long_sides = _read_headers(cohort, preparation, tally, run, progress)
        scale = common_scale(list(long_sides.values()), options.size_px, options.fit)
        source = _Source(cohort, replace(preparation, scale=scale), frozenset(long_sides), options.key)
        make_dir(output.parent, options.group)
        with atomic_path(output, lambda: _before_commit(output, options, tally, named)) as temporary:
            _write(temporary, source, tally, run, progress)
            _refuse_taken_over(temporary, output)
            verify(temporary, tally.patients)
            digest = sha256(temporary)
            _let_read(temporary, options)
        write_text(hash_beside(output), f"{digest}  {output.name}\n")
        _let_read(hash_beside(output), options)
    return _report(output, source, tally, digest)


@dataclass(frozen=True)
class _Source:
    cohort: Cohort
    preparation: Preparation
    usable: frozenset[CellFile]
    key: Key | None = None

    def files(self, patient: Patient) -> list[CellFile]:
        return [file for file in patient.files if file in self.usable]


def _read_headers(
    cohort: Cohort, preparation: Preparation, tally: Tally, run: OrderedMap, progress: Progress
) -> dict[CellFile, int]:
    """Give the longer side of every image that can be used, in pixels."""
    files = [file for patient in cohort.patients for file in patient.files]
    long_sides, fields_of_view = {}, []
    with progress("reading headers", len(files), "images") as advance:
        for file, found in zip(files, run(preparation.extent, files), strict=True):
            advance(1)
            if not isinstance(found, Refusal):
                long_sides[file] = max(found)
                continue
            fields_of_view += [f"{file.path}: {found.reason}"] if found.field_of_view else []
            tally.leave_out(file.path, found.reason)
    _refuse_fields_of_view(fields_of_view, len(files))
    for patient in cohort.patients:
        _refuse_empty(patient, sum(file in long_sides for file in patient.files), tally)
    return long_sides


def _write(path: Path, source: _Source, tally: Tally, run: OrderedMap, progress: Progress) -> None:
    cohort, preparation = source.cohort, source.preparation
    files = [file for patient in cohort.patients for file in source.files(patient)]
    with (
        create_store(path, preparation.size_px, sources=source.key is None) as writer,
        progress("packing", len(files), "images") as advance,
    ):
        results = run(preparation.cell, files)
        for patient in cohort.patients:
            own = zip(source.files(patient), islice(results, len(source.files(patient))), strict=True)
            written = writer.add_patient(
                patient.identifier, patient.attributes, _accepted(patient, own, tally, advance)
            )
            _refuse_empty(patient, written, tally)
        writer.describe(cohort.classes, _settings(source, tally))


def _accepted(
    patient: Patient, results: Iterator[tuple[CellFile, Any]], tally: Tally, advance: Advance
) -> Iterator[tuple[Cell, Canvas]]:
    for file, result in results:
        advance(1)
        if isinstance(result, Refusal):
            tally.leave_out(file.path, result.reason)
        elif tally.accept(patient.identifier, result[0]):
            yield result


def _settings(source: _Source, tally: Tally) -> dict[str, Any]:
    return {
        "fit": source.preparation.mode,
        "scale": source.preparation.scale,
        "max_side_px": source.preparation.max_side_px,
        "cropped": tally.cropped,
        "quarantined": len(tally.quarantined),
        "dropped_rows": source.cohort.dropped,
        **({FINGERPRINT: source.key.fingerprint} if source.key else {}),
    }


def _report(output: Path, source: _Source, tally: Tally, digest: str) -> PackReport:
    cohort = source.cohort
    return PackReport(
        output=output,
        patients=len(tally.patients),
        cells=tally.patients.total(),
        per_class={name: tally.labels[label] for label, name in enumerate(cohort.classes)},
        scale=source.preparation.scale,
        cropped=tally.cropped,
        quarantined=tuple(sorted(tally.quarantined.items())),
        dropped=cohort.dropped,
        varying=cohort.varying,
        sha256=digest,
        left_out=cohort.left_out,
        pseudonyms=source.key is not None,
    )


def _check_targets(output: Path, options: PackOptions) -> None:
    for target in filter(None, (output, options.lookup)):
        _refuse_existing(target, options.overwrite)
    if options.lookup is not None:
        refuse_other_file(options.lookup, output)
    refuse_other_key(output, options.key)


def _refuse_existing(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise MsbatchError(f"{output} exists already.", "Choose another name, or replace it with --overwrite.")


def _refuse_taken_over(temporary: Path, output: Path) -> None:
    # A pack removes what a killed one left, and cannot tell it from one that still runs.
    if not temporary.exists():
        raise MsbatchError(f"Another pack of {output} was started meanwhile.", "Let one of them finish.")


def _refuse_fields_of_view(found: list[str], total: int) -> None:
    if 2 * len(found) > total:
        raise MsbatchError(
            f"{len(found)} of {total} images look like whole fields of view, first of all {found[0]}.",
            "Crop single cells first; if these are single cells, pack with a larger --size.",
        )


def _refuse_empty(patient: Patient, cells: int, tally: Tally) -> None:
    if cells:
        return
    file = next(file.path for file in patient.files if file.path in tally.quarantined)
    raise MsbatchError(
        f"Patient {patient.identifier} has no usable image; the first is {file}: {tally.quarantined[file]}.",
        "Mend the images or take the patient out of the table.",
    )


def _before_commit(output: Path, options: PackOptions, tally: Tally, named: Cohort) -> None:
    _refuse_existing(output, options.overwrite)
    if options.key is not None and options.lookup is not None:
        with _disk_explained(options.lookup):
            write_lookup(options.lookup, named, options.key)
    # A hash may be missing for a moment, but must never stand beside a store of other bytes.
    hash_beside(output).unlink(missing_ok=True)
    if tally.quarantined and options.key is None:
        left_out = [(safe(file), reason) for file, reason in sorted(tally.quarantined.items())]
        write_csv(quarantine_path(output), ("file", "reason"), left_out)
    else:
        quarantine_path(output).unlink(missing_ok=True)


def _let_read(path: Path, options: PackOptions) -> None:
    if options.group is not None:
        let_read(path, options.group)


def _remove_leftovers(output: Path, lookup: Path | None) -> None:
    for target in filter(None, (output, hash_beside(output), quarantine_path(output), lookup)):
        for leftover in target.parent.glob(f".{glob.escape(target.name)}.tmp.*"):
            leftover.unlink(missing_ok=True)


@contextmanager
def _disk_explained(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MsbatchError(f"{output} cannot be written: {reason}.", "Nothing that existed was changed.") from None

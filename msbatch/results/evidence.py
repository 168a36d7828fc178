"""The tests that a verdict rests on: every one refits the exact head, and none looks at fixed predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from msbatch.config import ProbeSettings
from msbatch.results import covariates as table
from msbatch.results.covariates import Covariate
from msbatch.results.head import Array, HeadError, fit_head
from msbatch.results.inner import inner_penalty
from msbatch.results.intervals import Interval
from msbatch.results.metrics import Value
from msbatch.results.nuisance import LENGTHS, ROWS, components
from msbatch.results.permutation import PermutationTest, association, beyond_nuisance
from msbatch.results.subgroups import Outcome
from msbatch.results.subjects import Embedding, Subjects
from msbatch.results.verdict import Evidence

MEASURED = "colour, size and shape together"


@dataclass(frozen=True)
class Tests:
    """All tests of a cohort.

    Attributes
    ----------
    association : dict of str to PermutationTest
        Of images and labels, by what embedded the images.
    measured : PermutationTest
        The same of what was measured of each cell, which is no part of the verdict.
    beyond : dict of str to dict of str to PermutationTest
        Beyond each nuisance row and covariate, by row, then by what embedded the images.
    covariates : dict of str to Outcome
        Each covariate's association with the label.
    left_out : tuple of str
        Covariates of whose values too few patients share one, to be a row.
    separating : tuple of str
        Covariates that separate the classes completely.
    readable : dict of str to dict of str to PermutationTest
        Whether each covariate can be read from images, by what of it is read, then by what embedded the images; and,
        under "<covariate>, <negative class> only", among patients of the negative class.
    """

    association: dict[str, PermutationTest]
    measured: PermutationTest
    beyond: dict[str, dict[str, PermutationTest]]
    covariates: dict[str, Outcome] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    separating: tuple[str, ...] = ()
    readable: dict[str, dict[str, PermutationTest]] = field(default_factory=dict)


def run_tests(subjects: Subjects, asked: ProbeSettings | None = None, *, seed: int = 0) -> Tests:
    """Run all tests.

    Parameters
    ----------
    subjects : Subjects
        The cohort; at least one embedding.
    asked : ProbeSettings, optional
        Permutations of each test that does not look at all arrangements, and what to read from images.
    seed : int
        Decides the draws.
    """
    run = _Run(subjects, asked or ProbeSettings(), seed)
    known = [own for own in table.read_covariates(subjects.attributes) if own.testable] if subjects.by_patient else []
    rows, measured = run.row_columns(), list(run.subjects.cells.columns)
    for own in known:  # a column may be called size, and must not stand in for what was measured
        rows[f"covariate {own.name}" if own.name in rows else own.name] = own.columns(subjects.cells.groups)
    labels = subjects.labels
    return Tests(
        association={name: run.associate(own) for name, own in subjects.embeddings.items()},
        measured=run.associate(
            Embedding(np.arange(len(run.subjects.cells.groups)), measure(run.subjects.cells.columns))
        ),
        beyond={
            row: {name: run.beyond(own, columns) for name, own in subjects.embeddings.items()}
            for row, columns in rows.items()
            if columns.shape[1]
        },
        covariates={own.name: table.association(own, labels, seed=seed) for own in known},
        left_out=tuple(row for row, columns in rows.items() if not columns.shape[1] and row not in measured),
        separating=tuple(own.name for own in known if table.separates(own, labels)),
        readable=run.readable(known),
    )


def evidence(
    subjects: Subjects,
    tests: Tests,
    estimates: Mapping[str, tuple[Value, Interval]],
    refits: Mapping[str, PermutationTest],
    backbones: Sequence[str] = (),
) -> Evidence:
    """Give what a verdict depends on.

    Parameters
    ----------
    subjects, tests
        The cohort, and its tests.
    estimates : mapping of str to (Value, Interval)
        Of fine-tuned backbones.
    refits : mapping of str to PermutationTest
        Of the backbones that were trained under permuted labels as well.
    backbones : sequence of str
        All fine-tuned ones.
    """
    return Evidence(
        patients=len(subjects.attributes),
        per_class=subjects.per_class,
        association={name: test.p for name, test in associations(tests, refits).items()},
        beyond={row: {name: test.p for name, test in own.items()} for row, own in tests.beyond.items()},
        covariates={name: outcome.p for name, outcome in tests.covariates.items()},
        separating=tests.separating,
        estimates=estimates,
        untested=tuple(name for name in backbones if name not in refits),
        left_out=tests.left_out,
        refits=min((test.permutations for test in refits.values() if test.p.number is not None), default=0),
    )


def associations(tests: Tests, refits: Mapping[str, PermutationTest]) -> dict[str, PermutationTest]:
    """Give all tests of images and labels that are corrected for their number together."""
    return {**tests.association, **{f"fine-tuned {name}": test for name, test in refits.items()}}


def measure(columns: Mapping[str, Array]) -> Array:
    """Give all measurements on scales that no patient decides: shares of white, logarithms of lengths, ratios.

    Parameters
    ----------
    columns : mapping of str to ndarray of float64, shape (n, k)
        By nuisance row.
    """
    own = {row: values for row, values in columns.items() if row in ROWS}
    names, values = [name for row in own for name in ROWS[row]], np.hstack(list(own.values()))
    scaled = np.where(np.isin(names, ROWS["colour"]), values / 255, values)
    return np.where(np.isin(names, LENGTHS), np.log1p(np.maximum(values, 0)), scaled)


@dataclass(frozen=True)
class _Run:
    subjects: Subjects
    asked: ProbeSettings
    seed: int

    @property
    def permutations(self) -> int:
        return self.asked.permutations

    def row_columns(self) -> dict[str, Array]:
        cells = self.subjects.cells
        by_cell = not self.subjects.by_patient
        return {row: components(own, cells.groups, by_cell=by_cell) for row, own in cells.columns.items()}

    def associate(self, embedding: Embedding) -> PermutationTest:
        cells, rows = self.subjects.cells, embedding.rows
        head = fit_head(embedding.values, cells.groups[rows])
        try:
            inner = inner_penalty(head.cohort) if embedding.inner and head.penalty else None
            return association(head, cells.labels[rows], inner=inner, permutations=self.permutations, seed=self.seed)
        except HeadError as error:
            none = Value(None, error.problem)
            return PermutationTest(none, none)

    def beyond(self, embedding: Embedding, columns: Array) -> PermutationTest:
        cells, rows = self.subjects.cells, embedding.rows
        given = (embedding.values, cells.groups[rows], cells.labels[rows], columns[rows])
        return beyond_nuisance(*given, permutations=self.permutations, seed=self.seed)

    def readable(self, known: list[Covariate]) -> dict[str, dict[str, PermutationTest]]:
        """Test each level of a covariate against all others; of two levels, and of halves of a number, the second."""
        negative, labels = self.subjects.classes[0], self.subjects.labels
        found: dict[str, dict[str, PermutationTest]] = {}
        for own in (each for each in known if self._asked_for(each)):
            levels = sorted(set(own.levels.values()), key=lambda level: (level.startswith("above"), level))
            for level in levels if len(levels) > 2 else levels[1:]:
                name = own.name if own.kind == "category" and len(levels) == 2 else f"{own.name}: {level}"
                truth = {patient: value == level for patient, value in own.levels.items()}
                within = {patient: value for patient, value in truth.items() if not labels[patient]}
                found[name] = self._read_from_images(truth)
                found[f"{name}, {negative} only"] = self._read_from_images(within)
        return found

    def _asked_for(self, covariate: Covariate) -> bool:
        asked = self.asked.covariates
        return asked is None or covariate.name.casefold() in {name.strip().casefold() for name in asked}

    def _read_from_images(self, truth: Mapping[str, bool]) -> dict[str, PermutationTest]:
        return {name: self._read(own, truth) for name, own in self.subjects.embeddings.items()}

    def _read(self, embedding: Embedding, truth: Mapping[str, bool]) -> PermutationTest:
        if len(truth) < 4:
            none = Value(None, f"only {len(truth)} patients")
            return PermutationTest(none, none)
        groups = self.subjects.cells.groups
        chosen = embedding.of(np.isin(groups[embedding.rows], list(truth)))
        own = groups[chosen.rows]
        head = fit_head(chosen.values, own)
        asked = np.array([truth[patient] for patient in own.tolist()], np.float64)
        return association(head, asked, permutations=self.permutations, seed=self.seed)

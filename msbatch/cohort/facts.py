"""What the folds of a cohort depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msbatch.covariates import covariate
from msbatch.store import Store


@dataclass(frozen=True)
class PatientFacts:
    """What the folds depend on.

    Attributes
    ----------
    cells : mapping of str to int
        Cells of each class, the negative class first; every patient names both classes.
    sex : str
        '' where it is not known.
    """

    cells: Mapping[str, int]
    sex: str = ""

    @property
    def classes(self) -> frozenset[str]:
        """Classes that the patient has cells of."""
        return frozenset(name for name, number in self.cells.items() if number)


Facts = Mapping[str, PatientFacts]  # by patient


def read_facts(store: Store) -> dict[str, PatientFacts]:
    """Read them of every patient of a store."""
    return {patient: _facts(store, patient) for patient in store.patients}


def count_classes(cohort: Facts, patients: Iterable[str]) -> dict[str, dict[str, int]]:
    """Count patients and cells of each class."""
    classes = next(iter(cohort.values())).cells
    found = {name: [cohort[patient].cells[name] for patient in patients] for name in classes}
    return {name: {"patients": sum(n > 0 for n in cells), "cells": sum(cells)} for name, cells in found.items()}


def _facts(store: Store, patient: str) -> PatientFacts:
    labels = store.labels(patient)
    cells = {name: int((labels == label).sum()) for label, name in enumerate(store.classes)}
    return PatientFacts(cells, covariate(store.attributes(patient), "sex"))

"""Leave-one-patient-out folds, drawn once from a store, a seed and the settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msbatch.config import Settings, full_name
from msbatch.errors import MsbatchError
from msbatch.files import sha256, sha256_json
from msbatch.plan import Fold, Plan, StoreRecord
from msbatch.store import VERSION, Store

MIN_PATIENTS = 4
LARGE_COHORT = 16


@dataclass(frozen=True)
class PatientFacts:
    """What the folds depend on.

    Attributes
    ----------
    cells : mapping of str to int
        Cells of each class, the negative class first; both classes are named for every patient.
    sex : str
        '' where it is not known.
    """

    cells: Mapping[str, int]
    sex: str = ""

    @property
    def classes(self) -> frozenset[str]:
        """Classes that the patient has cells of."""
        return frozenset(name for name, cells in self.cells.items() if cells)

    @property
    def traits(self) -> tuple[str, ...]:
        """What validation should hold of every kind: classes, and the sex where it is known."""
        classes = tuple(f"class {name}" for name in sorted(self.classes))
        return (*classes, f"sex {self.sex}") if self.sex else classes


def draw_plan(store: Path, settings: Settings) -> Plan:
    """Draw the plan of a study.

    Parameters
    ----------
    store : Path
        A packed cohort.
    settings : Settings
        Seed, validation patients, backbones, and what the plan records of a task's settings.

    Raises
    ------
    MsbatchError
        If the store cannot be read, or the cohort cannot be planned; the message says what is missing.
    """
    with Store(store) as opened:
        cohort = {patient: _facts(opened, patient) for patient in opened.patients}
        classes, level = opened.classes, opened.level
    plan = Plan(
        store=StoreRecord(path=str(store.absolute()), sha256=sha256(store), format=VERSION),
        classes=classes,
        level=level,
        seed=settings.plan.seed,
        settings=settings.scientific(),
        weights_dir=str(settings.weights.dir.absolute()),
        compute=settings.compute,
        folds=draw_folds(cohort, settings.plan.seed, settings.plan.val_patients),
        tasks=(),
    )
    return plan.with_backbones([full_name(backbone) for backbone in settings.plan.backbones])


def draw_folds(
    cohort: Mapping[str, PatientFacts], seed: int, val_patients: int | None = None
) -> tuple[Fold, ...]:
    """Hold out every patient once and draw who validates meanwhile.

    Training keeps both classes whatever it costs. Then validation gets both classes, then both sexes,
    provided that training keeps as many patients of a class or a sex as it lends. Among equals the patient
    who validated in the fewest earlier folds is taken, so that everyone also trains; the rest is lot.

    Parameters
    ----------
    cohort : mapping of str to PatientFacts
        In any order.
    seed : int
        Decides the lots, together with the identifiers.
    val_patients : int, optional
        Inner validation patients per fold, fewer where training would lose a class; by default 2, or 4
        from 16 patients on.

    Returns
    -------
    tuple of Fold
        Sorted by the held-out patient, numbered from 0.

    Raises
    ------
    MsbatchError
        For fewer than 4 patients, one class only, or a class of one patient.
    """
    _check(cohort)
    number = (2 if len(cohort) < LARGE_COHORT else 4) if val_patients is None else val_patients
    duty: Counter[str] = Counter()
    folds = []
    for held_out in sorted(cohort):
        draw = _Draw({p: cohort[p] for p in sorted(cohort) if p != held_out}, number)
        validation = draw.fill({p: (duty[p], sha256_json([seed, held_out, p])) for p in draw.training})
        duty.update(validation)
        folds.append(_fold(len(folds), cohort, held_out, validation))
    return tuple(folds)


class _Draw:
    """One fold's patients on their way from training to validation."""

    def __init__(self, rest: dict[str, PatientFacts], number: int) -> None:
        self.training = rest
        self.validation: dict[str, PatientFacts] = {}
        self.number = number

    def fill(self, turns: Mapping[str, tuple[int, str]]) -> tuple[str, ...]:
        """Move one patient after the other; among equals the lowest turn goes first."""
        while len(self.validation) < self.number:
            kept = Counter(trait for facts in self.training.values() for trait in facts.traits)
            free = [p for p, facts in self.training.items() if all(kept[t] > 1 for t in _class_traits(facts))]
            if not free:
                break
            chosen = min(free, key=lambda p: (self._cost(self.training[p], kept), turns[p]))
            self.validation[chosen] = self.training.pop(chosen)
        return tuple(sorted(self.validation))

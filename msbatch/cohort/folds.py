"""Leave-one-patient-out folds, drawn once from a store, a seed and the settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msbatch.cohort.design import Design, check_probe, read_design
from msbatch.cohort.facts import Facts, count_classes, read_facts
from msbatch.cohort.relabel import relabel_cells, relabel_patients
from msbatch.config import Settings, full_name, is_frozen
from msbatch.errors import MsbatchError
from msbatch.files import sha256_json
from msbatch.plan import Fold, Plan, StoreRecord
from msbatch.store import VERSION, Store, packed_sha256
from msbatch.trial import try_store

MIN_PATIENTS = 4
LARGE_COHORT = 16


class _Kind(NamedTuple):
    """Patients of one kind stand for each other in the draw."""

    classes: frozenset[str]
    sex: str

    @property
    def traits(self) -> frozenset[tuple[str, str]]:
        sexes = {("sex", self.sex)} if self.sex else set()
        return frozenset({("class", name) for name in self.classes} | sexes)


class _Turn(NamedTuple):
    """What decides between patients: too many turns so far, how many, and the lot."""

    often: bool
    duty: int
    lot: str


def draw_plan(store: Path, settings: Settings) -> Plan:
    """Draw the plan of a study.

    Parameters
    ----------
    store : Path
        A packed cohort.
    settings : Settings
        Seed, validation patients, backbones, design, and what the plan records for its tasks.

    Raises
    ------
    MsbatchError
        If the store cannot be read, or the cohort cannot be planned; the message says what is missing.
    """
    asked = settings.plan
    try_store(store)
    with Store(store) as opened:
        cohort, design = read_facts(opened), read_design(opened, asked)
        classes, level = opened.classes, opened.level
        labels = {patient: opened.labels(patient) for patient in cohort}
        if any(is_frozen(backbone) for backbone in asked.backbones):
            check_probe(opened, settings)

    def draw(facts: Facts) -> tuple[Fold, ...]:
        return draw_folds(facts, asked.seed, asked.val_patients, design)

    plan = Plan(
        store=StoreRecord(path=str(store.absolute()), sha256=packed_sha256(store), format=VERSION),
        classes=classes,
        level=level,
        seed=asked.seed,
        settings=settings.scientific(),
        weights_dir=str(settings.weights.dir.absolute()),
        compute=settings.compute,
        probe=settings.probe,
        folds=draw(cohort),
        tasks=(),
    )
    plan = plan.with_backbones([full_name(backbone) for backbone in asked.backbones]).with_seeds(asked.seeds)
    if level == "cell":
        return plan.with_relabellings(relabel_cells(labels, asked.permute_labels, asked.seed))
    return plan.with_relabellings(relabel_patients(cohort, asked.permute_labels, asked.seed, draw))


def draw_folds(
    cohort: Facts, seed: int, val_patients: int | None = None, design: Design | None = None
) -> tuple[Fold, ...]:
    """Hold out every patient once, and draw who validates meanwhile.

    Training keeps both classes. Then validation gets both classes; then both sexes, as long as training keeps
    as many patients of a class or a sex as it lends, and nobody validates in more than half of the folds for
    it. Among equals goes who validated in the fewest earlier folds; the rest is lot.

    Parameters
    ----------
    cohort : mapping of str to PatientFacts
        In any order.
    seed : int
        Decides the lots, together with the identifiers.
    val_patients : int, optional
        Inner validation patients per fold, fewer where training would lose a class; by default 2, or 4
        where 16 patients or more may train.
    design : Design, optional
        Who may train and validate; by default everyone who is not held out.

    Returns
    -------
    tuple of Fold
        Sorted by the held-out patient, numbered from 0.

    Raises
    ------
    MsbatchError
        For fewer than 4 patients, one class only, or a class of one patient; also for a design that leaves
        a fold without a class.
    """
    _check(cohort)
    design = design or Design()
    number = (2 if len(design.able(cohort)) < LARGE_COHORT else 4) if val_patients is None else val_patients
    kinds = {patient: _Kind(facts.classes, facts.sex) for patient, facts in sorted(cohort.items())}
    duty: Counter[str] = Counter()
    folds: list[Fold] = []
    for held_out in kinds:
        pool, dropped = design.pool(cohort, held_out, seed)
        rest = {patient: kind for patient, kind in kinds.items() if patient in pool}
        turns = {
            patient: _Turn(2 * duty[patient] > len(folds) + 1, duty[patient], sha256_json([seed, held_out, patient]))
            for patient in rest
        }
        validation = _Draw(rest, number).fill(turns)
        duty.update(validation)
        folds.append(_fold(len(folds), cohort, held_out, validation, pool, dropped))
    return tuple(folds)


class _Draw:
    """Moves patients of one fold from training to validation, one after the other."""

    def __init__(self, rest: Mapping[str, _Kind], number: int) -> None:
        self.training = dict(rest)
        self.validation: dict[str, _Kind] = {}
        self.number = number

    def fill(self, turns: Mapping[str, _Turn]) -> list[str]:
        """Give the validation patients, sorted."""
        while len(self.validation) < self.number:
            kept = _traits(self.training)
            costs = {kind: self._costs(kind, kept) for kind in set(self.training.values()) if _spared(kind, kept)}
            free = [patient for patient, kind in self.training.items() if kind in costs]
            if not free:
                break
            chosen = min(free, key=lambda patient: _rank(costs[self.training[patient]], turns[patient]))
            self.validation[chosen] = self.training.pop(chosen)
        return sorted(self.validation)

    def _costs(self, kind: _Kind, kept: Counter[tuple[str, str]]) -> tuple[int, ...]:
        """Give what taking one of this kind would spoil, the gravest first."""
        lent = _traits(self.validation)
        peers = [other for other in self.validation.values() if other.classes == kind.classes]
        absent = 2 - len({name for trait, name in {*lent, *kind.traits} if trait == "class"})
        return (
            absent > self.number - len(self.validation) - 1,  # no place is left for the other class
            sum(lent[trait] + 1 > kept[trait] - 1 for trait in kind.traits),  # training keeps less than it lends
            not kind.sex or ("sex", kind.sex) in lent,  # no new sex
            0 if self.validation else self._sexes_beside(kind),
            len(peers),
            peers.count(kind),
        )

    def _sexes_beside(self, kind: _Kind) -> int:
        # A class of one sex goes first; else the other class might take that sex and leave no choice.
        return len({other.sex for other in self.training.values() if other.classes == kind.classes} - {""})


def _rank(costs: tuple[int, ...], turn: _Turn) -> tuple[Any, ...]:
    no_class, *others = costs
    return no_class, turn.often, others, turn.duty, turn.lot


def _traits(patients: Mapping[str, _Kind]) -> Counter[tuple[str, str]]:
    kinds = Counter(patients.values())
    return Counter(trait for kind, number in kinds.items() for trait in [*kind.traits] * number)


def _spared(kind: _Kind, kept: Counter[tuple[str, str]]) -> bool:
    return all(kept["class", name] > 1 for name in kind.classes)


def _check(cohort: Facts) -> None:
    if len(cohort) < MIN_PATIENTS:
        raise MsbatchError(
            f"The cohort has too few patients: {len(cohort)}, where leaving one out needs {MIN_PATIENTS}.",
            "Add patients to the table and pack again.",
        )
    for name, count in count_classes(cohort, cohort).items():
        if count["patients"] == 0:
            raise MsbatchError(
                f"No patient has a cell of class {name}: there is only one class.",
                "Add patients of the other class and pack again.",
            )
        if count["patients"] == 1:
            raise MsbatchError(
                f"Only one patient has class {name}: with that patient held out, training has one class.",
                f"Add at least one more patient of class {name} and pack again.",
            )


def _fold(number: int, cohort: Facts, held_out: str, validation: list[str], pool: set[str], dropped: set[str]) -> Fold:
    training = sorted(pool - set(validation))
    counts = {
        "held_out": count_classes(cohort, [held_out]),
        "validation": count_classes(cohort, validation),
        "training": count_classes(cohort, training),
    }
    return Fold(
        number=number,
        held_out=held_out,
        validation=tuple(validation),
        training=tuple(training),
        early_stopping=all(count["patients"] for count in counts["validation"].values()),
        counts=counts,
        dropped=tuple(sorted(dropped)),
    )

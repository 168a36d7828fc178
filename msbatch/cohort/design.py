"""Who may train and validate while a patient is held out, as the settings ask for it."""

from __future__ import annotations

from dataclasses import dataclass

from msbatch.cohort.facts import Facts, count_classes
from msbatch.config import CLASS, MOST_PAIRED, PlanSettings, Settings
from msbatch.covariates import check_covariates, covariate
from msbatch.errors import MsbatchError
from msbatch.files import sha256_json
from msbatch.store import Store


@dataclass(frozen=True)
class Design:
    """What is asked of every fold.

    Attributes
    ----------
    rebalance : bool
        Whether a patient of the other class is dropped for the one who is held out.
    train_on : str
        COLUMN=VALUE, as it was asked for; '' for everyone.
    eligible : frozenset of str or None
        Who may train and validate; None: everyone. All are held out once, whether they may train or not.
    """

    rebalance: bool = False
    train_on: str = ""
    eligible: frozenset[str] | None = None

    def pool(self, cohort: Facts, held_out: str, seed: int) -> tuple[set[str], set[str]]:
        """Give who may train or validate while a patient is held out, and who is dropped.

        Raises
        ------
        MsbatchError
            If no patient of a class may train.
        """
        able = self.able(cohort)
        rest = able - {held_out}
        self._check(cohort, held_out, rest)
        # Whoever would not have trained is missed by no class, so nobody has to make up for them.
        dropped = _counterpart(cohort, held_out, rest, seed) if self.rebalance and held_out in able else set()
        return rest - dropped, dropped

    def able(self, cohort: Facts) -> set[str]:
        """Give who may train and validate at all."""
        return {patient for patient in cohort if self.eligible is None or patient in self.eligible}

    def _check(self, cohort: Facts, held_out: str, rest: set[str]) -> None:
        left = {name: count["patients"] for name, count in count_classes(cohort, rest).items()}
        if not all(left.values()):
            counted = " and ".join(f"{number} of class {name}" for name, number in left.items())
            raise MsbatchError(
                f"With {held_out} held out, --train-on {self.train_on} leaves {counted} to train on.",
                "Choose a group with at least two patients of each class.",
            )


def read_design(store: Store, settings: PlanSettings) -> Design:
    """Find out what the settings ask for in this cohort.

    Raises
    ------
    MsbatchError
        For a column that the cohort table does not have, or a value that nobody has in it.
    """
    attributes = {patient: store.attributes(patient) for patient in store.patients}
    column, _, value = (settings.train_on or "").partition("=")
    names = [*(name for name in settings.balance if name != CLASS), *([column] if settings.train_on else [])]
    check_covariates(list(attributes.values()), names)
    if not settings.train_on:
        return Design(settings.rebalance)
    found = {patient: covariate(own, column) for patient, own in attributes.items()}
    chosen = frozenset(patient for patient, own in found.items() if own == value.strip().casefold())
    if not chosen:
        values = ", ".join(sorted({own or "missing" for own in found.values()}))
        raise MsbatchError(f"No patient has {settings.train_on}.", f"Values of {column}: {values}.")
    return Design(settings.rebalance, settings.train_on, chosen)


def _counterpart(cohort: Facts, held_out: str, rest: set[str], seed: int) -> set[str]:
    """Draw a patient of the other class alone; for a patient with both classes there is none."""
    others = [patient for patient in rest if not cohort[patient].classes & cohort[held_out].classes]
    return set(sorted(others, key=lambda patient: sha256_json([seed, "drop", held_out, patient]))[:1])


def check_probe(store: Store, settings: Settings) -> None:
    """Refuse what the heads of frozen backbones cannot do.

    Raises
    ------
    MsbatchError
        If they are to learn from some patients only, to read a column that is not there, or to choose a penalty where
        cells carry the labels or patients are too many.
    """
    if settings.plan.train_on or settings.plan.rebalance:
        raise MsbatchError(
            "The head of a frozen backbone learns from everyone but the held-out patient.",
            "Leave out --train-on and --rebalance.",
        )
    patients = store.patients
    check_covariates([store.attributes(patient) for patient in patients], settings.probe.covariates or ())
    if settings.probe.penalty == "inner" and (store.level == "cell" or len(patients) > MOST_PAIRED):
        reason = "here cells carry the labels" if store.level == "cell" else f"here are {len(patients)}"
        raise MsbatchError(
            f"--lambda inner needs one label per patient, and at most {MOST_PAIRED} patients; {reason}.",
            "Use --lambda label-free.",
        )

"""The odd fold in plain words: what it is, what it changes, and what one patient cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msbatch.results.covariates import Covariate
from msbatch.results.metrics import Value
from msbatch.results.oddfold import OddFold

CANNOT_TELL = (
    "One patient cannot tell why: sex, age, batch and everything else about this patient come together, "
    "and only further patients would separate them. Look at the images, the staining and the label first."
)


def describe(
    backbone: str,
    folds: Sequence[OddFold],
    influence: Mapping[str, Mapping[str, Value]],
    covariates: Sequence[Covariate] = (),
) -> list[str]:
    """Give sentences on the odd folds of a backbone, or on why none is called odd.

    An explanation by a covariate is never offered: with one odd fold the text says that it cannot be; with several
    that share a value it points to the comparison of subgroups, which tests it.

    Parameters
    ----------
    backbone : str
        Its name.
    folds : sequence of OddFold
        All of them.
    influence : mapping of str to mapping of str to Value
        By patient: what each metric over cells changes by without them.
    covariates : sequence of Covariate
        Whose values are given beside the others'.
    """
    odd = [fold for fold in folds if fold.odd]
    draws = sum(fold.recall.number is not None for fold in folds)  # patients with both classes have none
    if not odd:
        return [_none(backbone, folds, draws)]
    said = [
        " ".join((_what(backbone, fold, draws), *_without(influence.get(fold.patient, {})), *_who(fold, covariates)))
        for fold in odd
    ]
    return [*said, CANNOT_TELL if len(odd) == 1 else _several(odd, covariates)]


def _none(backbone: str, folds: Sequence[OddFold], draws: int) -> str:
    judged = [fold for fold in folds if fold.bound.number is not None]
    if not judged:
        reasons = Counter(fold.bound.reason for fold in folds).most_common(1)
        return f"Of {backbone} no fold can be called odd or not: {reasons[0][0] if reasons else 'no predictions'}."
    lowest = min(judged, key=lambda fold: fold.chance.number or 0.0)
    return (
        f"No fold of {backbone} is odd. The least likely is fold {lowest.fold:02d}, with {_share(lowest.recall)} of "
        f"the patient's cells called correctly; the worst of {draws} folds is as low or lower in "
        f"{_share(lowest.chance)} of cohorts without anything odd."
    )


def _what(backbone: str, fold: OddFold, draws: int) -> str:
    return (
        f"Fold {fold.fold:02d} of {backbone} is odd: {_share(fold.recall)} of the cells of patient {fold.patient} were "
        f"called correctly, where the other patients of the class let expect {_share(fold.others)}. The worst of "
        f"{draws} folds is below {_share(fold.bound)} in only one of twenty cohorts."
    )


def _without(changes: Mapping[str, Value]) -> list[str]:
    change = changes.get("macro_f1", Value(None))
    return (
        [] if change.number is None else [f"Without this patient the pooled macro-F1 changes by {change.number:+.3f}."]
    )


def _who(fold: OddFold, covariates: Sequence[Covariate]) -> list[str]:
    said = []
    for own in covariates:
        value = own.values.get(fold.patient)
        if own.testable and value is not None:
            levels = own.levels
            level = levels[fold.patient]
            said.append(f"{own.name} {value} ({_shared(level, levels) if own.kind == 'category' else level})")
    return [f"The patient's covariates: {'; '.join(said)}."] if said else []


def _shared(level: str, levels: Mapping[str, str]) -> str:
    same = list(levels.values()).count(level) - 1
    return f"{same} others likewise" if same else "a value of no other patient"


def _several(odd: Sequence[OddFold], covariates: Sequence[Covariate]) -> str:
    shared = [
        f"{own.name} {next(iter(levels))}"
        for own in covariates
        if own.testable and len(levels := {own.levels.get(fold.patient) for fold in odd}) == 1 and None not in levels
    ]
    what = f"they share {', '.join(shared)}" if shared else "they share no value of any covariate"
    return (
        f"The {len(odd)} odd folds: {what}. So few patients do not tell why; whether patients with one value of a "
        "covariate do worse is tested in the comparison of subgroups, over all patients."
    )


def _share(value: Value) -> str:
    return str(value) if value.number is None else f"{value.number:.1%}"

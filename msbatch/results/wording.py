"""The sentences beside and within a verdict, each said where its rule holds and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msbatch.results.intervals import FEW_PATIENTS, Interval
from msbatch.results.metrics import Value

UNBALANCED = 1.5  # patients of the larger class for one of the smaller
SEVERELY_UNBALANCED = 3.0

NO_ABSENCE = (
    "This is no evidence that there is nothing: a difference may have been missed. "
    "More patients would tell, more cells of the same patients hardly."
)
CONFIRM = "What was not measured may still explain it: confirm it on patients who were collected elsewhere."

_ALIKE = {
    "colour": "blood of both classes that was smeared, stained and imaged together, so that colour goes with neither",
    "size": "images of both classes at one magnification and of one thickness of smear, so that size goes with neither",
    "shape": "smears of both classes that were spread and dried alike, if shape is not itself what is looked for",
    "count": "as many cells from every patient, so that their number goes with neither class",
}


def none(tested: Sequence[str]) -> str:
    """Say that nothing was found, and in what."""
    return f"No evidence above chance in what was tested: {_list(tested)}." if tested else "Nothing could be tested."


def inseparable(covariates: Sequence[str]) -> str:
    """Say which covariates separate the classes completely."""
    return f"Image and label are associated, but the label cannot be separated from {_list(covariates)}."


def not_shown_to_exceed(rows: Sequence[str]) -> str:
    """Say which nuisance rows could explain the association."""
    if not rows:
        return "Image and label are associated, but not shown to exceed any nuisance row, since none was measured."
    return f"Image and label are associated, but not shown to exceed {_list(rows)}."


def exceeds(rows: Sequence[str]) -> str:
    """Say which nuisance rows do not explain the association."""
    return f"Image and label are associated, and this exceeds every nuisance row measured: {_list(rows)}."


def association(p: Mapping[str, Value], corrected: Sequence[Value], level: float) -> list[str]:
    """Give p of every backbone, and what is claimed from; corrected for their number where there are several."""
    if not p:
        return ["The association was not tested."]
    several = " after correction for their number (Holm)" if len(p) > 1 else ""
    tested = [f"{name} {_p(own)}" for name, own in zip(p, corrected, strict=True) if own.number is not None]
    reasons = [f"{name} was not tested: {own.reason}." for name, own in p.items() if own.number is None]
    said = f"p of the association{several}, of which at most {level:g} is claimed from: {'; '.join(tested)}."
    return ([said] if tested else []) + reasons


def beyond(name: str, p: Mapping[str, Value], level: float) -> list[str]:
    """Give a backbone's p beyond each row, and what is claimed from."""
    listed = "; ".join(f"{row} {_p(own)}" for row, own in p.items())
    return [f"p beyond each row ({name}), of which at most {level:g} is claimed from: {listed}."]


def carried_by(backbones: Sequence[str], tried: int) -> list[str]:
    """Say which backbones carry the verdict, where others do not."""
    if not backbones or len(backbones) == tried:
        return []
    return [f"It holds for {_list(backbones)}, out of {tried} backbones that were tried."]


def untested_backbones(names: Sequence[str], level: float) -> list[str]:
    """Say that estimates of fine-tuned backbones are no tests, and what would test them at this level."""
    if not names:
        return []
    return [
        f"The fine-tuned {_list(names)} {'was' if len(names) == 1 else 'were'} not tested: what follows are estimates. "
        f"Trainings under permuted labels test them: msbatch submit --permute-labels {_refits_for(level)}."
    ]


def few_refits(number: int, level: float) -> list[str]:
    """Say where so few trainings under permuted labels allow no p that is small enough after correction."""
    if not number or number >= _refits_for(level):
        return []
    return [
        f"The fine-tuned p rests on {number} training{'s' * (number > 1)} under permuted labels, so it cannot be below "
        f"{1 / (1 + number):.3f}: beside the other tests, {_refits_for(level)} are the least for a claim of its own."
    ]


def beyond_untested(names: Sequence[str]) -> list[str]:
    """Say that a backbone's association was not tested against the nuisance rows, where the verdict names it."""
    return [f"Beyond nuisance rows {_list(names)} was not tested."] if names else []


def left_out(names: Sequence[str]) -> list[str]:
    """Say which covariates too few patients share a value of."""
    return [f"Beyond {_list(names)} was not tested: too few patients share a value."] if names else []


def estimates(found: Mapping[str, tuple[Value, Interval]]) -> list[str]:
    """Give every estimate with its interval, or say why there is none."""
    return [f"{name[:1].upper()}{name[1:]}: {_estimate(value, interval)}." for name, (value, interval) in found.items()]


def patients(total: int, per_class: Mapping[str, int]) -> list[str]:
    """Say how many patients a verdict rests on, and that cells do not stand in for them."""
    counts = ", ".join(f"{count} {name}" for name, count in per_class.items())
    both = sum(per_class.values()) - total
    mixed = f"; {both} of them have cells of both classes" if both else ""
    return [f"This rests on {total} patients ({counts}{mixed}), however many cells they have."]


def few(per_class: Mapping[str, int]) -> list[str]:
    """Say that a verdict is indicative only, where a class has fewer than six patients."""
    short = [f"{count} of class {name}" for name, count in per_class.items() if count < FEW_PATIENTS]
    return [f"Indicative only: there are {_list(short)}, fewer than {FEW_PATIENTS}."] if short else []


def balance(total: int, per_class: Mapping[str, int]) -> list[str]:
    """Say how unbalanced a cohort is; classes within patients have no balance over patients."""
    large, small = _by_size(per_class)
    if sum(per_class.values()) != total or not per_class[small]:
        return []
    ratio = per_class[large] / per_class[small]
    if ratio < UNBALANCED:
        alike = "as many" if ratio == 1 else "nearly as many"
        return [f"The cohort is balanced: it has {alike} patients of one class as of the other."]
    how = "severely unbalanced" if ratio >= SEVERELY_UNBALANCED else "unbalanced"
    share = f"calling everyone {large} would be right for {per_class[large] / total:.0%} of patients"
    return [f"The cohort is {how}: {ratio:.1f} patients of class {large} for one of class {small}; {share}."]


def covariates(p: Mapping[str, Value], separating: Sequence[str], level: float) -> list[str]:
    """Say which covariates go with the label."""
    complete = [f"No value of {name} occurs in both classes." for name in separating]
    linked = [
        f"{name} goes with the label (p {_p(own)}): what is seen may be {name}."
        for name, own in p.items()
        if name not in separating and own.number is not None and own.number <= level
    ]
    return complete + linked


def untested(reasons: Mapping[str, str]) -> list[str]:
    """Say which rows could not be tested, and why."""
    return [f"Beyond {row} was not tested: {reason.rstrip('.')}." for row, reason in reasons.items() if reason]


def too_few_for_any_p(total: int, per_class: Mapping[str, int], levels: tuple[float, float]) -> list[str]:
    """Say where so few patients can be arranged in so few ways that no result would be significant.

    Parameters
    ----------
    total : int
        Patients.
    per_class : mapping of str to int
        Of each class.
    levels : tuple of float
        What p must reach: of the association, and beyond nuisance.
    """
    if sum(per_class.values()) != total or not all(per_class.values()):
        return []
    first, second = per_class.values()
    if _reachable(first, second, levels):
        return []
    least = next(n for n in range(1, 100) if _reachable(n, n, levels))
    return [
        f"With {first} and {second} patients not even perfect scores would allow a claim: "
        f"collect at least {least} of each class."
    ]


def more_patients(per_class: Mapping[str, int]) -> list[str]:
    """Say how many patients of which class are lacking, or which class to add to."""
    lacking = [f"{FEW_PATIENTS - n} more of class {name}" for name, n in per_class.items() if n < FEW_PATIENTS]
    if lacking:
        return [f"Collect at least {_list(lacking)}: {FEW_PATIENTS} of each class are the least for a claim."]
    large, small = _by_size(per_class)
    if per_class[large] >= UNBALANCED * per_class[small]:
        return [f"Collect patients of class {small} rather than {large}."]
    return []


def overlap(names: Sequence[str]) -> list[str]:
    """Say that both classes must be collected at each value of a covariate."""
    return [f"Collect patients of both classes, in like shares, at every value of {name}." for name in names]


def alike(row: str) -> str:
    """Say what would make a nuisance row tell the classes apart no more."""
    known = _ALIKE.get(row, f"patients of both classes with like {row}")
    return f"Collect {known}."


def more_beside(covariate: str) -> str:
    """Say what would help where a covariate goes with neither class, and patients were too few to see beyond it."""
    return f"Collect more patients: {covariate} does not go with the class here, and so few do not show more than it."


def _refits_for(level: float) -> int:
    """Give the fewest permutations whose smallest p, 1 / (1 + B), reaches a level."""
    return math.ceil(1 / level - 1e-9) - 1


def _reachable(negatives: int, positives: int, levels: tuple[float, float]) -> bool:
    """Whether the smallest p are small enough; classes of one size mirror each other in the first test."""
    arrangements = math.comb(negatives + positives, positives)
    mirrored = 2 if negatives == positives else 1
    return mirrored / arrangements <= levels[0] and 1 / arrangements <= levels[1]


def _by_size(per_class: Mapping[str, int]) -> tuple[str, str]:
    large = max(per_class, key=lambda name: per_class[name])
    return large, min((name for name in per_class if name != large), key=lambda name: per_class[name])


def _estimate(value: Value, interval: Interval) -> str:
    if value.number is None:
        return str(value)
    note = f"; {interval.note}" if interval.note else ""
    if interval.low.number is None or interval.high.number is None:
        return f"{value.number:.3f}, no interval ({interval.low.reason}){note}"
    return f"{value.number:.3f} (95 % interval {interval.low.number:.3f} to {interval.high.number:.3f}){note}"


def _p(value: Value) -> str:
    if value.number is None:
        return str(value)
    return "below 0.001" if value.number < 0.001 else f"{value.number:.3f}"


def _list(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last

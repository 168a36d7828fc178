"""What outcomes must say of a planted truth, at any number of cohorts, and the line that says whether they do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from planted import Design
from scipy.stats import binom

from msbatch.results import metrics
from msbatch.results.intervals import METRICS, Interval, bootstrap, bootstrap_calls
from msbatch.results.metrics import Counts

FULL = 400
MOST_CLAIMS = 28  # of 400: what a size of .05 exceeds once in 30 times
POWER = 0.6
AUC = 0.03  # on either side of .5
AUC_SPREAD = 0.025  # of the mean over relabellings, from cohort to cohort
RARE = 0.001  # how often a method that keeps its size fails a smaller check
REPLICATES = 2000

Four = tuple[int, int, int, int]  # true and false positives, false and true negatives


@dataclass(frozen=True)
class Outcome:
    """What one cohort gave, in a form that JSON holds.

    Attributes
    ----------
    category : str
        Of the verdict, by its name.
    auc, null_auc : float
        Over patients, and its mean over relabellings of them.
    flagged : bool
        Whether the verdict says that sex goes with the label or cannot be separated from it.
    p : dict of str to float or None
        Of the association as ``A``, and beyond each nuisance row.
    cells : list of tuple of int
        Counts of every patient's cells.
    calls : tuple of int
        Counts of patients.
    """

    category: str
    auc: float
    null_auc: float
    flagged: bool
    p: dict[str, float | None]
    cells: list[Four]
    calls: Four


@dataclass(frozen=True)
class Finding:
    """Whether a planted truth was found, and with what figures."""

    holds: bool
    figures: str


def most_claims(cohorts: int) -> int:
    """Give how many cohorts may get the third sentence though nothing is there to exceed nuisance."""
    return MOST_CLAIMS if cohorts == FULL else int(binom.isf(RARE, cohorts, 0.05))


def least_claims(cohorts: int) -> int:
    """Give how many cohorts must get it where something is planted; tests plant more in fewer cohorts."""
    return math.ceil(POWER * cohorts)


def auc_margin(cohorts: int) -> float:
    """Give how far from .5 the mean null AUC may be: .03 at full size, and what chance adds in fewer cohorts."""
    return AUC if cohorts == FULL else AUC + 3.3 * AUC_SPREAD / math.sqrt(cohorts)


def nothing_claimed(_design: Design, outcomes: Sequence[Outcome]) -> Finding:
    """Allow few claims, and no AUC that leans to either side.

    An AUC of 8 patients has a standard deviation of .2, so the mean of 400 may miss .47 to .53 by chance alone. It is
    shown; judged is the mean over relabellings, which estimates the same thing within .002.
    """
    claims, allowed, margin = _claims(outcomes), most_claims(len(outcomes)), auc_margin(len(outcomes))
    null, own = (float(np.mean([getattr(one, name) for one in outcomes])) for name in ("null_auc", "auc"))
    figures = f"mean null AUC {null:.3f} (.5 +- {margin:.3f}), of the labels themselves {own:.3f}; {_tests(outcomes)}"
    holds = claims <= allowed and abs(null - 0.5) <= margin + 1e-9
    return Finding(holds, f"{_share(claims, outcomes, f'at most {allowed}')}, {figures}")


def confound_not_claimed(_design: Design, outcomes: Sequence[Outcome]) -> Finding:
    """Allow few claims."""
    claims, allowed = _claims(outcomes), most_claims(len(outcomes))
    return Finding(claims <= allowed, f"{_share(claims, outcomes, f'at most {allowed}')}; {_tests(outcomes)}")


def effect_claimed(_design: Design, outcomes: Sequence[Outcome]) -> Finding:
    """Ask for most claims."""
    claims, needed = _claims(outcomes), least_claims(len(outcomes))
    return Finding(claims >= needed, f"{_share(claims, outcomes, f'at least {needed}')}; {_tests(outcomes)}")


def sex_flagged(_design: Design, outcomes: Sequence[Outcome]) -> Finding:
    """Ask for a word on sex in every cohort, and allow few claims."""
    flagged, found = sum(own.flagged for own in outcomes), confound_not_claimed(_design, outcomes)
    return Finding(found.holds and flagged == len(outcomes), f"flagged in {flagged}, {found.figures}")


def sex_not_separable(_design: Design, outcomes: Sequence[Outcome]) -> Finding:
    """Ask for the fourth sentence wherever there is an association, and for most to have one."""
    kinds, flagged = Counter(own.category for own in outcomes), sum(own.flagged for own in outcomes)
    needed = least_claims(len(outcomes))
    holds = flagged == len(outcomes) and kinds["INSEPARABLE"] >= needed and not kinds["EXCEEDS"] + kinds["ASSOCIATED"]
    figures = f"flagged in {flagged}, cannot be separated in {kinds['INSEPARABLE']} of {len(outcomes)}"
    return Finding(holds, f"{figures} (at least {needed}), claimed in {kinds['EXCEEDS']}")


def shape_named(_design: Design, outcomes: Sequence[Outcome]) -> Finding:
    """Report how an outline that the row of shapes measures is judged."""
    kinds = Counter(own.category for own in outcomes)
    words = ", ".join(f"{kind.lower()} {count}" for kind, count in sorted(kinds.items()))
    return Finding(True, f"reported: {words} of {len(outcomes)}; {_tests(outcomes)}")


def coverage(_design: Design, outcomes: Sequence[Outcome]) -> Finding:
    """Report how often intervals hold the metric of all cohorts of the design, pooled."""
    found = [
        (bootstrap([Counts(*own) for own in outcome.cells], by_class=True, replicates=REPLICATES), outcome.cells)
        for outcome in outcomes
    ]
    cells = _covered([one for one, _ in found], _pool([own for _, part in found for own in part]))
    calls = _covered(
        [bootstrap_calls(Counts(*outcome.calls), replicates=REPLICATES) for outcome in outcomes],
        _pool([outcome.calls for outcome in outcomes]),
    )
    return Finding(True, f"reported for nominal .95, cells: {cells}; patients: {calls}")


def _covered(intervals: Sequence[dict[str, Interval]], truth: Counts) -> str:
    parts = []
    for name in METRICS:
        target = getattr(metrics, name)(truth).number
        ends = [(own[name].low.number, own[name].high.number) for own in intervals]
        known = [(low, high) for low, high in ends if low is not None and high is not None]
        inside = np.mean([low <= target <= high for low, high in known]) if known else float("nan")
        lacking = f" ({len(ends) - len(known)} without)" if len(known) < len(ends) else ""
        parts.append(f"{name} {inside:.2f}{lacking}")
    return ", ".join(parts)


def _pool(counts: Sequence[Four]) -> Counts:
    return Counts(*(int(total) for total in np.sum(counts, axis=0)))


def _claims(outcomes: Sequence[Outcome]) -> int:
    return sum(own.category == "EXCEEDS" for own in outcomes)


def _share(claims: int, outcomes: Sequence[Outcome], bound: str) -> str:
    return f"claimed in {claims} of {len(outcomes)} ({bound})"


def _tests(outcomes: Sequence[Outcome]) -> str:
    """Give how often each test alone is small enough."""
    small = Counter(
        name for own in outcomes for name, p in own.p.items() if p is not None and p <= (0.05 if name == "A" else 0.025)
    )
    names = sorted({name for own in outcomes for name in own.p})
    return "small p: " + ", ".join(f"{name} {small[name] / len(outcomes):.2f}" for name in names)

"""The planted truths of the methods, (a) to (h): what is drawn, how often, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import refusals
from bounds import (
    FULL,
    Finding,
    Outcome,
    confound_not_claimed,
    coverage,
    effect_claimed,
    nothing_claimed,
    sex_flagged,
    sex_not_separable,
    shape_named,
)
from planted import Design
from verdicts import NETWORK, run_study


@dataclass(frozen=True)
class Truth:
    """A design that is drawn many times, and what its outcomes must say."""

    name: str
    design: Design
    check: Callable[[Design, Sequence[Outcome]], Finding]
    cohorts: int = FULL


@dataclass(frozen=True)
class Fault:
    """A fault that is planted once, into an empty folder."""

    name: str
    check: Callable[[Path], Finding]


def _no_effect(patients: int, positives: int) -> Truth:
    negatives = patients - positives
    return Truth(f"(a) no effect, {negatives} and {positives} patients", Design(patients, positives), nothing_claimed)


def _coverage(patients: int) -> Truth:
    name = f"(h) coverage, {patients // 2} and {patients // 2} patients"
    return Truth(name, Design(patients, patients // 2, texture=2), coverage, cohorts=FULL // 2)


TRUTHS = (
    *(_no_effect(*sizes) for sizes in ((8, 4), (8, 3), (12, 6), (12, 4), (24, 12), (24, 8))),
    Truth("(b) moderate stain confound only", Design(stain=2), confound_not_claimed),
    Truth("(b) strong stain confound only", Design(stain=4), confound_not_claimed),
    Truth("(c) morphology that no row measures", Design(texture=3), effect_claimed),
    Truth("(c) outline, which is a row itself", Design(outline=4), shape_named, cohorts=FULL // 4),
    Truth("(d) sex effect, most of one class women", Design(sex_texture=3, females=(2, 10)), sex_flagged),
    Truth(
        "(d) sex effect, one class all women",
        Design(sex_texture=3, females=(0, 12)),
        sex_not_separable,
        cohorts=FULL // 4,
    ),
    *(_coverage(patients) for patients in (8, 12, 24)),
)

FAULTS = (
    Fault("(e) one image in two patients", refusals.shared_image),
    Fault("(f) every patient wrong", refusals.every_patient_wrong),
    Fault("(g) one class", refusals.one_class),
    Fault("(g) one patient in a class", refusals.single_patient),
    Fault("(g) too few patients", refusals.too_few),
)


def outcome(design: Design, seed: int) -> Outcome:
    """Take one cohort from its images to its verdict, and keep what the bounds need."""
    study = run_study(design, seed)
    calls = [0, 0, 0, 0]
    for own in study.results:
        calls[(3, 1, 2, 0)[2 * int(own.label or 0) + own.call]] += 1
    evidence = study.evidence
    return Outcome(
        category=study.verdict.category.name,
        auc=study.auc,
        null_auc=study.null_auc,
        flagged=any("sex goes with the label" in text or "No value of sex" in text for text in study.verdict.further),
        p={"A": evidence.association[NETWORK].number} | {row: p[NETWORK].number for row, p in evidence.beyond.items()},
        cells=[(c.tp, c.fp, c.fn, c.tn) for c in (own.counts for own in study.results)],
        calls=(calls[0], calls[1], calls[2], calls[3]),
    )

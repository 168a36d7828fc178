"""The verdict of a study: which of four things its tests allow to be said, by one rule.

(A) image and label are associated: p of the refit permutations, corrected over backbones (Holm). (B) beyond nuisance:
p of Freedman and Lane's permutations for every nuisance row, corrected over backbones as well, so that a study does
not come nearer to a claim by trying more backbones. A claim needs both of one and the same backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from msbatch.results import wording
from msbatch.results.comparison import holm
from msbatch.results.intervals import Interval
from msbatch.results.metrics import Value

ALPHA = 0.05  # of (A)
ALPHA_BEYOND = 0.025  # of (B), for each row


class Category(StrEnum):
    """The four things that a verdict says."""

    NONE = "no evidence above chance"
    ASSOCIATED = "associated, but not shown to exceed a nuisance row"
    EXCEEDS = "exceeds every nuisance row measured"
    INSEPARABLE = "cannot be separated from a covariate"


@dataclass(frozen=True)
class Evidence:
    """What a verdict depends on.

    Attributes
    ----------
    patients : int
        How many there are.
    per_class : mapping of str to int
        How many have cells of each class, the negative class first; a patient with both counts for both.
    association : mapping of str to Value
        p of (A) by backbone, not corrected.
    beyond : mapping of str to mapping of str to Value
        p of (B) by nuisance row, then by backbone, not corrected; a covariate may be a row. A backbone that is missing
        does not exceed the row. Rows that are alike in all patients are left out: nothing can be explained by them.
    covariates : mapping of str to Value
        p of each covariate's association with the label.
    separating : tuple of str
        Covariates that separate the classes completely.
    estimates : mapping of str to (Value, Interval)
        Summaries to be named beside the verdict, by what they are.
    untested : tuple of str
        Fine-tuned backbones of which there are estimates and no p.
    left_out : tuple of str
        Covariates that are tested for their association with the label, and not as rows.
    refits : int
        Trainings under permuted labels that their p rests on; of the backbone with the fewest.
    """

    patients: int
    per_class: Mapping[str, int]
    association: Mapping[str, Value]
    beyond: Mapping[str, Mapping[str, Value]]
    covariates: Mapping[str, Value] = field(default_factory=dict)
    separating: tuple[str, ...] = ()
    estimates: Mapping[str, tuple[Value, Interval]] = field(default_factory=dict)
    untested: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    refits: int = 0


@dataclass(frozen=True)
class Verdict:
    """What may be said.

    Attributes
    ----------
    category : Category
        Which of the four.
    sentence : str
        The verdict itself.
    further : tuple of str
        Sentences that belong beside it: what it rests on, what limits it, what would have to be collected.
    backbones : tuple of str
        Those that carry it: of which the category holds.
    not_exceeded : tuple of str
        Nuisance rows that an associated backbone was not shown to exceed; of the one with the fewest.
    """

    category: Category
    sentence: str
    further: tuple[str, ...]
    backbones: tuple[str, ...] = ()
    not_exceeded: tuple[str, ...] = ()


def judge(evidence: Evidence) -> Verdict:
    """Give the verdict.

    No association, no claim. An association in a cohort where a covariate separates the classes completely cannot be
    told from that covariate, whatever the rows say. Else it exceeds every row measured, if (B) holds for each of them
    and there is at least one. A p that is undefined never speaks for a claim.
    """
    associated = _associated(evidence)
    left = {backbone: _not_exceeded(evidence, backbone) for backbone in associated}
    fewest = min(left.values(), key=len, default=())
    carrying = tuple(backbone for backbone, rows in left.items() if rows == fewest)
    linked = tuple(name for name, p in evidence.covariates.items() if _small(p, ALPHA))
    if not associated:
        tested = [name for name, p in evidence.association.items() if p.number is not None]
        category, sentence, carrying = Category.NONE, wording.none(tested), ()
    elif evidence.separating:
        category, sentence, carrying = Category.INSEPARABLE, wording.inseparable(evidence.separating), associated
    elif fewest or not evidence.beyond:
        category, sentence = Category.ASSOCIATED, wording.not_shown_to_exceed(fewest)
    else:
        category, sentence = Category.EXCEEDS, wording.exceeds(tuple(evidence.beyond))
    further = (*_what_it_rests_on(evidence, carrying), *_what_to_collect(evidence, category, fewest, linked))
    return Verdict(category, sentence, further, carrying, fewest)


def _associated(evidence: Evidence) -> tuple[str, ...]:
    corrected = holm(list(evidence.association.values()))
    return tuple(name for name, p in zip(evidence.association, corrected, strict=True) if _small(p, ALPHA))


def _not_exceeded(evidence: Evidence, backbone: str) -> tuple[str, ...]:
    """Give the rows that a backbone was not shown to exceed, in the order given."""
    return tuple(row for row, p in _beyond(evidence, backbone).items() if not _small(p, ALPHA_BEYOND))


def _beyond(evidence: Evidence, backbone: str) -> dict[str, Value]:
    """Give a backbone's corrected p beyond each row; none where it was not tested."""
    return {
        row: dict(zip(own, holm(list(own.values())), strict=True)).get(backbone, Value(None, "not tested"))
        for row, own in evidence.beyond.items()
    }


def _small(p: Value, level: float) -> bool:
    return p.number is not None and p.number <= level


def _what_it_rests_on(evidence: Evidence, carrying: tuple[str, ...]) -> list[str]:
    rows = {row: next((p.reason for p in own.values() if p.number is None), "") for row, own in evidence.beyond.items()}
    tested = sum(p.number is not None for p in evidence.association.values())
    unlimited = tuple(name for name in carrying if evidence.beyond and not _in_rows(evidence, name))
    return [
        *wording.association(evidence.association, holm(list(evidence.association.values())), ALPHA),
        *(
            sentence
            for name in carrying
            if _in_rows(evidence, name)
            for sentence in wording.beyond(name, _beyond(evidence, name), ALPHA_BEYOND)
        ),
        *wording.carried_by(carrying, tested),
        *wording.beyond_untested(unlimited),
        *wording.untested_backbones(evidence.untested, ALPHA / max(1, tested + len(evidence.untested))),
        *wording.few_refits(evidence.refits, ALPHA / max(1, tested)),
        *wording.estimates(evidence.estimates),
        *wording.patients(evidence.patients, evidence.per_class),
        *wording.few(evidence.per_class),
        *wording.balance(evidence.patients, evidence.per_class),
        *wording.covariates(evidence.covariates, evidence.separating, ALPHA),
        *wording.untested(rows),
        *wording.left_out(evidence.left_out),
    ]


def _in_rows(evidence: Evidence, backbone: str) -> bool:
    return any(backbone in own for own in evidence.beyond.values())


def _what_to_collect(
    evidence: Evidence, category: Category, rows: tuple[str, ...], linked: tuple[str, ...]
) -> list[str]:
    tangled = (*evidence.separating, *(name for name in linked if name not in evidence.separating))
    tested = sum(p.number is not None for p in evidence.association.values())
    levels = (ALPHA / max(1, tested), ALPHA_BEYOND)
    last = {Category.NONE: [wording.NO_ABSENCE], Category.EXCEEDS: [wording.CONFIRM]}
    return [
        *wording.too_few_for_any_p(evidence.patients, evidence.per_class, levels),
        *wording.more_patients(evidence.per_class),
        *wording.overlap(tangled),
        *(
            wording.more_beside(row) if row in evidence.covariates else wording.alike(row)
            for row in rows
            if category is Category.ASSOCIATED and row not in tangled
        ),
        *last.get(category, []),
    ]

"""The planted truths at a small size, and the command, its bounds and its images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import truth
from bounds import (
    Outcome,
    auc_margin,
    confound_not_claimed,
    coverage,
    effect_claimed,
    least_claims,
    most_claims,
    nothing_claimed,
    sex_flagged,
    sex_not_separable,
)
from planted import Design, draw_planted
from sklearn.metrics import roc_auc_score
from truths import FAULTS, TRUTHS, Fault, Truth, outcome
from verdicts import auc, pack_planted

from msbatch.cohort.features import FEATURES
from msbatch.results.network import embed
from msbatch.results.nuisance import ROWS
from msbatch.store import Store

CELLS = 5  # of each patient: half of the full size

SMALL = {
    "no effect, balanced": Truth("", Design(8, 4, cells=CELLS), nothing_claimed, 8),
    "no effect, unbalanced": Truth("", Design(12, 4, cells=CELLS), nothing_claimed, 6),
    "stain confound only": Truth("", Design(16, 8, stain=3, cells=CELLS), confound_not_claimed, 6),
    "morphology": Truth("", Design(16, 8, texture=6, cells=CELLS), effect_claimed, 5),
    "sex effect": Truth("", Design(16, 8, sex_texture=4, females=(1, 7), cells=CELLS), sex_flagged, 4),
    "sex separates": Truth("", Design(12, 6, sex_texture=6, females=(0, 6), cells=CELLS), sex_not_separable, 4),
    "coverage": Truth("", Design(8, 4, texture=2, cells=CELLS), coverage, 4),
}


def fake(category: str = "NONE", auc: float = 0.5, flagged: bool = False) -> Outcome:
    return Outcome(category, 0.3, auc, flagged, {"A": 0.5, "colour": None}, [(3, 0, 1, 0), (0, 1, 0, 4)], (1, 1, 0, 0))


def mixed(claims: int, of: int, other: str = "NONE", flagged: bool = False) -> list[Outcome]:
    return [fake("EXCEEDS", flagged=flagged)] * claims + [fake(other, flagged=flagged)] * (of - claims)


@pytest.mark.parametrize("name", SMALL)
def test_a_planted_truth_is_found(name: str) -> None:
    planted = SMALL[name]
    found = planted.check(planted.design, [outcome(planted.design, seed) for seed in range(planted.cohorts)])
    assert found.holds, found.figures


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_refused_or_scores_nothing(fault: Fault, tmp_path: Path) -> None:
    found = fault.check(tmp_path)
    assert found.holds, found.figures


def test_every_letter_of_the_methods_is_planted() -> None:
    assert {truth.name[:3] for truth in (*TRUTHS, *FAULTS)} == {f"({letter})" for letter in "abcdefgh"}
    sizes = {(own.design.patients, 2 * own.design.positives == own.design.patients) for own in TRUTHS[:6]}
    assert sizes == {(patients, balanced) for patients in (8, 12, 24) for balanced in (True, False)}
    assert all(own.cohorts == 400 for own in TRUTHS if own.name[:3] in ("(a)", "(b)"))


def test_bounds_are_those_of_the_methods_at_full_size_and_wider_below() -> None:
    assert (most_claims(400), least_claims(400), auc_margin(400)) == (28, 240, 0.03)
    assert (most_claims(8), least_claims(5)) == (3, 3)
    assert auc_margin(100) == pytest.approx(0.03 + 3.3 * 0.0025)


def test_auc_is_that_of_scikit_learn_column_by_column() -> None:
    rng = np.random.default_rng(0)
    classes, scores = rng.permuted(np.tile([[0.0]] * 5 + [[1.0]] * 3, (1, 9)), axis=0), rng.integers(0, 5, (8, 9))
    expected = [roc_auc_score(own, score) for own, score in zip(classes.T, scores.T, strict=True)]
    np.testing.assert_allclose(auc(classes, scores.astype(float)), expected, atol=1e-12)


@pytest.mark.parametrize("check", [nothing_claimed, confound_not_claimed])
def test_one_claim_too_many_fails(check) -> None:
    assert check(Design(), mixed(28, 400)).holds
    assert not check(Design(), mixed(29, 400)).holds


def test_an_auc_that_leans_fails() -> None:
    for mean, holds in ((0.47, True), (0.53, True), (0.465, False), (0.535, False)):
        assert nothing_claimed(Design(), [fake(auc=mean)] * 400).holds is holds


def test_one_claim_too_few_fails() -> None:
    assert effect_claimed(Design(), mixed(240, 400)).holds
    assert not effect_claimed(Design(), mixed(239, 400)).holds


def test_a_sex_effect_must_be_flagged_in_every_cohort_and_not_claimed() -> None:
    assert sex_flagged(Design(), mixed(28, 400, flagged=True)).holds
    assert not sex_flagged(Design(), mixed(29, 400, flagged=True)).holds
    assert not sex_flagged(Design(), [*mixed(0, 399, flagged=True), fake()]).holds


def test_a_sex_that_separates_the_classes_must_be_named_in_place_of_a_claim() -> None:
    named = mixed(0, 400, "INSEPARABLE", flagged=True)
    assert sex_not_separable(Design(), named).holds
    for other in ("EXCEEDS", "ASSOCIATED"):
        assert not sex_not_separable(Design(), [*named[1:], fake(other, flagged=True)]).holds
    assert not sex_not_separable(Design(), named[:230] + mixed(0, 170, flagged=True)).holds


def test_coverage_is_of_the_pooled_metric() -> None:
    assert "sensitivity" in coverage(Design(), [fake()] * 3).figures


def test_a_failed_truth_gives_its_line_and_a_code(monkeypatch, capsys, tmp_path: Path) -> None:
    kept = Truth("(x) kept", Design(8, 4, cells=4), lambda *_: truth.Finding(True, "fine"), 1)
    broken = replace(kept, name="(x) broken", check=lambda *_: truth.Finding(False, "3 of 1"))
    monkeypatch.setattr(truth, "FAULTS", ())
    monkeypatch.setattr(truth, "TRUTHS", (kept,))
    command = ["--outcomes", str(tmp_path), "--processes", "1"]
    assert truth.main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["holds  (x) kept: fine", "1 of 1 planted truths hold."]
    monkeypatch.setattr(truth, "TRUTHS", (kept, broken))
    assert truth.main(command) == 1
    assert "FAILS  (x) broken: 3 of 1" in capsys.readouterr().out
    assert truth.main([*command, "--only", "no such truth"]) == 1


def test_it_goes_on_where_it_was_stopped(monkeypatch, tmp_path: Path) -> None:
    drawn: list[int] = []

    def stub(_design: Design, seed: int) -> Outcome:
        drawn.append(seed)
        return fake(auc=seed / 10)

    monkeypatch.setattr(truth, "outcome", stub)
    planted = Truth("", Design(8, 4), nothing_claimed, 3)
    first = truth.Outcomes(tmp_path)
    truth._draw(first, replace(planted, cohorts=2), 1)
    with first.path.open("a", encoding="utf-8") as out:
        out.write('{"job": "half wri')
    again = truth.Outcomes(tmp_path)
    truth._draw(again, planted, 1)
    assert drawn == [0, 1, 2]
    assert [own.null_auc for own in truth.Outcomes(tmp_path).of(planted)] == [0.0, 0.1, 0.2]
    assert again.of(planted)[0].p == {"A": 0.5, "colour": None}


def test_what_other_sources_made_is_drawn_again(monkeypatch, tmp_path: Path) -> None:
    planted = Truth("", Design(8, 4), nothing_claimed, 1)
    truth.Outcomes(tmp_path).add(truth.jobs(planted)[0], fake())
    assert not truth.Outcomes(tmp_path).lacking([planted])
    monkeypatch.setattr(truth, "_sources", lambda: "other")
    assert truth.Outcomes(tmp_path).lacking([planted])


def test_a_seed_decides_a_cohort_to_the_byte(tmp_path: Path) -> None:
    design = Design(4, 2, cells=4)
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        table = draw_planted(tmp_path / name, design, seed)
        paths = sorted((tmp_path / name / "images").rglob("*.bmp"))
        found.append([table.read_bytes(), *(path.read_bytes() for path in paths)])
    assert found[0] == found[1]
    assert found[0] != found[2]


def gaps(folder: Path, design: Design) -> tuple[dict[str, float], float]:
    """Give how far classes lie apart, in spreads between patients: in each feature, and in the best channel."""
    with Store(pack_planted(folder, design, 3)) as store:
        label = np.array([store.label(patient) for patient in store.patients])
        measured = np.array([store.features(patient).mean(axis=0) for patient in store.patients])
        seen = np.array([embed(store.images(patient)).mean(axis=0) for patient in store.patients])
    apart = [
        np.abs(own[label == 1].mean(axis=0) - own[label == 0].mean(axis=0))
        / (1e-9 + (own[label == 1].std(axis=0) + own[label == 0].std(axis=0)) / 2)
        for own in (measured, seen)
    ]
    return dict(zip(FEATURES, apart[0].tolist(), strict=True)), float(apart[1].max())


def test_each_effect_shows_where_it_is_meant_to(tmp_path: Path) -> None:
    plain, _ = gaps(tmp_path / "none", Design(16, 8, cells=6))
    stained, _ = gaps(tmp_path / "stain", Design(16, 8, stain=6, cells=6))
    bumpy, _ = gaps(tmp_path / "outline", Design(16, 8, outline=6, cells=6))
    coarse, seen = gaps(tmp_path / "texture", Design(16, 8, texture=6, cells=6))
    assert max(plain.values()) < 2
    assert max(stained[name] for name in ROWS["colour"]) > 3
    assert max(bumpy[name] for name in ROWS["shape"]) > 3
    assert seen > 3
    assert max(coarse.values()) < 2.5

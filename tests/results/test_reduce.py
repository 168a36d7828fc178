"""From predictions to tables: what they say, what they never say, and what a missing fold does to them."""

import csv
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import make_run, predict, predict_all

from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import load_plan, save_plan
from msbatch.results.reduce import reduce
from msbatch.state import Attempt

TABLES = ("folds", "cells", "patients", "missing")

Labels = dict[str, list[int]]
Logits = dict[str, list[float]]


def read(run: RunDir, table: str) -> list[dict[str, str]]:
    with (run.results / f"{table}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def pick(run: RunDir, table: str, **wanted: str) -> dict[str, str]:
    (row,) = [row for row in read(run, table) if wanted.items() <= row.items()]
    return row


def dump(run: RunDir) -> dict[str, bytes]:
    return {name: (run.results / f"{name}.csv").read_bytes() for name in TABLES}


def by_patient(patients: int = 6, cells: int = 4) -> Labels:
    return {f"P{i}": [i % 2] * cells for i in range(patients)}


def right(labels: Mapping[str, Sequence[int]], sign: float = 1.0) -> Logits:
    return {patient: [sign * (2.0 * label - 1) for label in own] for patient, own in labels.items()}


MIXED: Labels = {
    "A": [1, 1, 0, 0],
    "B": [1, 0, 0, 0],
    "C": [1, 1, 1, 1],
    "D": [0, 0, 1, 1],
}
MIXED_LOGITS: Logits = {
    "A": [2.0, -1.0, -2.0, -3.0],
    "B": [1.0, -1.0, -1.0, 3.0],
    "C": [1.0, 1.0, 1.0, -1.0],
    "D": [-1.0, -1.0, 1.0, 1.0],
}


def test_every_patient_wrong_gives_zero(tmp_path: Path) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels, -1)})
    assert reduce(run).complete
    for row in (pick(run, "cells", backbone="resnet50"), pick(run, "patients", rule="mean_logit")):
        assert [float(row[key]) for key in ("f1_MS", "f1_control", "macro_f1", "balanced_accuracy", "mcc")] == [
            0.0,
            0.0,
            0.0,
            0.0,
            -1.0,
        ]


def test_a_fold_of_one_class_shows_its_recall_and_no_undefined_number(tmp_path: Path) -> None:
    labels = by_patient(cells=6)
    logits = right(labels) | {"P1": [1.0, 1.0, 1.0, 1.0, -1.0, -1.0], "P2": [1.0, -9.0, 1.0, 1.0, 1.0, -9.0]}
    run = make_run(tmp_path / "run", labels, {"resnet50": logits})
    reduce(run)
    case, control = pick(run, "folds", patient="P1"), pick(run, "folds", patient="P2")
    assert (case["class"], case["cells"], case["fold"]) == ("MS", "6", "1")
    assert float(case["recall"]) == float(case["sensitivity"]) == pytest.approx(4 / 6)
    assert float(case["own_class_f1"]) == pytest.approx(0.8)
    assert case["specificity"] == "n/a (no negative case)"
    assert case["f1"] == case["auc"] == control["f1"] == "n/a (one class only)"
    assert (case["patient_call"], case["vote_call"], case["correct"]) == ("MS", "MS", "yes")
    assert float(control["mean_score"]) == pytest.approx(-14 / 6)
    assert (control["patient_call"], control["vote_call"], control["correct"]) == ("control", "MS", "yes")
    assert float(control["recall"]) == float(control["specificity"]) == pytest.approx(2 / 6)


def test_ties_are_negative(tmp_path: Path) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels) | {"P1": [0.0, 0.0, 1.0, -1.0]}})
    reduce(run)
    row = pick(run, "folds", patient="P1")
    assert (float(row["recall"]), row["patient_call"], row["vote_call"], row["correct"]) == (
        0.25,
        "control",
        "control",
        "no",
    )
    tied = make_run(tmp_path / "tied", labels, {"resnet50": right(labels) | {"P1": [1.0, 1.0, -0.5, -0.5]}})
    reduce(tied)
    assert pick(tied, "folds", patient="P1")["vote_call"] == "control"
    assert pick(tied, "folds", patient="P1")["patient_call"] == "MS"


def test_cells_are_pooled_over_folds_and_not_averaged(tmp_path: Path) -> None:
    labels = {"A": [1] * 9, "B": [1], "C": [0] * 2, "D": [0] * 3}
    logits = {"A": [1.0] * 9, "B": [-1.0], "C": [1.0, -1.0], "D": [-1.0] * 3}
    run = make_run(tmp_path / "run", labels, {"resnet50": logits})
    reduce(run)
    row = pick(run, "cells", backbone="resnet50")
    assert [int(row[key]) for key in ("cells", "tp", "fp", "fn", "tn")] == [15, 9, 1, 1, 4]
    assert float(row["sensitivity"]) == 0.9  # the mean over folds would be .5
    assert float(row["f1_MS"]) == pytest.approx(18 / 20)
    assert float(row["macro_f1"]) == pytest.approx((18 / 20 + 8 / 10) / 2)


def test_always_positive_stands_beside_every_summary(tmp_path: Path) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels), "swin": right(labels)})
    reduce(run)
    for table in ("cells", "patients"):
        row = pick(run, table, backbone="always-positive")
        assert float(row["f1_MS"]) == pytest.approx(2 / 3)
        assert (float(row["sensitivity"]), float(row["specificity"])) == (1.0, 0.0)
        assert row["mcc"] == "n/a (all calls alike)"
    assert [row["backbone"] for row in read(run, "cells")] == ["resnet50", "swin", "always-positive"]


def test_patients_are_called_by_mean_logit_and_by_majority(tmp_path: Path) -> None:
    labels = by_patient()
    logits = right(labels) | {"P1": [-1.0, -1.0, -1.0, 9.0], "P2": [-1.0, -1.0, -1.0, 9.0]}
    run = make_run(tmp_path / "run", labels, {"resnet50": logits})
    reduce(run)
    score, vote = pick(run, "patients", rule="mean_logit"), pick(run, "patients", rule="majority_vote")
    assert [score[key] for key in ("patients", "tp", "fp", "fn", "tn")] == ["6", "3", "1", "0", "2"]
    assert [vote[key] for key in ("patients", "tp", "fp", "fn", "tn")] == ["6", "2", "0", "1", "3"]


def test_cell_labelled_patients_are_measured_within_and_never_called(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MIXED, {"resnet50": MIXED_LOGITS})
    reduce(run)
    mixed, pure = pick(run, "folds", patient="A"), pick(run, "folds", patient="C")
    assert (mixed["class"], pure["class"]) == ("mixed", "MS")
    assert float(mixed["f1"]) == pytest.approx(2 / 3)
    assert (float(mixed["sensitivity"]), float(mixed["specificity"]), float(mixed["auc"])) == (0.5, 1.0, 1.0)
    assert mixed["recall"] == mixed["own_class_f1"] == "n/a (both classes)"
    assert float(pure["recall"]) == 0.75
    assert pure["f1"] == pure["auc"] == "n/a (one class only)"
    for row in (mixed, pure):
        assert {row[key] for key in ("patient_call", "vote_call", "correct")} == {"n/a (cells carry the labels)"}


def test_cell_labelled_summaries_are_means_over_the_patients_that_define_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MIXED, {"resnet50": MIXED_LOGITS})
    reduce(run)
    row = pick(run, "patients", backbone="resnet50")
    assert float(row["sensitivity"]) == pytest.approx((0.5 + 1 + 0.75 + 1) / 4)
    assert float(row["specificity"]) == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert float(row["auc"]) == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert (row["patients"], row["n_sensitivity"], row["n_specificity"], row["n_auc"]) == ("4", "4", "3", "3")


def test_reducing_twice_gives_the_same_bytes_and_needs_predictions_only(tmp_path: Path) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels)})
    reduce(run)
    first = dump(run)
    reduce(run)
    assert dump(run) == first
    shutil.rmtree(run.results)
    moved = RunDir(shutil.move(run.root, tmp_path / "elsewhere"))
    reduce(moved)
    assert dump(moved) == first


def test_a_missing_fold_is_named_and_marks_every_total(tmp_path: Path) -> None:
    labels = by_patient()
    logits = right(labels)
    run = make_run(tmp_path / "run", labels, {"resnet50": logits, "swin": {**logits}})
    gone = run.task("swin", 3)
    gone.predictions.unlink()
    gone.manifest.unlink()
    Attempt.claim(gone).write(phase="failed", reason="the loss is not finite\nTraceback")
    reduction = reduce(run)
    assert not reduction.complete
    (gap,) = reduction.missing
    assert (gap.backbone, gap.fold, gap.patient) == ("swin", 3, "P3")
    assert gap.reason == "No predictions; the task is failed: the loss is not finite."
    assert read(run, "missing") == [{"backbone": "swin", "fold": "3", "patient": "P3", "reason": gap.reason}]
    for table in ("folds", "cells", "patients"):
        marks = {
            (row["backbone"], row["folds_done"], row["folds_expected"], row["status"])
            for row in read(run, table)
            if row["backbone"] != "always-positive"
        }
        assert marks == {("resnet50", "6", "6", "complete"), ("swin", "5", "6", "partial")}
    lost = pick(run, "folds", backbone="swin", patient="P3")
    assert lost["recall"] == lost["correct"] == lost["cells"] == "n/a (no predictions)"
    assert pick(run, "cells", backbone="swin")["cells"] == "20"


def test_a_fold_that_no_backbone_has_marks_the_baseline_too(tmp_path: Path) -> None:
    labels = by_patient()
    logits = right(labels)
    del logits["P3"]
    run = make_run(tmp_path / "run", labels, {"resnet50": logits})
    reduce(run)
    for table in ("cells", "patients"):
        assert {row["status"] for row in read(run, table)} == {"partial"}


def test_a_run_without_predictions_has_tables_without_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", by_patient(), {"resnet50": {}})
    reduction = reduce(run)
    assert [gap.reason for gap in reduction.missing] == ["No predictions; the task is waiting."] * 6
    row = pick(run, "cells", backbone="resnet50")
    assert (row["folds_done"], row["status"], row["cells"]) == ("0", "partial", "0")
    assert row["f1_MS"].startswith("n/a")
    assert row["mcc"].startswith("n/a")


def test_one_class_so_far_gives_no_f1(tmp_path: Path) -> None:
    labels = by_patient()
    logits = {patient: own for patient, own in right(labels).items() if labels[patient][0] == 1}
    run = make_run(tmp_path / "run", labels, {"resnet50": logits})
    reduce(run)
    for row in (pick(run, "cells", backbone="resnet50"), pick(run, "patients", rule="mean_logit")):
        assert row["sensitivity"] == "1.0"
        for key in ("f1_MS", "f1_control", "macro_f1", "mcc", "balanced_accuracy", "specificity"):
            assert row[key] == "n/a (no negative case)"


def damage_bytes(run: RunDir) -> None:
    path = run.task("resnet50", 2).predictions
    path.write_bytes(path.read_bytes().replace(b"-1.0", b"+1.0", 1))


def remove_manifest_body(run: RunDir) -> None:
    run.task("resnet50", 2).manifest.write_text("{")


def copy_of_another_fold(run: RunDir) -> None:
    for name in ("predictions", "manifest"):
        shutil.copy(getattr(run.task("resnet50", 4), name), getattr(run.task("resnet50", 2), name))


def copy_of_another_patient(run: RunDir) -> None:
    copy_of_another_fold(run)
    manifest = run.task("resnet50", 2).manifest
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "fold": 2}))


def fewer_cells(run: RunDir) -> None:
    predict(run, "resnet50", "P2", [0] * 3, [-1.0] * 3)


def from_another_plan(run: RunDir) -> None:
    manifest = run.task("resnet50", 2).manifest
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "signature": "f" * 64}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damage_bytes, "tasks/resnet50/fold-02/predictions.csv was changed after it was written"),
        (remove_manifest_body, "tasks/resnet50/fold-02/predictions.json cannot be read as JSON"),
        (copy_of_another_fold, "belongs to another fold"),
        (copy_of_another_patient, "They are of patient P4, not of P2"),
        (fewer_cells, "They hold other cells than the plan counts for patient P2"),
        (from_another_plan, "belongs to another signature"),
    ],
)
def test_unusable_predictions_are_missing_with_their_reason(tmp_path: Path, spoil, reason: str) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels)})
    spoil(run)
    (gap,) = reduce(run).missing
    assert (gap.fold, gap.patient) == (2, "P2")
    assert reason in gap.reason
    remedy = "rm RUN/tasks/resnet50/fold-02/predictions.json && msbatch submit --run RUN --local"
    assert gap.reason.endswith(f"Do it again with: {remedy}")
    assert pick(run, "cells", backbone="resnet50")["folds_done"] == "5"


def test_backbones_that_disagree_about_labels_lose_the_fold(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MIXED, {"resnet50": MIXED_LOGITS, "swin": MIXED_LOGITS})
    predict(run, "swin", "A", [0, 0, 1, 1], MIXED_LOGITS["A"])
    gaps = reduce(run).missing
    assert [(gap.backbone, gap.patient) for gap in gaps] == [("resnet50", "A"), ("swin", "A")]
    assert all("differ between backbones" in gap.reason for gap in gaps)


def start_from(run: RunDir, starts: Mapping[int, str | None], backbone: str = "resnet50") -> None:
    """Let folds have started from pretrained weights of these hashes."""
    for fold, start in starts.items():
        manifest = run.task(backbone, fold).manifest
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "pretrained_sha256": start}))


@pytest.mark.parametrize(("start", "told"), [("b" * 64, "SHA-256 bbbbbbbb..."), (None, "none")])
def test_a_fold_that_started_from_other_weights_than_most_is_missing(
    tmp_path: Path, start: str | None, told: str
) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels), "swin": right(labels)})
    start_from(run, {0: "a" * 64, 1: start, 2: "a" * 64})  # of others an older version recorded nothing
    start_from(run, dict.fromkeys(range(6), "c" * 64), "swin")
    (gap,) = reduce(run).missing
    assert (gap.backbone, gap.fold, gap.patient) == ("resnet50", 1, "P1")
    words = f"Fold 1 started from other pretrained weights ({told}) than other folds of resnet50 (SHA-256 aaaaaaaa...)."
    assert gap.reason.startswith(words)
    remedy = "rm RUN/tasks/resnet50/fold-01/predictions.json && msbatch submit --run RUN --local"
    assert gap.reason.endswith(f"do it again with: {remedy}")
    assert pick(run, "cells", backbone="resnet50")["folds_done"] == "5"
    assert pick(run, "cells", backbone="swin")["folds_done"] == "6"


def test_further_seeds_must_start_from_the_weights_of_the_first_training(tmp_path: Path) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels)})
    plan = load_plan(run.plan).with_seeds(3)
    save_plan(run.plan, plan)
    start_from(run, dict.fromkeys(range(6), "a" * 64))
    for arm in ("resnet50.seed-1", "resnet50.seed-2"):
        predict_all(run, plan, labels, {arm: right(labels)})
        start_from(run, dict.fromkeys(range(6), "b" * 64), arm)
    gaps = reduce(run).missing
    assert [gap.backbone for gap in gaps] == ["resnet50.seed-1"] * 6 + ["resnet50.seed-2"] * 6
    assert all("than other folds of resnet50 (SHA-256 aaaaaaaa...)" in gap.reason for gap in gaps)


def test_a_plan_that_cannot_be_read_leaves_old_tables_alone(tmp_path: Path) -> None:
    labels = by_patient()
    run = make_run(tmp_path / "run", labels, {"resnet50": right(labels)})
    reduce(run)
    before = dump(run)
    run.plan.write_text("{}")
    with pytest.raises(MsbatchError, match=r"plan\.json"):
        reduce(run)
    assert dump(run) == before


@st.composite
def studies(draw: st.DrawFn) -> tuple[Labels, Logits]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=4, max_size=7))
    whole = draw(st.booleans())
    labels: Labels = {}
    for i, size in enumerate(sizes):
        labels[f"P{i}"] = [i % 2] * size if whole else [i % 2, *draw(st.lists(st.integers(0, 1), min_size=size))]
    score = st.floats(-20, 20)
    return labels, {p: draw(st.lists(score, min_size=len(own), max_size=len(own))) for p, own in labels.items()}


@given(study=studies(), shuffler=st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None)
def test_summaries_depend_neither_on_names_nor_on_the_order_of_cells(
    tmp_path_factory: pytest.TempPathFactory, study: tuple[Labels, Logits], shuffler: random.Random
) -> None:
    labels, logits = study
    names = list(labels)
    shuffler.shuffle(names)
    other_labels, other_logits = {}, {}
    for i, name in enumerate(names):
        order = list(range(len(labels[name])))
        shuffler.shuffle(order)
        other_labels[f"renamed {i}"] = [labels[name][k] for k in order]
        other_logits[f"renamed {i}"] = [logits[name][k] for k in order]
    folder = tmp_path_factory.mktemp("study")
    one = make_run(folder / "one", labels, {"resnet50": logits})
    other = make_run(folder / "other", other_labels, {"resnet50": other_logits})
    reduce(one)
    reduce(other)
    assert {name: dump(one)[name] for name in ("cells", "patients")} == {
        name: dump(other)[name] for name in ("cells", "patients")
    }
    numbers = [sorted(row["mean_score"] for row in read(run, "folds")) for run in (one, other)]
    assert numbers[0] == numbers[1]


@given(study=studies(), shift=st.floats(0.1, 10))
@settings(max_examples=8, deadline=None)
def test_higher_logits_never_lower_the_sensitivity(
    tmp_path_factory: pytest.TempPathFactory, study: tuple[Labels, Logits], shift: float
) -> None:
    labels, logits = study
    raised = {patient: [logit + shift for logit in own] for patient, own in logits.items()}
    run = make_run(tmp_path_factory.mktemp("study") / "run", labels, {"as_is": logits, "raised": raised})
    reduce(run)
    before, after = (pick(run, "cells", backbone=name) for name in ("as_is", "raised"))
    assert float(after["sensitivity"]) >= float(before["sensitivity"])
    assert float(after["specificity"]) <= float(before["specificity"])

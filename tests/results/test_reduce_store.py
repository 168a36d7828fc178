"""What the reducer does with a store, with one that is gone or changed, and with predictions that are unusable."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from packed import Study, draw_study, read_header, read_rows
from rich.console import Console
from runs import make_run
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from msbatch.cohort.features import COLOUR, FEATURES
from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.config import Settings
from msbatch.files import sha256
from msbatch.layout import RunDir
from msbatch.plan import save_plan
from msbatch.predictions import Predictions, write_predictions
from msbatch.results.reduce import reduce
from msbatch.results.reduction import Reduction
from msbatch.results.show import tables
from msbatch.store import Store

OF_PREDICTIONS = ("folds", "cells", "patients", "missing", "comparison", "influence", "calibration", "calibration_bins")
OF_THE_STORE = ("subgroups", "gaps", "nuisance", "covariates", "tests")


def printed(reduction: Reduction) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False, markup=False, soft_wrap=True)
    for part in tables(reduction):
        console.print(part)
    return " ".join(out.getvalue().split())


def dump(run: RunDir, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: (run.results / f"{name}.csv").read_bytes() for name in names}


def remove(store: Path) -> None:
    store.unlink()


def change(store: Path) -> None:
    with store.open("ab") as out:
        out.write(b"\0")


def truncate(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(remove, "does not exist"), (change, "was changed since the plan"), (truncate, "was changed since the plan")],
)
def test_without_its_store_a_run_has_all_tables_of_predictions_and_says_what_it_lacks(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    run = draw_study(backbones=("resnet50", "swin")).write(tmp_path)
    reduce(run)
    before = dump(run, OF_PREDICTIONS)
    assert all(read_rows(run, table) for table in OF_THE_STORE)
    spoil(tmp_path / "cohort.h5")
    reduction = reduce(run)
    assert reduction.complete
    assert dump(run, OF_PREDICTIONS) == before
    for table in OF_THE_STORE:
        assert read_rows(run, table) == []
        assert all(read_header(run, table))
    assert len(read_rows(run, "oddfolds")) == 16
    said = json.loads((run.results / "verdict.json").read_text())
    assert said["category"] is None
    assert reason in said["reason"]
    assert str(tmp_path / "cohort.h5") in said["reason"]
    assert set(said["odd_folds"]) == {"resnet50", "swin"}
    assert f"No verdict: {said['reason']}" in printed(reduction)


def test_with_its_store_the_terminal_gives_the_verdict(tmp_path: Path) -> None:
    run = draw_study().write(tmp_path)
    text = printed(reduce(run))
    said = json.loads((run.results / "verdict.json").read_text())
    assert "No verdict" not in text
    for sentence in (said["sentence"], *said["further"], *said["odd_folds"]["resnet50"]):
        assert sentence in text


def spoil_table(run: RunDir, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of a table of predictions whose manifest agrees with it."""
    task = run.task("resnet50", 2)
    lines = change(task.predictions.read_text().splitlines(keepends=True))
    task.predictions.write_text("".join(lines))
    manifest = json.loads(task.manifest.read_text())
    task.manifest.write_text(json.dumps({**manifest, "sha256": sha256(task.predictions)}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: lines[:-1], "does not hold each of 3 cells"),
        (lambda lines: [*lines[:-1], lines[1]], "does not hold each of 3 cells"),
        (lambda lines: [*lines, lines[-1]], "does not hold each of 3 cells"),
        (lambda lines: [*lines[:-1], lines[-1][:6]], "damaged"),
        (lambda lines: [*lines[:-1], "P02,2,0,nan,nan\n"], "a number that is not finite"),
        (lambda lines: [*lines[:-1], "P02,2,0,inf,1.0\n"], "a number that is not finite"),
        (lambda lines: [*lines[:-1], "P02,2,2,1.0,0.7\n"], "a label that is not 0 or 1"),
        (lambda lines: [*lines[:-1], "P03,2,0,1.0,0.7\n"], "of one patient once"),
        (lambda _: [], "damaged"),
    ],
)
def test_predictions_that_are_not_what_they_should_be_are_named_and_left_out(tmp_path: Path, change, reason) -> None:
    run = draw_study().write(tmp_path)
    spoil_table(run, change)
    reduction = reduce(run)
    (gap,) = read_rows(run, "missing")
    assert (gap["backbone"], gap["fold"], gap["patient"]) == ("resnet50", "2", "P02")
    assert gap["reason"].startswith("tasks/resnet50/fold-02/predictions.csv")
    assert reason in gap["reason"]
    assert gap["reason"] in printed(reduction)
    for table in ("folds", "cells", "patients"):
        assert {(row["folds_done"], row["status"]) for row in read_rows(run, table)} == {("7", "partial")}
    assert "P02" not in {row["patient"] for row in read_rows(run, "influence")}
    assert [row["cells"] for row in read_rows(run, "calibration")] == ["21", "21"]


def test_predictions_of_another_plan_are_all_refused(tmp_path: Path) -> None:
    study = draw_study()
    (tmp_path / "other").mkdir()
    other = study.write(tmp_path / "other", study.plan.model_copy(update={"seed": 1}))
    run = study.write(tmp_path)
    for fold in range(8):
        for name in ("predictions", "manifest"):
            source, target = (getattr(own.task("resnet50", fold), name) for own in (other, run))
            target.write_bytes(source.read_bytes())
    reduce(run)
    gaps = read_rows(run, "missing")
    assert len(gaps) == 8
    assert all("belongs to another signature." in gap["reason"] for gap in gaps)
    assert {row["cells"] for row in read_rows(run, "cells")} == {"0"}


def test_a_cell_labelled_run_without_predictions_has_tables_without_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {f"P{number}": [0, 1] for number in range(4)}, {"resnet50": {}})
    assert len(reduce(run).missing) == 4
    row = next(row for row in read_rows(run, "cells") if row["backbone"] == "resnet50")
    assert (row["cells"], row["status"]) == ("0", "partial")
    assert row["f1_MS"].startswith("n/a")
    assert row["f1_MS_low"].startswith("n/a")


def test_a_class_may_be_called_low(tmp_path: Path) -> None:
    study = draw_study()
    plan = study.plan.model_dump(mode="json") | {"classes": ["high", "low"]}
    plan["folds"] = [
        {
            **fold,
            "counts": {part: dict(zip(("high", "low"), own.values(), strict=True)) for part, own in counts.items()},
        }
        for fold in plan["folds"]
        for counts in [fold["counts"]]
    ]
    text = printed(reduce(study.write(tmp_path, type(study.plan).model_validate(plan))))
    assert "F1 low" in text
    assert "F1 high" in text
    assert "sensitivity low" not in text


def colour_auc_by_hand(study: Study) -> float:
    """Refit a balanced logistic regression on colours without each patient in turn."""
    scores = {}
    columns = [FEATURES.index(name) for name in COLOUR]
    for held_out in study.labels:
        others = [patient for patient in study.labels if patient != held_out]
        features = np.concatenate([study.looks[patient][1][:, columns] for patient in others])
        labels = np.concatenate([study.labels[patient] for patient in others])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8))
        model.fit(features.astype(np.float64), labels)
        scores[held_out] = model.decision_function(study.looks[held_out][1][:, columns]).mean()
    return roc_auc_score([own[0] for own in study.labels.values()], list(scores.values()))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_nuisance_row_has_the_auc_of_a_model_that_is_fitted_by_hand(tmp_path: Path, seed: int) -> None:
    study = draw_study(seed, sizes=(4, 3, 5, 2, 6, 3, 4, 3, 5))
    run = study.write(tmp_path)
    reduce(run)
    (row,) = [row for row in read_rows(run, "nuisance") if row["row"] == "colour"]
    assert float(row["patient_auc"]) == pytest.approx(colour_auc_by_hand(study))
    assert (row["patients"], row["cells"], row["without"]) == ("9", "35", "")


def test_a_row_that_is_alike_in_all_patients_calls_nobody_and_says_why(tmp_path: Path) -> None:
    run = draw_study().write(tmp_path)
    reduce(run)
    (row,) = [row for row in read_rows(run, "nuisance") if row["row"] == "count"]
    assert (row["patients"], row["cells"]) == ("0", "0")
    assert row["without"] == "it is the same in all cells the model is fitted on"
    assert row["sensitivity"].startswith("n/a")
    assert row["patient_auc"].startswith("n/a")


@pytest.mark.realdata
def test_colour_tells_infected_patients_apart_in_the_table_as_published_beside_the_data(tmp_path: Path) -> None:
    root = Path(os.environ.get("MSBATCH_SHARED", Path(__file__).parents[2] / ".." / "shared"))
    folder = root / "data" / "malaria_cohort24"
    if not folder.is_dir():
        pytest.skip(f"the real cell images are not at {folder}")
    pack(folder, folder / "manifest.csv", tmp_path / "c.h5", PackOptions(label="patient_status", positive="infected"))
    run, plan = RunDir(tmp_path / "run"), draw_plan(tmp_path / "c.h5", Settings())
    save_plan(run.plan, plan)
    with Store(tmp_path / "c.h5") as store:
        truth = [store.label(patient) for patient in store.patients]
        for task in plan.tasks:
            labels = store.labels(plan.folds[task.fold].held_out)
            logits = np.random.default_rng(task.index).normal(size=len(labels))
            predictions = Predictions(plan.folds[task.fold].held_out, labels, logits)
            write_predictions(run.task(task.arm, task.fold), predictions, plan.identity(task), lambda: None)
    assert reduce(run).complete
    (row,) = [row for row in read_rows(run, "nuisance") if row["row"] == "colour"]
    assert (row["patients"], len(truth)) == ("24", 24)
    assert float(row["patient_auc"]) == pytest.approx(0.929, abs=0.03)
    # 12 of 14 infected and 9 of 10 healthy patients are called correctly, F1 .889; one call more or less may differ.
    assert float(row["f1_infected"]) == pytest.approx(0.889, abs=0.045)
    tp, fp, fn, tn = (int(row[key]) for key in ("tp", "fp", "fn", "tn"))
    assert (tp + fn, fp + tn) == (14, 10)
    assert fp + fn in (2, 3, 4)
    assert float(row["f1_infected"]) == pytest.approx(
        f1_score([1] * 14 + [0] * 10, [1] * tp + [0] * fn + [1] * fp + [0] * tn)
    )

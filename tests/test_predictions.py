"""Predictions: every held-out cell once, and nothing that belongs to something else."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbatch.errors import MsbatchError
from msbatch.files import sha256
from msbatch.layout import TaskDir
from msbatch.predictions import Predictions, PredictionsError, read_predictions, write_predictions

IDENTITY = {"signature": "a" * 64, "backbone": "resnet50", "fold": 3}

cells = st.lists(st.tuples(st.integers(0, 1), st.floats(allow_nan=False, allow_infinity=False)), min_size=1)


def fresh() -> Predictions:
    return Predictions("P1", np.array([0, 1, 1], np.uint8), np.array([-0.5, 2.0, 1e-3]))


@pytest.fixture
def task(tmp_path: Path) -> TaskDir:
    task = TaskDir(tmp_path / "fold-03")
    write_predictions(task, fresh(), IDENTITY, lambda: None)
    return task


def rewrite(task: TaskDir, change: Callable[[str], str], **manifest: object) -> None:
    """Change the table and let the manifest vouch for it."""
    task.predictions.write_text(change(task.predictions.read_text()))
    old = json.loads(task.manifest.read_text())
    task.manifest.write_text(json.dumps({**old, "sha256": sha256(task.predictions), **manifest}))


@given(cells, st.text(min_size=1).filter(lambda text: text.isprintable()), st.sampled_from(["ab" * 32, "", None]))
def test_predictions_are_read_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[int, float]], patient: str, pretrained: str | None
) -> None:
    labels, logits = zip(*cells, strict=True)
    written = Predictions(patient, np.array(labels, np.uint8), np.array(logits, np.float64), pretrained)
    task = TaskDir(tmp_path_factory.mktemp("task"))
    write_predictions(task, written, IDENTITY, lambda: None)
    again = read_predictions(task, IDENTITY)
    assert (again.patient, again.pretrained) == (patient, pretrained)
    assert again.labels.dtype == np.uint8
    np.testing.assert_array_equal(again.labels, written.labels)
    np.testing.assert_array_equal(again.logits, written.logits)


def test_the_table_has_a_row_per_cell_with_its_probability(task: TaskDir) -> None:
    header, *rows = task.predictions.read_text().splitlines()
    assert header == "patient,cell,label,logit,probability"
    assert [row.split(",")[:4] for row in rows] == [
        ["P1", "0", "0", "-0.5"],
        ["P1", "1", "1", "2.0"],
        ["P1", "2", "1", "0.001"],
    ]
    assert float(rows[1].split(",")[4]) == pytest.approx(1 / (1 + np.exp(-2.0)))


@given(st.floats(-1e6, 1e6))
def test_a_probability_never_overflows(logit: float) -> None:
    (probability,) = Predictions("P", np.zeros(1, np.uint8), np.array([logit])).probabilities
    assert 0 <= probability <= 1
    assert (probability > 0.5) == (logit > 0) or abs(logit) < 1e-12


def test_the_same_predictions_give_the_same_bytes(task: TaskDir) -> None:
    before = task.predictions.read_bytes(), task.manifest.read_bytes()
    write_predictions(task, fresh(), IDENTITY, lambda: None)
    assert (task.predictions.read_bytes(), task.manifest.read_bytes()) == before


def test_a_superseded_writer_writes_nothing(task: TaskDir) -> None:
    before = task.predictions.read_bytes(), task.manifest.read_bytes()

    def superseded() -> None:
        raise MsbatchError("superseded")

    other = Predictions("P1", np.array([1], np.uint8), np.array([9.0]))
    with pytest.raises(MsbatchError, match="superseded"):
        write_predictions(task, other, IDENTITY, superseded)
    assert (task.predictions.read_bytes(), task.manifest.read_bytes()) == before


@pytest.mark.parametrize(
    "patient", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "'=x", "''=x", "'quoted'", "\tx", "ordinary"]
)
def test_a_name_that_a_spreadsheet_would_run_is_quoted_and_read_back(tmp_path: Path, patient: str) -> None:
    task = TaskDir(tmp_path / "fold-03")
    write_predictions(task, Predictions(patient, np.array([0], np.uint8), np.array([-0.5])), IDENTITY, lambda: None)
    name, _, _, logit, _ = task.predictions.read_text().splitlines()[1].split(",")
    assert name.strip('"')[0] not in "=+-@\t"
    assert logit == "-0.5"
    assert read_predictions(task, IDENTITY).patient == patient


@pytest.mark.parametrize("name", ["predictions", "manifest"])
def test_one_file_without_the_other_counts_as_missing(task: TaskDir, name: str) -> None:
    getattr(task, name).unlink()
    with pytest.raises(PredictionsError, match="is missing"):
        read_predictions(task, IDENTITY)


@pytest.mark.parametrize(("key", "value"), [("signature", "b" * 64), ("backbone", "swin"), ("fold", 4)])
def test_predictions_of_something_else_are_refused(task: TaskDir, key: str, value: object) -> None:
    with pytest.raises(PredictionsError, match=f"belongs to another {key}"):
        read_predictions(task, {**IDENTITY, key: value})


def test_a_changed_table_is_refused(task: TaskDir) -> None:
    task.predictions.write_text(task.predictions.read_text().replace("-0.5", "+0.5"))
    with pytest.raises(PredictionsError, match="was changed after it was written"):
        read_predictions(task, IDENTITY)


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_damaged_manifest_is_refused(task: TaskDir, content: str) -> None:
    task.manifest.write_text(content)
    with pytest.raises(PredictionsError, match=r"predictions\.json"):
        read_predictions(task, IDENTITY)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("P1,1,1", "P1,0,1", "does not hold each of 3 cells of one patient once"),
        ("P1,1,1", "P1,5,1", "does not hold each of 3 cells of one patient once"),
        ("P1,1,1", "P2,1,1", "does not hold each of 3 cells of one patient once"),
        ("P1,1,1", "P1,1,2", "a label that is not 0 or 1"),
        ("P1,1,1", "P1,1,300", "a label that is not 0 or 1"),
        (",2.0,", ",nan,", "a number that is not finite"),
        (",2.0,", ",inf,", "a number that is not finite"),
        (",2.0,", ",two,", "is damaged"),
        (",2.0,", ",2.0,0.5,", "is damaged"),
        ("label,logit", "logit,label", "a label that is not 0 or 1"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_although_its_hash_fits(
    task: TaskDir, old: str, new: str, problem: str
) -> None:
    rewrite(task, lambda text: text.replace(old, new, 1))
    with pytest.raises(PredictionsError, match=problem):
        read_predictions(task, IDENTITY)


def test_a_table_of_another_length_is_refused(task: TaskDir) -> None:
    rewrite(task, lambda text: text, cells=4)
    with pytest.raises(PredictionsError, match="does not hold each of 4 cells"):
        read_predictions(task, IDENTITY)
    rewrite(task, lambda text: text.splitlines()[0] + "\n", cells=0)
    with pytest.raises(PredictionsError, match="is damaged"):
        read_predictions(task, IDENTITY)


def test_a_table_that_is_not_text_is_refused(task: TaskDir) -> None:
    task.predictions.write_bytes(b"\xff\xfe\x00")
    rewrite_manifest = json.loads(task.manifest.read_text())
    task.manifest.write_text(json.dumps({**rewrite_manifest, "sha256": sha256(task.predictions)}))
    with pytest.raises(PredictionsError, match="is damaged"):
        read_predictions(task, IDENTITY)

"""Reading a store: what it gives, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from runs import make_store

from msbatch.files import sha256
from msbatch.store import Store, StoreError, verify_store

LABELS = {"B": [1, 1, 1], "A": [0, 0], "007": [0], "7": [1]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "cohort.h5", LABELS, {"A": {"sex": "f", "age": ""}})


def test_a_store_gives_patients_classes_labels_and_attributes(path: Path) -> None:
    with Store(path) as store:
        assert store.patients == ["007", "7", "A", "B"]
        assert (store.classes, store.size, store.level) == (("control", "MS"), 4, "patient")
        assert [store.label(patient) for patient in store.patients] == [0, 1, 0, 1]
        assert [store.cells(patient) for patient in store.patients] == [1, 1, 2, 3]
        assert store.attributes("A") == {"sex": "f", "age": ""}
        assert store.images("B").shape == (3, 4, 4, 3)
        assert store.images("B").dtype == np.uint8
        assert store.labels("B").tolist() == [1, 1, 1]


def test_one_patient_with_both_classes_makes_it_cell_labelled(tmp_path: Path) -> None:
    with Store(make_store(tmp_path / "cells.h5", {**LABELS, "A": [0, 1]})) as store:
        assert store.level == "cell"
        assert store.label("A") is None
        assert store.label("B") == 1


def test_a_store_can_be_read_by_many_at_once(path: Path) -> None:
    with Store(path) as one, Store(path) as other:
        assert one.patients == other.patients


def test_a_store_that_is_missing_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist") as refusal:
        Store(tmp_path / "none.h5")
    assert "msbatch pack" in refusal.value.hint


@pytest.mark.parametrize("part", [0, 1, 50])
def test_a_truncated_store_is_refused(path: Path, part: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * part // 100])
    with pytest.raises(StoreError, match="cannot be opened as HDF5"):
        Store(path)


def test_a_file_that_is_no_hdf5_is_refused(path: Path) -> None:
    path.write_text("<html>not found</html>")
    with pytest.raises(StoreError, match="cannot be opened as HDF5"):
        Store(path)


def other_format(file: h5py.File) -> None:
    file.attrs["format"] = "something-else"


def no_patients(file: h5py.File) -> None:
    del file["patients"]


def other_version(file: h5py.File) -> None:
    file.attrs["version"] = 2


def lost_dataset(file: h5py.File) -> None:
    del file["patients/B/digest"]


def shorter_labels(file: h5py.File) -> None:
    del file["patients/B/labels"]
    file["patients/B/labels"] = np.zeros(2, np.uint8)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (other_format, "it is not a store of msbatch"),
        (no_patients, "it is not a store of msbatch"),
        (other_version, "its version is 2, this msbatch reads 1"),
        (lost_dataset, "patient B lacks digest"),
        (shorter_labels, "patient B has datasets of different lengths"),
    ],
)
def test_another_format_is_refused_with_its_reason(path: Path, spoil: Callable[..., None], reason: str) -> None:
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(StoreError, match=reason) as refusal:
        Store(path)
    assert str(path) in refusal.value.problem
    assert refusal.value.hint


def test_a_store_changed_since_the_plan_is_refused(path: Path) -> None:
    planned = sha256(path)
    verify_store(path, planned)
    with h5py.File(path, "r+") as file:
        file["patients/B"].attrs["attributes"] = json.dumps({"sex": "m"})
    with pytest.raises(StoreError, match="was changed since the plan was drawn"):
        verify_store(path, planned)
    path.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        verify_store(path, planned)

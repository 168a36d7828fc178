"""What a store says of patients: labels, and embeddings of as many cells as are needed."""

from pathlib import Path

import numpy as np
import pytest
from packed import draw_looks, draw_study
from runs import make_store

from msbatch.results import subjects
from msbatch.results.network import NETWORK, embed
from msbatch.results.subjects import Embedding, read_subjects
from msbatch.store import Store


def write(path: Path, labels: dict[str, list[int]]) -> Path:
    rng = np.random.default_rng(0)
    return make_store(path, labels, {"A": {"sex": "F"}}, {name: draw_looks(rng, len(labels[name])) for name in labels})


def test_patients_with_one_class_have_a_label_and_those_with_both_count_for_both(tmp_path: Path) -> None:
    path = write(tmp_path / "cohort.h5", {"B": [1, 1], "A": [0, 0, 0], "C": [0, 1], "D": [1]})
    with Store(path) as store:
        found = read_subjects(store)
    assert found.labels == {"A": 0, "B": 1, "D": 1}
    assert not found.by_patient
    assert found.per_class == {"control": 2, "MS": 3}
    assert found.attributes == {"A": {"sex": "F"}, "B": {}, "C": {}, "D": {}}


def test_patients_of_one_class_each_are_labelled_by_patient(tmp_path: Path) -> None:
    with Store(write(tmp_path / "cohort.h5", {"B": [1, 1], "A": [0], "C": [0], "D": [1]})) as store:
        assert read_subjects(store).by_patient


def test_of_few_cells_all_are_embedded_each_in_its_row(tmp_path: Path) -> None:
    draw_study(sizes=(3, 5, 2, 4)).write(tmp_path)
    with Store(tmp_path / "cohort.h5") as store:
        found = read_subjects(store)
        images = np.concatenate([store.images(patient) for patient in store.patients])
    own = found.embeddings[NETWORK]
    assert own.rows.tolist() == list(range(14))
    np.testing.assert_allclose(own.values, embed(images), atol=1e-9)


def test_of_many_cells_some_of_each_patient_are_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "EMBEDDED", 40)
    draw_study(sizes=(30, 3, 12, 8)).write(tmp_path)
    with Store(tmp_path / "cohort.h5") as store:
        found = read_subjects(store)
        images = np.concatenate([store.images(patient) for patient in store.patients])
    own = found.embeddings[NETWORK]
    assert [int((found.cells.groups[own.rows] == name).sum()) for name in ("P00", "P01", "P02", "P03")] == [
        10,
        3,
        10,
        8,
    ]
    assert len(set(own.rows.tolist())) == 31
    np.testing.assert_allclose(own.values, embed(images[own.rows]), atol=1e-9)


def test_embeddings_made_elsewhere_stand_beside_the_networks(tmp_path: Path) -> None:
    draw_study(sizes=(2,) * 4).write(tmp_path)
    with Store(tmp_path / "cohort.h5") as store:
        found = read_subjects(store, {"other": Embedding(np.arange(8), np.ones((8, 2)))})
    assert list(found.embeddings) == [NETWORK, "other"]

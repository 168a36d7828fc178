"""Stores as an adversary would write them: each is refused in one line, and nothing beside it is opened."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from runs import make_store

from msbatch.store import Store, StoreError

TIB = 1 << 40
IMAGES = "patients/A/images"
SHAPE = (2, 4, 4, 3)

Spoil = Callable[[h5py.File, Path], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "cohort.h5", {"A": [0, 0], "B": [1]})


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Give a pipe without a writer: whoever opens it waits for ever."""
    os.mkfifo(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def replace(file: h5py.File, name: str, **how: object) -> None:
    del file[name]
    file.create_dataset(name, **how)


def external_link(file: h5py.File, trap: Path) -> None:
    del file["patients/A"]
    file["patients/A"] = h5py.ExternalLink(trap, "/patients/A")


def external_link_to_all_patients(file: h5py.File, trap: Path) -> None:
    del file["patients"]
    file["patients"] = h5py.ExternalLink(trap, "/patients")


def external_link_to_a_dataset(file: h5py.File, trap: Path) -> None:
    del file[IMAGES]
    file[IMAGES] = h5py.ExternalLink(trap, "/images")


def soft_link(file: h5py.File, _: Path) -> None:
    del file[IMAGES]
    file[IMAGES] = h5py.SoftLink("/patients/B/images")


def soft_link_to_itself(file: h5py.File, _: Path) -> None:
    file["patients/C"] = h5py.SoftLink("/patients/C")


def external_storage(file: h5py.File, trap: Path) -> None:
    replace(file, IMAGES, shape=SHAPE, dtype=np.uint8, external=[(str(trap), 0, int(np.prod(SHAPE)))])


def virtual_dataset(file: h5py.File, trap: Path) -> None:
    del file[IMAGES]
    layout = h5py.VirtualLayout(SHAPE, np.uint8)
    layout[:] = h5py.VirtualSource(str(trap), "images", shape=SHAPE)
    file.create_virtual_dataset(IMAGES, layout)


def a_tebibyte_that_was_never_written(file: h5py.File, _: Path) -> None:
    replace(file, IMAGES, shape=(TIB // 48, 4, 4, 3), dtype=np.uint8)


def labels_of_a_tebibyte(file: h5py.File, _: Path) -> None:
    for name in ("images", "labels", "digest", "extent", "features"):
        old = file[f"patients/A/{name}"]
        replace(file, f"patients/A/{name}", shape=(TIB, *old.shape[1:]), dtype=old.dtype)


def gzip_bomb(file: h5py.File, _: Path) -> None:
    replace(file, IMAGES, shape=(1 << 16, 4, 4, 3), dtype=np.uint8, compression="gzip", chunks=(1 << 16, 4, 4, 3))
    file[IMAGES][:] = 0


def checksum_filter(file: h5py.File, _: Path) -> None:
    replace(file, IMAGES, data=np.zeros(SHAPE, np.uint8), fletcher32=True, chunks=SHAPE)


def chunks_that_were_not_written(file: h5py.File, _: Path) -> None:
    replace(file, IMAGES, shape=SHAPE, dtype=np.uint8, chunks=(1, 4, 4, 3))


def images_as_numbers_of_other_kind(file: h5py.File, _: Path) -> None:
    replace(file, IMAGES, data=np.zeros(SHAPE, np.float64))


def images_as_references(file: h5py.File, _: Path) -> None:
    replace(file, IMAGES, shape=SHAPE, dtype=h5py.ref_dtype)


def labels_as_text(file: h5py.File, _: Path) -> None:
    replace(file, "patients/A/labels", data=["0", "1"], dtype=h5py.string_dtype())


def images_of_another_size(file: h5py.File, _: Path) -> None:
    replace(file, IMAGES, data=np.zeros((2, 5, 4, 3), np.uint8))


def more_features_than_names(file: h5py.File, _: Path) -> None:
    replace(file, "patients/A/features", data=np.zeros((2, 3), np.float32))


def no_cells(file: h5py.File, _: Path) -> None:
    replace(file, "patients/A/labels", shape=(0,), dtype=np.uint8)


def a_number_of_cells_without_axis(file: h5py.File, _: Path) -> None:
    replace(file, "patients/A/labels", data=np.uint8(3))


def unknown_group(file: h5py.File, _: Path) -> None:
    file.create_group("more")


def unknown_dataset(file: h5py.File, _: Path) -> None:
    file["patients/A/more"] = np.zeros(3)


def group_in_place_of_images(file: h5py.File, _: Path) -> None:
    del file[IMAGES]
    file.create_group(IMAGES)


def dataset_in_place_of_a_patient(file: h5py.File, _: Path) -> None:
    replace(file, "patients/A", data=np.zeros(3))


def patients_within_themselves(file: h5py.File, _: Path) -> None:
    file["patients/C"] = file["patients"]


def name_with_an_escape(file: h5py.File, _: Path) -> None:
    file.move("patients/A", "patients/A\x1b[2J")


def name_that_is_not_utf8(file: h5py.File, _: Path) -> None:
    file["patients"].id.move(b"A", b"\xff\xfe")


def cells_of_no_width(file: h5py.File, _: Path) -> None:
    file.attrs["size"] = 0


def cells_of_half_a_width(file: h5py.File, _: Path) -> None:
    file.attrs["size"] = 4.5


def size_as_a_list(file: h5py.File, _: Path) -> None:
    file.attrs["size"] = [4, 4]


def feature_names_that_nest_deeply(file: h5py.File, _: Path) -> None:
    file.attrs["features"] = "[" * 50_000


def feature_names_that_are_numbers(file: h5py.File, _: Path) -> None:
    file.attrs["features"] = "[1, 2]"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (external_link, "A is a link"),
        (external_link_to_all_patients, "patients is a link"),
        (external_link_to_a_dataset, "images is a link"),
        (soft_link, "images is a link"),
        (soft_link_to_itself, "C is a link"),
        (external_storage, "images of patient A lie in another file"),
        (virtual_dataset, "images of patient A lie in another file"),
        (a_tebibyte_that_was_never_written, "different lengths"),
        (labels_of_a_tebibyte, r"declare \d+ GiB"),
        (gzip_bomb, "are compressed or filtered"),
        (checksum_filter, "are compressed or filtered"),
        (chunks_that_were_not_written, "declare 96 bytes, of which the file holds 0"),
        (images_as_numbers_of_other_kind, "of another kind than uint8"),
        (images_as_references, "of another kind than uint8"),
        (labels_as_text, "of another kind than uint8"),
        (images_of_another_size, r"have the shape \(2, 5, 4, 3\), not \(2, 4, 4, 3\)"),
        (more_features_than_names, r"have the shape \(2, 3\), not \(2, 0\)"),
        (no_cells, "no list of cells"),
        (a_number_of_cells_without_axis, "no list of cells"),
        (unknown_group, "it holds 'more'"),
        (unknown_dataset, "patient A holds 'more'"),
        (group_in_place_of_images, "images of patient A is not a dataset"),
        (dataset_in_place_of_a_patient, "A is not a group"),
        (patients_within_themselves, "patient C holds 'A'"),
        (name_with_an_escape, r"'A\\x1b\[2J' has a name that cannot be shown"),
        (name_that_is_not_utf8, "has a name that cannot be shown"),
        (cells_of_no_width, "0 px wide"),
        (cells_of_half_a_width, "attribute size is of another kind"),
        (size_as_a_list, "attribute size is of another kind"),
        (feature_names_that_nest_deeply, "features are not JSON"),
        (feature_names_that_are_numbers, "features are not all text"),
    ],
)
def test_what_pack_never_writes_is_refused(path: Path, trap: Path, spoil: Spoil, reason: str) -> None:
    with h5py.File(path, "r+") as file:
        spoil(file, trap)
    with pytest.raises(StoreError, match=reason) as refusal:
        Store(path)
    assert str(path) in refusal.value.problem
    assert refusal.value.problem.isprintable()
    assert refusal.value.hint


def test_a_sparse_file_that_does_hold_a_tebibyte_is_refused(path: Path) -> None:
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    shape = (TIB // 48, 4, 4, 3)
    with h5py.File(path, "r+") as file:
        group = file["patients/B"]
        for name in ("images", "labels", "digest", "extent", "features"):
            dtype, rest = group[name].dtype, group[name].shape[1:]
            del group[name]
            space = h5py.h5s.create_simple((shape[0], *rest))
            h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(dtype), space, early)
    assert path.stat().st_size > TIB
    with pytest.raises(StoreError, match=r"of patient B declare \d+ GiB"):
        Store(path)
    path.unlink()


def words(file: h5py.File) -> None:
    file["patients/A"].attrs["attributes"] = "sex=f"


def a_list(file: h5py.File) -> None:
    file["patients/A"].attrs["attributes"] = "[1]"


def numbers(file: h5py.File) -> None:
    file["patients/A"].attrs["attributes"] = json.dumps({"age": 30})


def a_long_text(file: h5py.File) -> None:
    file["patients/A"].attrs["attributes"] = " " * (2 << 20)


def none(file: h5py.File) -> None:
    del file["patients/A"].attrs["attributes"]


def a_third_label(file: h5py.File) -> None:
    file["patients/A/labels"][0] = 2


@pytest.mark.parametrize("spoil", [words, a_list, numbers, a_long_text, none, a_third_label])
def test_a_value_that_has_no_meaning_is_refused_where_it_is_read(tmp_path: Path, spoil: Callable[..., None]) -> None:
    path = tmp_path / "cohort.h5"
    with h5py.File(make_store(path, {"A": [0, 0], "B": [1]}), "r+") as file:
        spoil(file)
    with Store(path) as store, pytest.raises(StoreError, match=r"patient A|attributes"):
        store.attributes("A"), store.labels("A")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    looks = {"A": (np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 17), value, np.float32))}
    path = make_store(tmp_path / "cohort.h5", {"A": [0]}, looks=looks)
    with Store(path) as store, pytest.raises(StoreError, match="features of patient A are not all finite"):
        store.features("A")


@pytest.mark.parametrize("classes", ['["a"]', '["a", "a"]', '["a", 1]', '["a", "b\\u001b[2J"]', '{"a": 1}', "["])
def test_classes_that_are_not_two_names_are_refused(path: Path, classes: str) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["classes"] = classes
    with Store(path) as store, pytest.raises(StoreError, match="classes"):
        _ = store.classes


def test_a_patient_who_is_not_there_is_named(path: Path) -> None:
    with Store(path) as store, pytest.raises(StoreError, match="it has no patient Z"):
        store.labels("Z")


def test_a_bomb_is_refused_in_little_memory(path: Path, trap: Path) -> None:
    with h5py.File(path, "r+") as file:
        gzip_bomb(file, trap)
        labels_of_a_tebibyte(file, trap)
    code = "import sys; from pathlib import Path; from msbatch.store import Store; Store(Path(sys.argv[1]))"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert "StoreError" in done.stderr.splitlines()[-2]

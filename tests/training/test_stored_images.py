"""Cells in memory, in shared memory, and left in the store are the same cells."""

from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import h5py
import numpy as np
import pytest

from msbatch.errors import MsbatchError
from msbatch.store import Store
from msbatch.training.data import fits, read_images
from msbatch.training.images import SharedArray, StoredImages


def add_one(array: SharedArray, done: Connection) -> None:
    array += 1
    done.send(array[-1, -1])


def test_processes_see_one_array() -> None:
    array = SharedArray((3, 5))
    array[:] = 7
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=add_one, args=(array, there))
    process.start()
    assert here.recv() == 8
    process.join()
    assert (array == 8).all()


def test_an_array_of_nothing_can_be_shared() -> None:
    assert SharedArray((0, 4, 4, 3)).shape == (0, 4, 4, 3)


@pytest.fixture(params=[None, (3, 48, 48, 3)], ids=["contiguous", "chunked"])
def any_store(request: pytest.FixtureRequest, store_path: Path, tmp_path: Path) -> Path:
    """Give a store as msbatch packs it, and one that another program wrote again in chunks."""
    copy = tmp_path / "copy.h5"
    copy.write_bytes(store_path.read_bytes())
    if request.param:
        with h5py.File(copy, "r+") as file:
            for group in file["patients"].values():
                images = group["images"][()]
                del group["images"]
                group.create_dataset("images", data=images, chunks=request.param)
    return copy


def send_cells(images: StoredImages, indices: list[int], done: Connection) -> None:
    done.send(images.take(indices))


def test_images_left_in_the_store_are_those_that_are_read(any_store: Path) -> None:
    indices = [0, 17, 8, 7, 17, 23]
    with Store(any_store) as store:
        patients = store.patients[3:0:-1]
        read, stored = read_images(store, patients), StoredImages(store, patients)
    assert stored.shape == read.shape
    assert np.array_equal(stored.take(indices), read[indices])
    here, there = get_context("fork").Pipe()
    process = get_context("fork").Process(target=send_cells, args=(stored, indices, there))
    process.start()
    assert np.array_equal(here.recv(), read[indices])
    process.join()
    assert np.array_equal(stored.take(indices), read[indices])


def test_a_budget_is_for_all_patients_and_at_least_for_one(store_path: Path) -> None:
    one_gb = 8 * 48 * 48 * 3 / 1e9
    with Store(store_path) as store:
        assert fits(store, store.patients, 6 * one_gb)
        assert not fits(store, store.patients, 5.9 * one_gb)
        with pytest.raises(MsbatchError, match=r"less than one patient needs, 5\.5e-05 GB"):
            fits(store, store.patients, 0.9 * one_gb)

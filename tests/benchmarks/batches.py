"""How fast batches leave the store, plain and augmented, against the least that would have to be done."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import albumentations as A  # noqa: N812
import h5py
import numpy as np
from numpy.typing import NDArray
from pictures import cells, write_cohort
from rows import CORES, Row, alternating, processor_s, row
from runs import make_store
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import PILToTensor

from msbatch.cohort.features import FEATURES
from msbatch.config import Settings
from msbatch.store import Store
from msbatch.training.augment import Augmenter, _transforms
from msbatch.training.data import Augment, BalancedOrder, TrainingCells, load_cells, read_images, training_batches

PATIENTS, OF_EACH, SIDE_PX = 20, 100, 128
BATCH = 256
ROUNDS = 5
POLICY = Settings().augment.model_dump()

Rate = Callable[[], float]


def measure() -> list[Row]:
    """Measure images per second of processor time."""
    images = cells(PATIENTS * OF_EACH, SIDE_PX)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [*_plain(images, folder), _augmented(images, folder)]


def dataset(folder: Path, images: NDArray[np.uint8] | None = None, augment: Augment | None = None) -> TrainingCells:
    """Give training cells from a store in this folder, which is written if it is not there."""
    names = [f"P{number:02d}" for number in range(PATIENTS)]
    path = folder / "cohort.h5"
    if not path.exists():
        images = cells(PATIENTS * OF_EACH, SIDE_PX) if images is None else images
        features = np.zeros((OF_EACH, len(FEATURES)), np.float32)
        looks = {name: (part, features) for name, part in zip(names, np.split(images, PATIENTS), strict=True)}
        make_store(path, {name: [number % 2] * OF_EACH for number, name in enumerate(names)}, looks=looks)
    with Store(path) as store:
        own = load_cells(store, names, read_images(store, names))
    return TrainingCells(own, BalancedOrder(own.labels, own.patients, (0, 0)), augment)


def shares(steps: int, batch_size: int) -> list[list[int]]:
    """Give the positions of every step, for one process."""
    return [list(range(step * batch_size, (step + 1) * batch_size)) for step in range(steps)]


def _plain(images: NDArray[np.uint8], folder: Path) -> list[Row]:
    sides: tuple[Rate, ...] = (
        partial(_rate, partial(_ours, dataset(folder, images), 0), 60),
        partial(_rate, partial(_take, images), 60),
        partial(_rate, partial(_image_folder, folder / "png"), 6),
        partial(_rate, partial(_gzip, _write_gzip(images, folder)), 6),
    )
    write_cohort(folder / "png", PATIENTS, OF_EACH, SIDE_PX, CORES)
    ours, take, png, gzip = (max(rates) for rates in alternating(sides, ROUNDS))
    what = "batches of 256 of 128 px from the store, no augmentation"
    detail = f"{ours:,.0f} images a second of processor time, one process, best of {ROUNDS}; reference {{:,.0f}}"
    return [
        row(what, "numpy.take from an array in memory", ours / take, 0.5, detail=detail.format(take)),
        row(what, "ImageFolder of PNG in a DataLoader", ours / png, 8, detail=detail.format(png)),
        row(what, "h5py by index, gzip, a chunk per image", ours / gzip, 10, detail=detail.format(gzip)),
    ]


def _augmented(images: NDArray[np.uint8], folder: Path) -> Row:
    augment = Augmenter(POLICY, (0, 1))
    sides: tuple[Rate, ...] = (
        partial(_rate, partial(_ours, dataset(folder, images, augment), CORES), 8),
        partial(_rate, partial(_bare, images), 8),
    )
    ours, bare = (max(rates) for rates in alternating(sides, ROUNDS))
    return row(
        "loader with the default policy, 128 px",
        f"the bare albumentations call in {CORES} processes",
        ours / bare,
        0.9,
        detail=f"{ours:,.0f} images a second of processor time, {CORES} loader processes, best of {ROUNDS}; "
        f"reference {bare:,.0f}",
    )


def _rate(work: Callable[[int], None], batches: int) -> float:
    return batches * BATCH / processor_s(partial(work, batches))


def _ours(dataset: TrainingCells, workers: int, batches: int) -> None:
    for _ in training_batches(dataset, shares(batches, BATCH), workers):
        pass


def _take(images: NDArray[np.uint8], batches: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(batches):
        np.take(images, rng.integers(len(images), size=BATCH), axis=0)


def _image_folder(folder: Path, batches: int) -> None:
    loader = DataLoader(ImageFolder(str(folder), transform=PILToTensor()), BATCH, shuffle=True)
    for _ in islice(loader, batches):
        pass


def _gzip(path: Path, batches: int) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path) as file:
        for _ in range(batches):
            np.stack([file["images"][int(index)] for index in rng.integers(len(file["images"]), size=BATCH)])


def _write_gzip(images: NDArray[np.uint8], folder: Path) -> Path:
    path = folder / "gzip.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(1, *images.shape[1:]), compression="gzip")
    return path


def _bare(images: NDArray[np.uint8], batches: int) -> None:
    """Change as many images, shared out among processes that give back nothing."""
    share = batches * BATCH // CORES
    with ProcessPoolExecutor(CORES, mp_context=get_context("fork")) as pool:
        list(pool.map(partial(_change, images[:share]), range(CORES)))


def _change(images: NDArray[np.uint8], seed: int) -> None:
    transform = A.Compose(_transforms(POLICY), seed=seed)
    for image in images:
        transform(image=image)

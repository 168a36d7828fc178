"""Pictures of cells for benchmarks: a few hundred are drawn, and shifted copies make up the number."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msbatch.cohort.synth import draw_cell
from msbatch.files import write_csv

DRAWN = 100
SHIFTS = 15  # along each side: pixels by which copies of one cell differ


def cells(count: int, side_px: int) -> NDArray[np.uint8]:
    """Give cells of one size, no two alike, shape (count, side_px, side_px, 3)."""
    rng = np.random.default_rng(0)
    drawn = [_resized(draw_cell(rng, 28, np.zeros(3), number % 2), side_px) for number in range(min(DRAWN, count))]
    return np.stack([_shifted(drawn[n % DRAWN], n // DRAWN) for n in range(count)])


def write_cohort(folder: Path, patients: int, of_each: int, side_px: int, processes: int) -> Path:
    """Write PNG files into a folder per patient, and give the table of the cohort."""
    names = [f"P{number:02d}" for number in range(patients)]
    images = cells(patients * of_each, side_px).reshape(patients, of_each, side_px, side_px, 3)
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        list(pool.map(_write, [folder / name for name in names], images))
    labels = [("control", "ms")[number % 2] for number in range(patients)]
    write_csv(folder / "cohort.csv", ("patient", "label"), list(zip(names, labels, strict=True)))
    return folder / "cohort.csv"


def _write(folder: Path, images: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:04d}.png", compress_level=4)


def _resized(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((side_px, side_px), Image.Resampling.BICUBIC))


def _shifted(image: NDArray[np.uint8], nth: int) -> NDArray[np.uint8]:
    return np.roll(image, (nth // SHIFTS - SHIFTS // 2, nth % SHIFTS - SHIFTS // 2), (0, 1))

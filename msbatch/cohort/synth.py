"""Synthetic cohorts of red blood cells, with a planted difference between the classes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msbatch.errors import MsbatchError
from msbatch.files import make_dir, write_csv

BACKGROUND = np.array([236.0, 228.0, 222.0])
CELL = np.array([205.0, 128.0, 132.0])
HEADER = ("patient", "label", "sex", "age", "batch")

Row = tuple[str, str, str, str, str]


def draw_cohort(folder: Path, patients: int = 8, cells: int = 40, seed: int = 0, effect: float = 1.0) -> Path:
    """Draw a cohort of two classes, both sexes in each.

    Parameters
    ----------
    folder : Path
        Gets ``images/<patient>/cell_000.png`` and ``cohort.csv``.
    patients, cells : int
        How many, and how many cells each.
    seed : int
        Decides every pixel.
    effect : float
        Strength of the planted difference: cells of class ms have less central pallor and a bumpier outline;
        0 plants none.

    Returns
    -------
    Path
        The cohort's table.

    Raises
    ------
    MsbatchError
        If the folder holds the table of another cohort.
    """
    table = folder / "cohort.csv"
    rows = [_row(number, seed) for number in range(patients)]
    _refuse_other(table, rows)
    for number, row in enumerate(rows):
        rng = np.random.default_rng([seed, number])
        own = make_dir(folder / "images" / row[0])
        stain, radius = rng.normal(0, 5, 3), rng.uniform(26, 30)
        for cell in range(cells):
            image = draw_cell(rng, radius, stain, effect if row[1] == "ms" else 0.0)
            Image.fromarray(image).save(own / f"cell_{cell:03d}.png")
    write_csv(table, HEADER, rows)
    return table


def draw_cell(
    rng: np.random.Generator, radius_px: float, stain: NDArray[np.float64], effect: float
) -> NDArray[np.uint8]:
    """Draw one cell on a pale background, uint8 of shape (h, w, 3), about 70 to 90 px."""
    height, width = rng.integers(72, 90, 2)
    rows, columns = np.mgrid[:height, :width]
    y, x = rows - height / 2 + rng.normal(0, 1), columns - width / 2 + rng.normal(0, 1)
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    size = radius_px * rng.normal(1, 0.05)
    inside = 1 / (1 + np.exp(np.clip((distance - size * _outline(rng, angle, effect)) / 0.8, -50, 50)))
    pallor = rng.normal(0.62, 0.08) * (1 - 0.6 * effect)
    centre = pallor * np.exp(-((distance / (0.45 * size)) ** 2))
    weight = (inside * (1 - centre))[..., None]
    colour = BACKGROUND * (1 - weight) + (CELL + stain) * weight
    noisy: NDArray[np.float64] = np.clip(colour + rng.normal(0, 4, colour.shape), 0, 255)
    return noisy.astype(np.uint8)


def _row(number: int, seed: int) -> Row:
    label = "ms" if number % 2 == 0 else "control"
    sex = "F" if number // 2 % 2 == 0 else "M"
    age = np.random.default_rng([seed, number, 1]).integers(25, 60)
    return f"P{number:02d}", label, sex, str(age), f"batch{number % 3}"


def _refuse_other(table: Path, rows: list[Row]) -> None:
    if not table.exists():
        return
    with table.open(encoding="utf-8", newline="") as handle:
        found = [tuple(line) for line in csv.reader(handle)]
    if found != [HEADER, *rows]:
        raise MsbatchError(f"{table} belongs to another cohort.", "Draw this one into an empty folder.")


def _outline(rng: np.random.Generator, angle: NDArray[np.float64], effect: float) -> NDArray[np.float64]:
    """Radius by angle, relative to the cell's size."""
    oval = 1 + rng.normal(0.04, 0.02) * np.cos(2 * (angle - rng.uniform(0, np.pi)))
    waves = rng.integers(6, 11)
    bumps = abs(rng.normal(0.01 + 0.04 * effect, 0.01)) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    outline: NDArray[np.float64] = oval + bumps
    return outline

"""Cohorts of synthetic cells in which the truth is known: drawn in bulk, written as image files beside a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from msbatch.cohort.synth import BACKGROUND, CELL
from msbatch.files import write_csv

SIDE_PX = 32
STAIN = np.array([-0.6, -0.7, 0.4])  # the way in which stains of classes differ, where they do

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """What is planted in a cohort. Strengths are in spreads between patients of one class; 0 plants nothing.

    Attributes
    ----------
    patients, positives : int
        How many, and how many of them are of class ms.
    females : tuple of int
        How many of the controls and of class ms; by default half of each.
    stain : float
        Class ms is stained otherwise.
    texture : float
        Class ms has coarser granules: of the same mean and variance, so that no nuisance row measures it.
    outline : float
        Class ms has a bumpier outline and less central pallor: what the row of shapes measures.
    sex_texture : float
        Women have coarser granules, whatever their class.
    cells : int
        Of each patient, on average.
    """

    patients: int = 24
    positives: int = 12
    females: tuple[int, int] | None = None
    stain: float = 0.0
    texture: float = 0.0
    outline: float = 0.0
    sex_texture: float = 0.0
    cells: int = 10


@dataclass(frozen=True)
class Traits:
    """What the cells of one patient have in common."""

    stain: Array
    radius_px: float
    pallor: float
    bumps: float
    coarse: float


def draw_planted(folder: Path, design: Design, seed: int) -> Path:
    """Draw ``images/<patient>/<cell>.bmp`` and ``cohort.csv``; give the table. The seed decides every pixel."""
    rng = np.random.default_rng([seed, design.patients, design.positives])
    classes, sexes = _assign(design, rng)
    rows = []
    for number, (label, female) in enumerate(zip(classes, sexes, strict=True)):
        name = f"P{number:02d}"
        traits = _traits(rng, design, int(label), int(female))
        count = int(rng.integers(design.cells - 2, design.cells + 3))
        (folder / "images" / name).mkdir(parents=True)
        for cell, image in enumerate(draw_cells(rng, count, traits)):
            Image.fromarray(image).save(folder / "images" / name / f"{cell:03d}.bmp")
        rows.append((name, ("control", "ms")[label], "MF"[female]))
    write_csv(folder / "cohort.csv", ("patient", "label", "sex"), rows)
    return folder / "cohort.csv"


def draw_cells(rng: np.random.Generator, count: int, traits: Traits) -> NDArray[np.uint8]:
    """Draw cells on a pale background, shape (count, SIDE_PX, SIDE_PX, 3)."""
    grid = np.arange(SIDE_PX) - (SIDE_PX - 1) / 2
    y = grid[None, :, None] + rng.normal(0, 0.7, (count, 1, 1))
    x = grid[None, None, :] + rng.normal(0, 0.7, (count, 1, 1))
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    size = traits.radius_px * rng.normal(1, 0.04, (count, 1, 1))
    inside = 1 / (1 + np.exp(np.clip((distance - size * _outline(rng, angle, traits.bumps)) / 0.6, -50, 50)))
    pallor = rng.normal(traits.pallor, 0.06, (count, 1, 1))
    weight = inside * (1 - pallor * np.exp(-((distance / (0.45 * size)) ** 2)))
    colour = BACKGROUND + (CELL + traits.stain - BACKGROUND) * weight[..., None]
    granules = inside * _granules(rng, count, traits.coarse)
    noisy = colour + 14 * granules[..., None] + rng.normal(0, 3, colour.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _assign(design: Design, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give class and sex of every patient, in an order that tells nothing."""
    negatives = design.patients - design.positives
    women = design.females or (negatives // 2, design.positives // 2)
    classes = np.repeat([0, 1], [negatives, design.positives])
    sexes = np.concatenate(
        [np.arange(size) < own for size, own in zip((negatives, design.positives), women, strict=True)]
    )
    order = rng.permutation(design.patients)
    return classes[order], sexes[order].astype(np.intp)


def _traits(rng: np.random.Generator, design: Design, label: int, female: int) -> Traits:
    return Traits(
        stain=rng.normal(0, 5, 3) + 5 * design.stain * label * STAIN,
        radius_px=float(rng.uniform(9.5, 11)),
        pallor=float(rng.normal(0.55 - 0.05 * design.outline * label, 0.05)),
        bumps=float(abs(rng.normal(0.02 + 0.01 * design.outline * label, 0.01))),
        coarse=float(
            np.clip(rng.normal(0.4 + 0.1 * (design.texture * label + design.sex_texture * female), 0.1), 0, 1)
        ),
    )


def _outline(rng: np.random.Generator, angle: Array, bumps: float) -> Array:
    """Radius by angle, relative to the cell's size."""
    count = len(angle)
    turn, phase = rng.uniform(0, 2 * np.pi, (2, count, 1, 1))
    waves = rng.integers(5, 9, (count, 1, 1))
    oval = 1 + rng.normal(0.04, 0.02, (count, 1, 1)) * np.cos(2 * angle - turn)
    return np.asarray(oval + bumps * np.cos(waves * angle + phase))


def _granules(rng: np.random.Generator, count: int, coarse: float) -> Array:
    """Give fields of mean 0 and variance 1: fine ones mixed with coarse ones."""
    parts = [gaussian_filter(rng.normal(size=(count, SIDE_PX, SIDE_PX)), (0, width, width)) for width in (0.5, 2)]
    fine, rough = (part / part.std() for part in parts)
    return np.asarray(np.sqrt(1 - coarse) * fine + np.sqrt(coarse) * rough)

"""How fast images become a store, against Pillow that only decodes them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from pictures import write_cohort
from PIL import Image
from rows import CORES, Row, alternating, processor_s, row, wall_s

from msbatch.cohort import prepare
from msbatch.cohort.features import FEATURES
from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.workers import OrderedMap, ordered_map

PATIENTS, OF_EACH, SIDE_PX = 20, 1000, 130
CANVAS_PX = 128  # by default, so that all images are shrunk a little
ROUNDS = 2


def measure() -> list[Row]:
    """Pack 20,000 PNG files, with and without all that follows the pixels themselves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_cohort(folder / "images", PATIENTS, OF_EACH, SIDE_PX, CORES)
        paths = [str(path) for path in sorted((folder / "images").rglob("*.png"))]
        sides = (
            partial(_decode_all, paths),
            partial(_stage, table, folder, SIDE_PX),
            partial(_stage, table, folder, CANVAS_PX),
            partial(_pack, table, folder, CANVAS_PX),
        )
        elapsed: list[list[float]] = [[] for _ in sides]
        timed = [partial(_timed, side, own) for side, own in zip(sides, elapsed, strict=True)]
        used = alternating(tuple(timed), ROUNDS)
    (bare, bare_s), *ours = [(median(mine), median(wall)) for mine, wall in zip(used, elapsed, strict=True)]
    before = "before features, fsync, verification and hash"
    parts = (
        (f"{before}, on a canvas of {SIDE_PX} px that takes them as they are", 0.85),
        (f"{before}, shrunk to {CANVAS_PX} px", 0.85),
        (f"in all, shrunk to {CANVAS_PX} px", 0.4),
    )
    return [
        row(
            f"pack {PATIENTS * OF_EACH:,} PNG of {SIDE_PX} px, {part}",
            f"decoding the same files with Pillow in {CORES} processes, nothing else",
            bare / mine,
            target,
            detail=f"by processor time of all processes, {mine:.1f} s, reference {bare:.1f} s, median of {ROUNDS}; "
            f"elapsed {wall:.1f} s, reference {bare_s:.1f} s",
        )
        for (part, target), (mine, wall) in zip(parts, ours, strict=True)
    ]


def _timed(side: Callable[[], None], elapsed_s: list[float]) -> float:
    return processor_s(lambda: elapsed_s.append(wall_s(side)))


def _decode_all(paths: list[str]) -> None:
    chunk = len(paths) // (8 * CORES)
    with ProcessPoolExecutor(CORES, mp_context=get_context("fork")) as pool:  # without imports
        list(pool.map(_decode, paths, chunksize=chunk))


def _decode(path: str) -> None:
    with Image.open(path) as image:
        image.load()


def _pack(table: Path, folder: Path, canvas_px: int) -> None:
    options = PackOptions(workers=CORES, size_px=canvas_px, overwrite=True)
    pack(table.parent, table, folder / "cohort.h5", options)


def _stage(table: Path, folder: Path, canvas_px: int) -> None:
    """Decode, fit, digest and write as `pack` does, without the rest of it."""
    rest = {"ordered_map": _unmeasured, "verify": lambda *_: None, "sha256": lambda _: ""}
    with patch.multiple("msbatch.cohort.pack", **rest), patch("msbatch.files.sync"):
        _pack(table, folder, canvas_px)


@contextmanager
def _unmeasured(workers: int) -> Iterator[OrderedMap]:
    with ordered_map(workers) as run:

        def without(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            return run(partial(_without_features, function), items)

        yield without


def _without_features(function: Callable[[Any], Any], item: Any) -> Any:
    prepare.measure = lambda _: np.zeros(len(FEATURES), np.float32)
    return function(item)

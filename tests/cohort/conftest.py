"""Image files made by hand, and small cohorts of them, for the tests of the cohort stage."""

import csv
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
MakeTable = Callable[..., Path]


def png_bytes(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """Join a PNG from its parts, whatever they claim; `rows` holds each row with its filter byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    return png_bytes


@pytest.fixture
def make_deep_png() -> Callable[[Array], bytes]:
    """Make a 16-bit PNG of samples of shape (h, w, c)."""

    def make(samples: Array) -> bytes:
        height, width, channels = samples.shape
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
        return png_bytes(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)

    return make


@pytest.fixture
def noise() -> Callable[..., Array]:
    """Draw 8-bit samples of a shape, the same for the same seed."""
    return lambda shape, seed=0: np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def peak_code() -> str:
    """Give a line of code that defines `peak`, the most memory a process ever held, in KiB."""
    # What getrusage tells is never below the peak of the process that started this one.
    return 'peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])'


@pytest.fixture
def make_table(tmp_path: Path) -> MakeTable:
    """Write rows as cohort.csv, the first one being the header."""

    def make(*rows: Sequence[str], encoding: str = "utf-8") -> Path:
        path = tmp_path / "cohort.csv"
        with path.open("w", encoding=encoding, newline="") as out:
            csv.writer(out).writerows(rows)
        return path

    return make


@pytest.fixture
def cohort(tmp_path: Path, make_table: MakeTable, noise: Callable[..., Array]) -> tuple[Path, Path]:
    """Four patients with three images of 20 x 16 px each; gives the folder and the table, one row per patient."""
    for number in range(4):
        folder = tmp_path / "images" / f"P{number}"
        folder.mkdir(parents=True)
        for cell in range(3):
            Image.fromarray(noise((20, 16, 3), seed=10 * number + cell)).save(folder / f"{cell}.png")
    rows = [(f"P{n}", ("control", "ms")[n % 2], ("F", "M")[n // 2], str(30 + n)) for n in range(4)]
    return tmp_path / "images", make_table(("patient", "label", "sex", "age"), *rows)

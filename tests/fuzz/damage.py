"""Stores that open as HDF5 and are no stores: what an adversary can say in that format."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from msbatch.schema import DATASETS

TEXTS = (
    "[",
    "{}",
    "[]",
    "[1]",
    '{"a": 1}',
    '["a", "b"]',
    "[" * 5000,
    "9" * 5000,
    '"\\ud800"',
    "NaN",
    "\x1b[2J",
    "x" * 70_000,
)
VALUES: tuple[Any, ...] = (
    0,
    -1,
    2**31,
    2**63,
    4.5,
    np.nan,
    [4, 4],
    b"\xff",
    h5py.Empty("f"),
    True,
    np.zeros((0,)),
    *TEXTS,
)
SHAPES = ((), (0,), (2,), (2, 4), (2, 4, 4, 3), (1 << 40,), (1 << 30, 4, 4, 3), (2, 0))
DTYPES = (
    "uint8",
    "int8",
    "uint16",
    "float32",
    "float64",
    "S64",
    "complex64",
    "bool",
    h5py.string_dtype(),
    h5py.ref_dtype,
)

Change = Callable[[random.Random, h5py.File, Path], None]


def damage_store(rng: random.Random, data: bytes, scratch: Path, outside: Path) -> bytes:
    """Make one to three changes to the bytes of a whole store; links lead to `outside`, which must not be opened."""
    scratch.write_bytes(data)
    with h5py.File(scratch, "r+", locking=False) as file:
        for _ in range(rng.choice((1, 1, 2, 3))):
            change = rng.choice(CHANGES)
            try:
                change(rng, file, outside)
            except (KeyError, ValueError, TypeError, OSError, RuntimeError, AttributeError, OverflowError, MemoryError):
                continue  # of what an earlier change took away, or of what h5py does not write
            if change in LEADING_OUT:
                break  # a further change might follow it
    return scratch.read_bytes()


def _place(rng: random.Random) -> str:
    return f"patients/{rng.choice('AB')}/{rng.choice((*DATASETS, 'source', 'more'))}"


def _attribute(rng: random.Random, file: h5py.File, _: Path) -> None:
    owner = file if rng.random() < 0.7 else file["patients/A"]
    name = rng.choice(("format", "version", "classes", "size", "settings", "features", "attributes"))
    if rng.random() < 0.2:
        del owner.attrs[name]
    owner.attrs[name] = rng.choice(VALUES)


def _gone(rng: random.Random, file: h5py.File, _: Path) -> None:
    del file[rng.choice((_place(rng), "patients/A", "patients"))]


def _array(rng: random.Random, file: h5py.File, _: Path) -> None:
    place, shape = _place(rng), rng.choice(SHAPES)
    how: dict[str, Any] = {"dtype": rng.choice(DTYPES)}
    if shape and 0 not in shape and rng.random() < 0.4:
        chunks = tuple(min(side, 4) for side in shape)
        how |= {
            "chunks": chunks,
            **rng.choice(({}, {"compression": "gzip"}, {"fletcher32": True}, {"compression": "lzf"})),
        }
    if place in file:
        del file[place]
    file.create_dataset(place, shape=shape, **how)


def _values(rng: random.Random, file: h5py.File, _: Path) -> None:
    array = file[_place(rng)]
    array[...] = rng.choice((0, 1, 2, 255, 65535, np.nan, np.inf, b"x"))


def _link(rng: random.Random, file: h5py.File, outside: Path) -> None:
    place = rng.choice((_place(rng), "patients/A", "patients/C", "patients", "more"))
    if place in file:
        del file[place]
    kind = rng.randrange(4)
    if kind == 0:
        file[place] = h5py.ExternalLink(outside, rng.choice(("/", "/patients", "/patients/A")))
    elif kind == 1:
        file[place] = h5py.SoftLink(rng.choice(("/", "/patients", "/nowhere", f"/{place}", f"/{_place(rng)}")))
    else:
        file[place] = file[rng.choice(("/", "patients", "patients/B", _place(rng)))]


def _elsewhere(rng: random.Random, file: h5py.File, outside: Path) -> None:
    place, shape = f"patients/A/{rng.choice(DATASETS)}", (2, 4, 4, 3)
    del file[place]
    if rng.random() < 0.5:
        file.create_dataset(place, shape=shape, dtype="uint8", external=[(str(outside), 0, 96)])
        return
    layout = h5py.VirtualLayout(shape, "uint8")
    layout[:] = h5py.VirtualSource(str(outside), "x", shape=shape)
    file.create_virtual_dataset(place, layout)


def _name(rng: random.Random, file: h5py.File, _: Path) -> None:
    name = rng.choice((b"\xff\xfe", b"\x1b[2J", b"..", b"x" * 300, b"a\nb", "e\u0301".encode(), b"=cmd", b" "))
    file["patients"].id.move(b"A", name)


CHANGES: tuple[Change, ...] = (_attribute, _attribute, _gone, _array, _array, _values, _link, _elsewhere, _name)
LEADING_OUT = (_link, _elsewhere)

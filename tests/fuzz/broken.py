"""Readers that break the contract, each in its own way: what the fuzz run has to notice."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path


def _raises(_folder: Path, data: bytes) -> None:
    print(1 / len(data[1:]))


def _dies(_folder: Path, _data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hangs(_folder: Path, _data: bytes) -> None:
    while True:
        pass


def _looks_outside(folder: Path, _data: bytes) -> None:
    os.close(os.open(folder.parent.parent / "outside", os.O_RDONLY | os.O_NONBLOCK))


def _writes_outside(_folder: Path, _data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")


def _starts_a_program(_folder: Path, _data: bytes) -> None:
    subprocess.run(["true"], check=True)


def _takes_all_memory(_folder: Path, _data: bytes) -> None:
    bytearray(1 << 40)


BROKEN: dict[str, Callable[[Path, bytes], None]] = {
    "that-raises": _raises,
    "that-dies": _dies,
    "that-hangs": _hangs,
    "that-looks-outside": _looks_outside,
    "that-writes-outside": _writes_outside,
    "that-starts-a-program": _starts_a_program,
    "that-takes-all-memory": _takes_all_memory,
}

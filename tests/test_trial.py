"""Stores that make HDF5 itself hang: refused all the same, in one line."""

import struct
from pathlib import Path

import pytest
from commands import Run
from runs import make_store

from msbatch import trial
from msbatch.store import StoreError
from msbatch.trial import try_store


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a store with a text so long that HDF5 runs in a circle while it looks for its end; found by fuzzing."""
    monkeypatch.setattr(trial, "LEAST_CPU_S", 2)
    path = make_store(tmp_path / "cohort.h5", {"A": [0], "B": [1]})
    data = bytearray(path.read_bytes())
    first_text = data.index(b"GCOL") + 16
    struct.pack_into("<Q", data, first_text + 8, 2**64 - 16)
    path.write_bytes(data)
    return path


def test_a_store_that_makes_hdf5_hang_is_refused(endless: Path) -> None:
    with pytest.raises(StoreError, match="it makes HDF5 read for ever") as refusal:
        try_store(endless)
    assert refusal.value.hint


@pytest.mark.parametrize("command", ["inspect", "plan"])
def test_a_command_that_is_given_one_ends_in_two_lines(endless: Path, cli: Run, command: str) -> None:
    code, _, said = cli(command, str(endless))
    assert code == 1
    assert "it makes HDF5 read for ever" in said
    assert len(said.splitlines()) == 2


def test_a_store_that_is_sound_or_merely_wrong_is_left_to_its_reader(tmp_path: Path) -> None:
    try_store(make_store(tmp_path / "cohort.h5", {"A": [0], "B": [1]}))
    (tmp_path / "wrong.h5").write_bytes(b"no HDF5")
    try_store(tmp_path / "wrong.h5")
    try_store(tmp_path / "missing.h5")

"""Files are whole or absent, private, and hashed the same everywhere."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbatch import files
from msbatch.errors import MsbatchError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    with files.atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    target.write_text("old")

    def rows() -> Iterator[tuple[str]]:
        yield ("half of the new table",)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        files.write_csv(target, ("column",), rows())
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_check_before_the_move_can_stop_it(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    target.write_text("old")

    def superseded() -> None:
        raise MsbatchError("superseded")

    with pytest.raises(MsbatchError, match="superseded"):
        files.write_json(target, {"new": True}, superseded)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_files_and_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.write_text(tmp_path / "runs" / "a" / "settings.toml", "x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "runs" / "a" / "settings.toml") == 0o600
    assert mode(tmp_path / "runs") == mode(tmp_path / "runs" / "a") == 0o700


def test_making_a_folder_leaves_an_existing_one_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)
    before = mode(shared)
    assert files.make_dir(shared / "mine") == shared / "mine"
    assert mode(shared) == before
    files.make_dir(shared / "mine")


def test_a_folder_is_not_made_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError):
        files.make_dir(tmp_path / "file")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".plan.json.tmp.0123", "plan.json", ".hidden", "notes.tmp.txt"):
        (tmp_path / name).touch()
    files.remove_temporary(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", ".hidden", "notes.tmp.txt"}


def test_what_was_left_since_a_time_is_kept(tmp_path: Path) -> None:
    for name, age in ((".a.tmp.1", 10), (".b.tmp.2", 30)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    files.remove_temporary(tmp_path, older_than=980)
    assert [path.name for path in tmp_path.iterdir()] == [".a.tmp.1"]


@given(st.binary(max_size=1000))
def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("hash") / "file"
    path.write_bytes(content)
    assert files.sha256(path) == hashlib.sha256(content).hexdigest()


@given(st.dictionaries(st.text(), json_values))
def test_the_hash_of_json_ignores_the_order_of_keys(value: dict[str, object]) -> None:
    assert files.sha256_json(dict(reversed(value.items()))) == files.sha256_json(value)


def test_the_hash_of_json_sees_every_value() -> None:
    assert files.sha256_json({"lr": 1e-3}) != files.sha256_json({"lr": 1.1e-3})
    assert files.sha256_json([1, 2]) != files.sha256_json([2, 1])


@given(json_values)
def test_json_is_read_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 5000,
        b"",
        b"\0",
        rb'{"a": ["\ud800"]}',
        rb'{"\uDFFF": 1}',
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(MsbatchError, match=r"plan\.json cannot be read as JSON"):
        files.read_json(path)
    with pytest.raises(MsbatchError, match=r"none\.json does not exist"):
        files.read_json(tmp_path / "none.json")


def test_json_may_spell_a_letter_by_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(rb'"\ud83d\ude00 \u001b"')
    assert files.read_json(tmp_path / "a.json") == "\U0001f600 \x1b"


def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(MsbatchError, match="it is no regular file"):
        files.read_json(tmp_path / "plan.json")


def test_a_table_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    files.write_csv(path, ("patient", "sex"), [("Zoë", "f"), ('a "b", c', "m")])
    assert path.read_bytes() == 'patient,sex\nZoë,f\n"a ""b"", c",m\n'.encode()

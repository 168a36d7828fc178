"""Files that are either whole or absent: atomic writing, hashing and JSON."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from msbatch.access import dir_mode, file_mode, let_read
from msbatch.errors import MsbatchError, failing_disk_named


def make_dir(path: Path, group: int | None = None) -> Path:
    """Create a folder, and its missing parents, that nobody can enter but the user and, where one is given, a group."""
    missing = [folder for folder in (*reversed(path.parents), path) if not folder.is_dir()]
    for folder in missing:  # mkdir(parents=True) would open the parents to others
        folder.mkdir(mode=dir_mode(), exist_ok=True)
        if group is not None:
            let_read(folder, group)
    return path


@contextmanager
def atomic_path(target: Path, before_commit: Callable[[], None] | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `target`; move it into place once it is whole and on disk.

    Parameters
    ----------
    target : Path
        Where the finished file belongs. An existing file stays until the new one replaces it.
    before_commit : callable, optional
        Called just before the move; raising from it leaves the old file in place.

    Yields
    ------
    Path
        A fresh, empty file; `msbatch.access` says who may read it. It is removed when the block raises.

    Raises
    ------
    OSError
        As the file system gives it: no space left, read-only folder, ...
    """
    make_dir(target.parent)
    temporary = target.with_name(f".{target.name}.tmp.{uuid.uuid4().hex}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, file_mode()))
    try:
        yield temporary
        sync(temporary)
        if before_commit is not None:
            before_commit()
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporary(folder: Path, older_than: float = math.inf) -> None:
    """Remove what a killed writer left in a folder; nothing that was written to at or after a time."""
    for leftover in folder.glob(".*.tmp.*"):
        with suppress(FileNotFoundError):
            if leftover.stat().st_mtime < older_than:
                leftover.unlink()


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read it; of a pipe or a device, which may never end or never begin, only the name is read.

    Raises
    ------
    OSError
        Also if it is no regular file.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def read_text(path: Path) -> str:
    """Read a regular file as UTF-8; raises OSError, UnicodeDecodeError, or DiskError if the disk fails."""
    with failing_disk_named(path), open_regular(path) as file:
        return file.read().decode("utf-8")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises
    ------
    DiskError
        If the disk fails.
    OSError
        If the file cannot be read for another reason.
    """
    with failing_disk_named(path), path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_beside(path: Path) -> Path:
    """Where the hash of a file stands that has it beside it, in the format of sha256sum."""
    return path.with_name(f"{path.name}.sha256")


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path, text: str, before_commit: Callable[[], None] | None = None) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_path(path, before_commit) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, before_commit: Callable[[], None] | None = None) -> None:
    """Write a JSON file atomically, indented for human readers."""
    write_text(path, json_text(value), before_commit)


def json_text(value: Any) -> str:
    """Give a JSON value as text, indented for human readers."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    MsbatchError
        If the file is missing or is not JSON; the message names it.
    DiskError
        If the disk fails.
    """
    try:
        text = read_text(path)
        value = json.loads(text)
        if "\\u" in text:
            json_text(value).encode()  # half a surrogate pair is no text, and nobody could write it again
        return value
    except FileNotFoundError:
        raise MsbatchError(f"{path} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number too long, or nested too deeply
        raise MsbatchError(f"{path} cannot be read as JSON: {error}.") from None


def write_csv(
    path: Path,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    before_commit: Callable[[], None] | None = None,
) -> None:
    """Write a table atomically, as UTF-8 CSV with one header line and Unix line ends."""
    with atomic_path(path, before_commit) as temporary:
        fill_csv(temporary, header, rows)


def fill_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table into a file that nobody reads yet; see `write_csv`."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

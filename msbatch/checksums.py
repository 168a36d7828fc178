"""SHA256SUMS: the hashes of the files of a folder, in the format of ``sha256sum -c``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from msbatch.errors import MsbatchError, failing_disk_named
from msbatch.files import sha256

NAME = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def fill_sums(sums: Path, files: Mapping[str, Path], kept: Mapping[str, str] | None = None) -> None:
    """Write the hashes of files into a file that nobody reads yet.

    Parameters
    ----------
    sums : Path
        To be moved into the folder as `NAME`, after all that it vouches for.
    files : mapping of str to Path
        What is hashed, by the name that it has or will have in the folder.
    kept : mapping of str to str, optional
        Further names, each with a hash that is taken over as it is.
    """
    found = {**(kept or {}), **{name: sha256(path) for name, path in files.items()}}
    sums.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(found.items())), encoding="utf-8")


def read_sums(folder: Path) -> dict[str, str]:
    """Read the hash of each recorded file, by its name relative to the folder; empty where none is recorded.

    Raises
    ------
    MsbatchError
        If the file of hashes is damaged.
    DiskError
        If the disk fails.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    with failing_disk_named(path):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    if not all(found):
        raise MsbatchError(f"{path} is damaged.", "Write the tables anew with: msbatch reduce")
    return {match[2]: match[1] for match in found if match}

"""Where a secret can be seen: in the bytes of files, in their names, and in what processes show of themselves."""

from __future__ import annotations

import base64
import gzip
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROCESSES = Path("/proc")


def needles(secret: bytes) -> set[bytes]:
    """Give what a secret looks like in lower case: as it is, in wider characters, as hexadecimal digits, in base64."""
    text = secret.decode("latin-1")
    spelled = {secret, text.encode("utf-16-le"), text.encode("utf-16-be"), text.encode("utf-32-le")}
    # In base64 a text looks three ways, by where it begins; the characters at its ends also hold of its neighbours.
    encoded = {base64.b64encode(b"\0" * shift + secret)[4 if shift else 0 : -4] for shift in range(3)}
    return {spelling.lower() for spelling in spelled | {secret.hex().encode()} | encoded}


def seen_in_files(folder: Path, *secrets: bytes) -> set[Path]:
    """Give the files and folders below a folder that show one of the secrets, relative to it."""
    wanted = set().union(*map(needles, secrets))
    found = set()
    for path in folder.rglob("*"):
        contents = [str(path.relative_to(folder)).encode(), *_contents(path)]
        if any(needle in content.lower() for content in contents for needle in wanted):
            found.add(path.relative_to(folder))
    return found


@contextmanager
def watched_processes() -> Iterator[list[bytes]]:
    """Collect what all processes show of themselves while this block runs: their arguments and environment."""
    seen: set[bytes] = set()
    told: list[bytes] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen.update(_shown())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield told
    finally:
        ended.set()
        watcher.join()
        told += seen


def _shown() -> Iterator[bytes]:
    for process in PROCESSES.glob("[0-9]*"):
        for name in ("cmdline", "environ", "comm"):
            try:
                yield (process / name).read_bytes()
            except OSError:  # it ended
                continue


def _contents(path: Path) -> Iterator[bytes]:
    if path.is_symlink() or not path.is_file():
        return
    content = path.read_bytes()
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())

"""One process that changes valid files and reads them, keeping those that take a reader to new lines of code."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from readers import OUTSIDE, Reader, readers

from msbatch.errors import MsbatchError
from msbatch.trial import CODE

HANG_S = 10  # of work; a machine may be busy with something else
WAIT_S = 60  # of whatever else, such as a pipe without a writer
MEMORY_BYTES = 2 << 30  # beyond what the process has once everything is imported
WATCHED = ("/msbatch/", "/tifffile/", "/PIL/", "/tomllib/", "/safetensors/", "/_weights_only_unpickler", "/numpy/lib/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "shutil.rmtree")
FORBIDDEN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "pickle.find_class",
    "exec",
)
LONGEST_MESSAGE = 5000


class Watch:
    """What a reader does while it reads: the lines it comes to, and what it must not do."""

    def __init__(self, folder: Path) -> None:
        self.lines: set[tuple[CodeType, int, int]] = set()
        self.offences: list[str] = []
        self._on = False
        self._inside = str(folder)
        self._outside = str(folder.parent / OUTSIDE)
        self._watched: dict[CodeType, bool] = {}
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.offences.clear()
        self._on = True
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(None)
            self._on = False

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        watched = self._watched.get(code)
        if watched is None:
            watched = self._watched[code] = any(part in code.co_filename for part in WATCHED)
        if not watched:
            return None
        last, lines = 0, self.lines

        def line(frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal last
            if event == "line":
                lines.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            written = bool((arguments[2] or 0) & WRITING) and not path.startswith((self._inside, "/dev/null"))
            if written or path.startswith(self._outside):
                self.offences.append(f"opened {path}")
        elif event in CHANGING and not self._is_allowed(event, os.path.realpath(os.fsdecode(arguments[0]))):
            self.offences.append(f"{event} {arguments[0]}")
        elif event in FORBIDDEN and not _is_needed(event, arguments):
            self.offences.append(f"{event} {str(arguments)[:200]}")

    def _is_allowed(self, event: str, path: str) -> bool:
        return path.startswith(self._inside) or (event == "os.mkdir" and Path(path).is_dir())


def _is_needed(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "subprocess.Popen":
        return CODE in arguments[1]  # the trial of a store is what keeps it from the reader
    return event == "exec" and _is_of_import(arguments[0])


def _is_of_import(code: CodeType) -> bool:
    return code.co_filename.startswith(("<frozen", sys.prefix, sys.base_prefix, "<string>"))


class Explorer:
    """Reads changed files, one after the other, and keeps those that break the contract."""

    def __init__(self, name: str, reader: Reader, folder: Path, crashes: Path) -> None:
        self.name, self.reader, self.folder, self.crashes = name, reader, folder, crashes
        self.watch = Watch(folder)
        self.inputs = self.offences = 0
        self._known: set[str] = set()

    def explore(self, corpus: list[bytes], seed: int, seconds: float, inputs: int) -> None:
        """Go on from valid files until the time is over or so many were read."""
        rng = random.Random(seed)
        for data in corpus:
            self.read(data)
        ends = time.monotonic() + seconds
        for number in count():
            if number >= inputs or time.monotonic() > ends:
                return
            signal.alarm(WAIT_S)
            data = self.reader.mutate(
                rng, rng.choice(corpus[-200:] if rng.random() < 0.5 else corpus), rng.choice(corpus)
            )
            before = len(self.watch.lines)
            self.read(data)
            if len(self.watch.lines) > before and len(corpus) < 2000:
                corpus.append(data)

    def read(self, data: bytes) -> None:
        own = self.folder / "own"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        (self.folder / "input").write_bytes(data)  # it stays where the process dies
        self.inputs += 1
        (self.folder / "inputs").write_text(str(self.inputs))
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        signal.alarm(WAIT_S)
        try:
            with self.watch.watching():
                self.reader.read(own, data)
        except MsbatchError as error:
            if len(str(error)) > LONGEST_MESSAGE or _steers(error.problem.replace("\n", "")):
                self.keep(data, f"message of {len(str(error))} characters: {str(error)[:300]!r}")
        except BaseException as error:
            self.keep(data, f"{_place(error)}\n{traceback.format_exc()[-3000:]}")
        finally:
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
        for offence in self.watch.offences[:1]:
            self.keep(data, offence)

    def keep(self, data: bytes, what: str) -> None:
        kind = what.splitlines()[0]
        if kind in self._known:
            return
        self._known.add(kind)
        self.offences += 1
        stem = self.crashes / f"{self.name}-{hashlib.sha256(data).hexdigest()[:8]}"
        stem.with_suffix(".input").write_bytes(data)
        stem.with_suffix(".txt").write_text(what)


def _steers(text: str) -> bool:
    """Say whether a terminal might do anything but show a text; what Unicode gave to nobody does nothing."""
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


def _place(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/msbatch/" in frame.filename]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {last.filename}:{last.lineno}"


def limit_memory() -> None:
    """Let this process have so much more memory and no more."""
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader")
    parser.add_argument("folder", type=Path)
    parser.add_argument("crashes", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--inputs", type=int, default=10**9)
    parser.add_argument("--read", type=Path, help="read this file once and show what comes of it")
    given = parser.parse_args()
    folder = given.folder.resolve()
    (folder / "seeds").mkdir(parents=True)
    explorer = Explorer(given.reader, readers(folder)[given.reader], folder, given.crashes)
    seeds = list(explorer.reader.seeds(folder / "seeds"))
    limit_memory()
    if given.read:
        explorer.read(given.read.read_bytes())
    else:
        explorer.explore(seeds, given.seed, given.seconds, given.inputs)
    print(json.dumps({"inputs": explorer.inputs, "crashes": explorer.offences, "lines": len(explorer.watch.lines)}))


if __name__ == "__main__":
    main()

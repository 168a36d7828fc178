"""Read damaged and hostile files for a while: ``python tests/fuzz/fuzz.py --minutes 30``.

Each reader runs in a process of its own with bounded memory; one that dies or hangs is a crash, too. What breaks the
contract (a reader returns, or raises MsbatchError, within 10 s of work, and touches nothing outside its folder) is kept
in the folder of crashes as the file and what it did, and read again with ``--readers NAME --read FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("image", "table", "store", "plan", "settings", "predictions", "embedding", "records", "weights")
GUARDED = {"store": "store-after-a-trial"}  # what kills a reader is read again as commands do that do not know the file
RESTARTS = 100


@dataclass
class Outcome:
    """What came of one reader."""

    inputs: int = 0
    crashes: int = 0
    lines: int = 0
    saved: int = 0  # times that a trial in another process kept the file from the reader


def fuzz(name: str, crashes: Path, seed: int, seconds: float = 1e9, inputs: int = 10**9) -> Outcome:
    """Fuzz one reader; a process that dies is followed by another, until it died too often."""
    outcome, ends = Outcome(), time.monotonic() + seconds
    for restart in range(RESTARTS):
        left_s, left = ends - time.monotonic(), inputs - outcome.inputs
        if left_s <= 0 or left <= 0:
            break
        options = {"--seed": seed + 1000 * restart, "--seconds": left_s, "--inputs": left}
        _one_process(name, crashes, outcome, [str(part) for option in options.items() for part in option])
    return outcome


def read_again(name: str, crashes: Path, file: Path) -> Outcome:
    """Read one file that was kept."""
    outcome = Outcome()
    _one_process(name, crashes, outcome, ["--read", str(file.resolve())])
    return outcome


def _one_process(name: str, crashes: Path, outcome: Outcome, options: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="msbatch-fuzz-") as scratch:
        folder = Path(scratch) / "reader"
        os.mkfifo(Path(scratch) / "outside")  # whoever opens it hangs
        crashes.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / "child.py"), name, str(folder), str(crashes), *options]
        paths = os.pathsep.join(map(str, (HERE, HERE.parent, HERE.parent.parent)))
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
            outcome.crashes += found["crashes"]
            outcome.lines = max(outcome.lines, found["lines"])
            outcome.inputs += found["inputs"]
            return
        outcome.inputs += int((folder / "inputs").read_text()) if (folder / "inputs").exists() else 0
        if name in GUARDED and not read_again(GUARDED[name], crashes, folder / "input").crashes:
            outcome.saved += 1
            return
        outcome.crashes += 1
        stem = crashes / f"{name}-died-{uuid.uuid4().hex[:8]}"
        stem.with_suffix(".txt").write_text(f"exit code {done.returncode}\n{done.stderr[-3000:]}")
        if (folder / "input").exists():
            shutil.copy(folder / "input", stem.with_suffix(".input"))


def main() -> int:
    """Fuzz every reader for its share of the time, and sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", default=",".join(NAMES))
    parser.add_argument("--crashes", type=Path, default=Path(tempfile.gettempdir()) / "msbatch-fuzz-crashes")
    parser.add_argument("--read", type=Path, help="read only this file, with the one reader that is named")
    given = parser.parse_args()
    names = given.readers.split(",")
    total = Outcome()
    for name in names:
        seconds = 60 * given.minutes / len(names)
        one = (
            read_again(name, given.crashes, given.read)
            if given.read
            else fuzz(name, given.crashes, given.seed, seconds)
        )
        saved = f", {one.saved} stopped by a trial" if one.saved else ""
        print(f"{name}: {one.inputs} inputs, {one.lines} steps of code, {one.crashes} crashes{saved}", flush=True)
        total.inputs += one.inputs
        total.crashes += one.crashes
    if total.crashes:
        print(f"See {given.crashes}.")
    print(f"fuzz: {total.inputs} inputs, {len(names)} readers, {total.crashes} crashes")
    return 1 if total.crashes else 0


if __name__ == "__main__":
    raise SystemExit(main())

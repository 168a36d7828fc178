"""Draws every planted truth as often as the methods ask, and says in one line each whether it is found.

Outcomes are kept by design, seed and the sources that made them, so that the same command goes on where it was
stopped. Ends in a non-zero code if a truth is not found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from bounds import Finding, Outcome
from planted import Design
from truths import FAULTS, TRUTHS, Fault, Truth, outcome

import msbatch

Job = tuple[Design, int]


class Outcomes:
    """Outcomes in a file, one a line; what other sources made, or a killed run left half written, is not looked at."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"outcomes-{_sources()}.jsonl"
        self.found: dict[str, Outcome] = {}
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def lacking(self, truths: Sequence[Truth]) -> list[Job]:
        """Give what is still to be drawn."""
        wanted = {_key(job): job for truth in truths for job in jobs(truth)}
        return [job for key, job in wanted.items() if key not in self.found]

    def add(self, job: Job, found: Outcome) -> None:
        """Keep one more."""
        self.found[_key(job)] = found
        with self.path.open("a", encoding="utf-8") as out:
            # A line that a killed run left half written must not swallow this one.
            out.write("\n" + json.dumps({"job": _key(job), **asdict(found)}) + "\n")

    def of(self, truth: Truth) -> list[Outcome]:
        """Give all outcomes of a truth."""
        return [self.found[_key(job)] for job in jobs(truth)]

    def _read(self, line: str) -> None:
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            return
        key = values.pop("job")
        self.found[key] = Outcome(**values)


def jobs(truth: Truth) -> list[Job]:
    """Give a truth's cohorts: a design, and seeds from 0."""
    return [(truth.design, seed) for seed in range(truth.cohorts)]


def check_all(
    truths: Sequence[Truth], faults: Sequence[Fault], outcomes: Outcomes, processes: int
) -> Iterator[Finding]:
    """Draw what is lacking; print a line for each truth as soon as it can be judged, and yield what was found."""
    for fault in faults:
        with tempfile.TemporaryDirectory() as folder:
            yield _say(fault.name, fault.check(Path(folder)))
    for truth in truths:
        _draw(outcomes, truth, processes)
        yield _say(truth.name, truth.check(truth.design, outcomes.of(truth)))


def main(arguments: Sequence[str]) -> int:
    """Give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=Path, default=Path(tempfile.gettempdir()) / "msbatch-truth")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="truths whose name holds this, such as (b)")
    given = parser.parse_args(arguments)
    truths = [truth for truth in TRUTHS if given.only in truth.name]
    faults = [fault for fault in FAULTS if given.only in fault.name]
    found = list(check_all(truths, faults, Outcomes(given.outcomes), given.processes))
    failed = sum(not one.holds for one in found)
    print(f"{len(found) - failed} of {len(found)} planted truths hold.")
    return 1 if failed or not found else 0


def _draw(outcomes: Outcomes, truth: Truth, processes: int) -> None:
    lacking, start = outcomes.lacking([truth]), time.monotonic()
    if processes <= 1:
        for job in lacking:
            outcomes.add(job, outcome(*job))
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            running = {pool.submit(outcome, *job): job for job in lacking}
            for done in as_completed(running):
                outcomes.add(running[done], done.result())
    if lacking:
        print(f"{len(lacking)} cohorts in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def _say(name: str, found: Finding) -> Finding:
    print(f"{'holds' if found.holds else 'FAILS'}  {name}: {found.figures}", flush=True)
    return found


def _key(job: Job) -> str:
    return json.dumps([asdict(job[0]), job[1]])


def _sources() -> str:
    """Give a digest of the sources that outcomes depend on: those that are loaded."""
    roots = (Path(msbatch.__file__).parent, Path(__file__).parent)
    loaded = {Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    own = sorted(path for path in loaded if any(root in path.parents for root in roots))
    return hashlib.sha256(b"".join(path.read_bytes() for path in own)).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

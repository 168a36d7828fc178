"""Faults on a real cluster: draw them from a seed, inject them, and see that every study comes to the same tables.

As root: make faults. A campaign that was stopped goes on where it was; so does one
that lost a study, with what it lost. Other code begins anew.
"""

import argparse
import hashlib
import json
import os
import queue
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from draw import Injection, chosen, draw, live_tasks
from grounds import Grounds, record_of, sandbox_of
from slurm_cluster import CHECKOUT
from study import Study
from trial import Record, Trial
from undisturbed import run_undisturbed

FIRST_PORT = 17200
OUTCOMES = ("healed", "rerun", "lost")
CODE = ("msbatch/**/*.py", "jobs/*", "containers/*", "requirements.lock", "tests/cluster/**/*.py", "tests/cluster/*.sh")

_printing = threading.Lock()


class Journal:
    """What is finished, one JSON object a line, so that a stopped campaign goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def read(self) -> dict[str, Record]:
        found = {}
        for line in self.path.read_text().splitlines() if self.path.is_file() else []:
            with suppress(json.JSONDecodeError):  # the campaign was stopped while it wrote
                record = Record(**json.loads(line))
                found[record.key] = record
        return found

    def add(self, records: Sequence[Record]) -> None:
        with self._lock, self.path.open("a") as out:
            out.writelines(json.dumps(asdict(record)) + "\n" for record in records)


def left(studies: Iterable[list[Injection]], done: dict[str, Record]) -> list[list[Injection]]:
    """Give the studies of which something is not finished, or was lost."""
    return [study for study in studies if any(one.key not in done or done[one.key].outcome == "lost" for one in study)]


def last_line(studies: Sequence[list[Injection]], done: dict[str, Record]) -> tuple[str, int]:
    """Give the campaign's last line, and its exit code: 0 only where all was injected and nothing lost."""
    wanted = [injection.key for study in studies for injection in study]
    counted = Counter(done[key].outcome for key in wanted if key in done)
    total = sum(counted.values())
    line = f"faults: {total} injected, " + ", ".join(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES)
    return line, int(total < len(wanted) or counted["lost"] > 0)


def code_hash() -> str:
    """Hash what a campaign tests and the campaign itself, so that nothing another version did counts."""
    paths = sorted(path for pattern in CODE for path in CHECKOUT.glob(pattern) if path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(CHECKOUT)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:8]


def unpack(base: Path, grounds: Grounds) -> None:
    """Unpack the image once, for the studies of all workers."""
    sandbox = sandbox_of(base, grounds.image)
    if not sandbox.is_dir():
        say("unpacking the image")
        made = base / "unpacking"
        shutil.rmtree(made, ignore_errors=True)
        grounds.run("apptainer", "--silent", "build", "--sandbox", made, grounds.image, cwd=base)
        count = sum(len(folders) + len(files) for _, folders, files in os.walk(made)) + 1
        record_of(sandbox).write_text(f"{count}\n")  # as the launcher does
        made.rename(sandbox)


def inject_all(studies: list[list[Injection]], base: Path, workers: Sequence[Grounds], end: float) -> None:
    """Let every worker take one study after the other, until none is left or the time is up."""
    waiting: queue.SimpleQueue[tuple[int, list[Injection]]] = queue.SimpleQueue()
    for numbered in enumerate(studies):
        waiting.put(numbered)
    journal = Journal(base / "journal.jsonl")

    def work(grounds: Grounds) -> None:
        while time.monotonic() < end and not waiting.empty():
            number, injections = waiting.get()
            study = Study(grounds, f"study-{number:02d}", injections[0].runtime, base, live_tasks(injections))
            records = Trial(study, injections).run()
            journal.add(records)
            for record in records:
                say(record.line)
            if all(record.outcome != "lost" for record in records):
                shutil.rmtree(study.folder)

    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(work, workers))


def say(words: str) -> None:
    with _printing:
        print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides tasks, steps and what meets in one study")
    parser.add_argument("--kinds", default="", help='only these: "scancel; requeue / sif"')
    parser.add_argument("--workers", type=int, default=2, help="studies at once, each on a cluster of its own")
    parser.add_argument("--minutes", type=float, default=60, help="no study is begun later than this")
    parser.add_argument("--image", type=Path, help="a container image, instead of building the one of the checkout")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/msbatch-faults"))  # noqa: S108
    given = parser.parse_args(words)
    end = time.monotonic() + given.minutes * 60
    base = given.folder / f"seed-{given.seed}-{code_hash()}"
    base.mkdir(parents=True, exist_ok=True)
    studies = draw(given.seed, chosen(given.kinds))
    workers = [Grounds(given.folder / f"cluster-{n}", FIRST_PORT + 100 * n) for n in range(given.workers)]
    journal = Journal(base / "journal.jsonl")
    todo = left(studies, journal.read())
    if todo:
        for grounds in workers:
            grounds.up(given.image)
            grounds.clear()
        say("the undisturbed study")
        run_undisturbed(base, workers[0])
        unpack(base, workers[0])
        inject_all(todo, base, workers, end)
    if todo:
        for grounds in workers:
            grounds.down()
    line, code = last_line(studies, journal.read())
    if unfinished := left(studies, journal.read()):
        print(f"{len(unfinished)} of {len(studies)} studies are not finished, or lost something: run this again")
    print(line)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Faults on a real cluster: draw them from a seed, inject them, and see that every study comes to the same tables.

As root: python tests/cluster/faults/campaign.py --seed 1. A campaign that was stopped goes on where it was; so does one
that lost a study, with what it lost.
"""

import argparse
import json
import queue
import random
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from grounds import USER, Grounds
from kinds import KINDS, Kind
from study import BACKBONE, SETTINGS, TABLES, TASKS, Study, StudyError, sandbox_of

from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort

FIRST_PORT = 17200
STEPS_TO_STRIKE = range(5, 20, 5)
DISKS = {"scratch": "12m", "runs": "96m"}
OUTCOMES = ("healed", "rerun", "lost")

_printing = threading.Lock()


@dataclass(frozen=True)
class Injection:
    """One fault: its kind, the task that it hits, and the step at which it does."""

    kind: str
    runtime: str
    task: int
    step: int

    @property
    def key(self) -> str:
        return f"{self.kind} / {self.runtime}"


@dataclass(frozen=True)
class Record:
    """What came of an injection."""

    kind: str
    runtime: str
    task: int
    step: int
    outcome: str
    said: str
    seconds: int

    @property
    def key(self) -> str:
        return f"{self.kind} / {self.runtime}"

    @property
    def line(self) -> str:
        where = f"task {self.task} at step {self.step}"
        return f"{self.outcome:6}  {self.kind:28} {self.runtime:8} {where:17} {self.seconds:4} s  {self.said}"


# --- drawing -------------------------------------------------------------------------------------------


def draw(seed: int, kinds: Sequence[Kind] = KINDS) -> list[list[Injection]]:
    """Draw the studies of a campaign: each is a list of injections, at most one per task unless it is refused."""
    rng = random.Random(seed)
    studies: list[list[Injection]] = []
    for runtime in ("sif", "sandbox"):
        own = [kind for kind in kinds if runtime in kind.runtimes]
        studies += _of_tasks([kind for kind in own if kind.when in ("held", "task")], runtime, rng)
        studies += [[_inject(kind, runtime, rng)] for kind in own if kind.when == "alone"]
    rng.shuffle(studies)
    for when in ("before", "submit"):
        _spread(studies, [kind for kind in kinds if kind.when == when], rng)
    return studies


def chosen(words: str) -> list[Kind]:
    """Give the kinds of a list such as ``scancel; requeue / sif``; all where it is empty."""
    wanted = [word.strip() for word in words.split(";") if word.strip()]
    known = {name for kind in KINDS for name in (kind.name, *(f"{kind.name} / {one}" for one in kind.runtimes))}
    if set(wanted) - known:
        raise SystemExit(f"There is no kind {sorted(set(wanted) - known)[0]!r}: see kinds.py.")
    left = [
        replace(kind, runtimes=tuple(one for one in kind.runtimes if _is_wanted(kind, one, wanted))) for kind in KINDS
    ]
    return [kind for kind in left if kind.runtimes]


def _is_wanted(kind: Kind, runtime: str, wanted: list[str]) -> bool:
    return not wanted or kind.name in wanted or f"{kind.name} / {runtime}" in wanted


def _of_tasks(kinds: list[Kind], runtime: str, rng: random.Random) -> list[list[Injection]]:
    rng.shuffle(kinds)
    studies = []
    for number in range(-(-len(kinds) // TASKS)):
        tasks = rng.sample(range(TASKS), TASKS)
        own = kinds[number :: -(-len(kinds) // TASKS)]
        studies.append([_inject(kind, runtime, rng, task) for kind, task in zip(own, tasks, strict=False)])
    return studies


def _inject(kind: Kind, runtime: str, rng: random.Random, task: int | None = None) -> Injection:
    return Injection(kind.name, runtime, rng.randrange(TASKS) if task is None else task, rng.choice(STEPS_TO_STRIKE))


def _spread(studies: list[list[Injection]], kinds: Iterable[Kind], rng: random.Random) -> None:
    """Give kinds that hit no task to studies that have another fault too; a study is submitted in one way only."""
    for kind in kinds:
        runtime = kind.runtimes[0]
        free = [study for study in studies if study[-1].runtime == runtime and _is_plain(study)]
        if not free:
            free = [[]]
            studies += free
        rng.choice(free).insert(0, _inject(kind, runtime, rng))


def by_name(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


def _is_plain(study: list[Injection]) -> bool:
    """Say whether a study is submitted in the ordinary way, to the ordinary cluster."""
    kinds = [by_name(injection.kind) for injection in study]
    return all(kind.when not in ("held", "submit") and "--no-accounting" not in kind.variant for kind in kinds)


# --- one study -------------------------------------------------------------------------------------------


class Trial:
    """A study and the faults that are injected into it."""

    def __init__(self, study: Study, injections: list[Injection]) -> None:
        self.study = study
        self.injections = injections
        self._began: dict[str, float] = {}
        self._problems: dict[str, str] = {}

    def run(self) -> list[Record]:
        """Inject, wait, compare, run again what is missing, and compare again."""
        try:
            self._prepare()
            self._strike()
            self.study.finish()
            reasons = self._judge()
        except Exception as error:  # whatever it was, the injections of this study are lost
            return [self._record(injection, "lost", _line(error)) for injection in self.injections]
        finally:
            self._clear()
        return [self._decide(injection, reasons) for injection in self.injections]

    @property
    def _variant(self) -> list[str]:
        return [word for injection in self.injections for word in by_name(injection.kind).variant]

    def _of(self, *when: str) -> list[Injection]:
        return [injection for injection in self.injections if by_name(injection.kind).when in when]

    def _prepare(self) -> None:
        study, kinds = self.study, [by_name(injection.kind) for injection in self.injections]
        study.grounds.start(*self._variant)
        study.make()
        for disk in sorted({kind.disk for kind in kinds if kind.disk}):
            study.mount(study.folder / disk, DISKS[disk])
        study.take_over_the_rest()
        if study.runtime == "sandbox":
            study.share_sandbox()
        hold = ("--extra=--hold",) if self._of("held") else ()
        study.options = (*(word for kind in kinds for word in kind.options), *hold)

    def _strike(self) -> None:
        for injection in [*self._of("before"), *self._of("submit")]:
            self._inject(injection)
        if not self._of("submit"):
            self.study.submit()
        for injection in self._of("held"):
            self._inject(injection)
        self.study.release()
        running = self._of("task", "alone")
        with ThreadPoolExecutor(max(1, len(running))) as pool:
            list(pool.map(self._inject, running))

    def _inject(self, injection: Injection) -> None:
        self._began[injection.kind] = time.monotonic()
        try:
            by_name(injection.kind).strike(self.study, injection.task, injection.step)
        except Exception as error:  # the study goes on, and the other faults in it count
            self._problems[injection.kind] = _line(error)

    def _judge(self) -> dict[int, str]:
        """Say which tasks were named as missing, and why; by then the tables are those of the undisturbed run."""
        reasons = self._missing()
        if reasons:
            self.study.grounds.start(*self._variant)
            self.study.rerun()
            self.study.finish()
            again = self._missing()
            if again:
                raise StudyError(f"after the rerun {again} is missing, before it {reasons}")
        if self.study.differences():
            raise StudyError(f"other tables than undisturbed: {self.study.differences()}")
        leftovers = self.study.leftovers()
        if leftovers:
            raise StudyError(f"left behind: {leftovers[:4]}")
        return reasons

    def _missing(self) -> dict[int, str]:
        status = self.study.status()
        reasons = {task["index"]: task["reason"] for task in status["tasks"] if task["phase"] != "done"}
        if not all(task["phase"] in ("done", "failed") for task in status["tasks"]):
            raise StudyError(f"status says {[task['phase'] for task in status['tasks']]}")
        if status["reducer"]["phase"] != ("partial" if reasons else "done"):
            raise StudyError(f"the reducer is {status['reducer']}, missing is {reasons}")
        if self.study.missing() != sorted(reasons):
            raise StudyError(f"missing.csv has {self.study.missing()}, status names {reasons}")
        return reasons

    def _decide(self, injection: Injection, reasons: dict[int, str]) -> Record:
        kind = by_name(injection.kind)
        own = _attributed(self.injections)
        stray = sorted(set(reasons) - own)
        reason = reasons.get(injection.task, "")
        outcome = "rerun" if reason else "healed"
        problem = self._problems.get(injection.kind, "")
        if stray:
            problem = f"{problem} tasks that nothing was done to failed: {[reasons[task] for task in stray]}"
        elif kind.when not in ("before", "submit"):
            problem = problem or self._unexpected(kind, injection, reason)
        else:
            outcome, reason = "healed", ""
        return self._record(injection, "lost" if problem else outcome, problem or reason)

    def _unexpected(self, kind: Kind, injection: Injection, reason: str) -> str:
        outcome = "rerun" if reason else "healed"
        if kind.outcome not in ("", outcome):
            return f"{outcome} instead of {kind.outcome}: {reason}"
        if reason and not re.search(kind.words, reason):
            return f"the reason does not say why: {reason}"
        if kind.restarts and len(self.study.starts(injection.task)) < 2:
            return "it was never started again"
        return ""

    def _record(self, injection: Injection, outcome: str, said: str) -> Record:
        seconds = time.monotonic() - self._began.get(injection.kind, time.monotonic())
        return Record(**asdict(injection), outcome=outcome, said=said, seconds=round(seconds))

    def _clear(self) -> None:
        self.study.grounds.clear()
        self.study.unmount()


def live_tasks(injections: list[Injection]) -> list[int]:
    """Give the tasks that a study runs: those that are struck, and at least one beside."""
    struck = {one.task for one in injections if by_name(one.kind).when not in ("before", "submit")} or {0}
    return sorted(struck if len(struck) > 1 else {*struck, (min(struck) + 1) % TASKS})


def _attributed(injections: list[Injection]) -> set[int]:
    """Give the tasks that may fail: all of them, where a fault that hits more than one is meant to be run again."""
    if any(_hits_all(by_name(injection.kind)) for injection in injections):
        return set(range(TASKS))
    return {injection.task for injection in injections}


def _hits_all(kind: Kind) -> bool:
    return kind.when == "alone" and kind.disk == "runs"


def _line(error: BaseException) -> str:
    return " ".join(f"{error or type(error).__name__}".split())[:400]


# --- the whole campaign -------------------------------------------------------------------------------------


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


def last_line(records: Iterable[Record]) -> tuple[str, int]:
    """Give the campaign's last line, and its exit code: 0 only where something was injected and nothing lost."""
    counted = Counter(record.outcome for record in records)
    total = sum(counted.values())
    line = f"faults: {total} injected, " + ", ".join(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES)
    return line, int(total == 0 or counted["lost"] > 0)


def prepare(base: Path, grounds: Grounds) -> None:
    """Draw the cohort, run the study undisturbed on this machine, and unpack the image once."""
    if not (base / "local" / "cohort.h5").is_file():
        local = base / "local"
        table = draw_cohort(local, patients=TASKS, cells=12, seed=1)
        pack(local / "images", table, local / "cohort.h5", PackOptions(size_px=48))
        (local / "msbatch.toml").write_text(SETTINGS)
        shutil.rmtree(local / "images")
        grounds.root("chown", "--recursive", f"{USER}:", base)
    if not (base / "expected").is_dir():
        say("the undisturbed study")
        done = grounds.user("msbatch", "submit", "--local", "--backbones", BACKBONE, cwd=base / "local")
        if done.returncode:
            raise SystemExit(done.stdout)
        for name in TABLES:
            (base / "made").mkdir(exist_ok=True)
            shutil.copy(next((base / "local" / "runs").glob(f"*/results/{name}")), base / "made")
        (base / "made").rename(base / "expected")
    sandbox = sandbox_of(base, grounds.image)
    if not sandbox.is_dir():
        say("unpacking the image")
        made = base / "unpacking"
        done = grounds.user("apptainer", "--silent", "build", "--sandbox", made, grounds.image, cwd=base)
        if done.returncode:
            raise SystemExit(done.stdout)
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
    base = given.folder / f"seed-{given.seed}"
    base.mkdir(parents=True, exist_ok=True)
    studies = draw(given.seed, chosen(given.kinds))
    workers = [Grounds(given.folder / f"cluster-{n}", FIRST_PORT + 100 * n) for n in range(given.workers)]
    journal = Journal(base / "journal.jsonl")
    todo = left(studies, journal.read())
    if todo:
        for grounds in workers:
            grounds.up(given.image)
            grounds.clear()
        prepare(base, workers[0])
        inject_all(todo, base, workers, end)
    if todo:
        for grounds in workers:
            grounds.down()
    wanted = {injection.key for study in studies for injection in study}
    line, code = last_line(record for key, record in journal.read().items() if key in wanted)
    print(line)
    return code


if __name__ == "__main__":
    sys.exit(main())

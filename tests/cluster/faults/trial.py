"""One study and the faults in it: inject them, wait, compare, run again what is missing, compare again."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from draw import Injection, by_name
from kinds import Kind
from study import DISKS, TASKS, Study, StudyError


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


def _attributed(injections: list[Injection]) -> set[int]:
    """Give the tasks that may fail: all of them, where a fault that hits more than one is meant to be run again."""
    if any(_hits_all(by_name(injection.kind)) for injection in injections):
        return set(range(TASKS))
    return {injection.task for injection in injections if by_name(injection.kind).when in ("held", "task", "alone")}


def _hits_all(kind: Kind) -> bool:
    return kind.when == "alone" and kind.disk == "runs"


def _line(error: BaseException) -> str:
    return " ".join(f"{error or type(error).__name__}".split())[:400]

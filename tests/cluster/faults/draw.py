"""Which fault hits which task of which study, and when: all of it follows from a seed."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kinds import KINDS, Kind
from study import TASKS

STEPS_TO_STRIKE = range(5, 20, 5)


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


def live_tasks(injections: list[Injection]) -> list[int]:
    """Give the tasks that a study runs: those that are struck, and at least one beside."""
    struck = {one.task for one in injections if by_name(one.kind).when not in ("before", "submit")} or {0}
    return sorted(struck if len(struck) > 1 else {*struck, (min(struck) + 1) % TASKS})

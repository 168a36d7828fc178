"""One figure of a benchmark: what was measured, against which reference and target, and how both are timed."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Literal, TypedDict

CORES = 2  # of the machine are used, by both sides of every comparison that does not say otherwise

Better = Literal["higher", "lower"]


class Row(TypedDict):
    """One line of the table."""

    what: str
    reference: str
    value: float
    target: float
    better: Better
    met: bool
    detail: str


class SkippedError(Exception):
    """A measurement needs what this machine lacks; the message says what."""


def row(what: str, reference: str, value: float, target: float, better: Better = "higher", detail: str = "") -> Row:
    """Judge a figure by its target."""
    met = value >= target if better == "higher" else value <= target
    return Row(
        what=what,
        reference=reference,
        value=float(value),
        target=float(target),
        better=better,
        met=bool(met),
        detail=detail,
    )


def pin(cores: int = CORES) -> None:
    """Keep this process, and those that it starts, on the first few cores that it may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def wall_s(work: Callable[[], object]) -> float:
    """Seconds that went by."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def processor_s(work: Callable[[], object]) -> float:
    """Seconds of processor time, of this process and of the ones it started and awaited: others' load counts less."""
    started = _used_s()
    work()
    return _used_s() - started


def alternating(sides: tuple[Callable[[], float], ...], rounds: int) -> list[list[float]]:
    """Measure each side in turn, so that what else the machine does meets all alike; give each side's figures."""
    figures: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for own, side in zip(figures, sides, strict=True):
            own.append(side())
    return figures


def _used_s() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)

"""What a person sees: progress with a rate and time left on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

LINE_EVERY_S = 10.0


def make_console(stderr: bool = False) -> Console:
    """Make a console: 100 columns in a log, the window's width on a terminal."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=100)


class RateColumn(ProgressColumn):
    """Units per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: object) -> Text:
        """Show the speed of a task, or nothing before there is one."""
        speed = getattr(task, "finished_speed", None) or getattr(task, "speed", None)
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else "")


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a loop is; yields the function that moves it on by n units.

    On a terminal this is a bar; elsewhere a line at most every ten seconds, so that logs stay readable.
    """
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, label, total, unit).advance
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(unit), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task(label, total=total)
        yield lambda n: bar.advance(shown, n)


class _Lines:
    def __init__(self, console: Console, label: str, total: int, unit: str) -> None:
        self._console, self._label, self._total, self._unit = console, label, total, unit
        self._done = 0
        self._started = self._shown = time.monotonic()

    def advance(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        if now - self._shown < LINE_EVERY_S:
            return
        self._shown = now
        rate = self._done / (now - self._started)
        left = duration((self._total - self._done) / rate)
        self._console.print(f"{self._label}: {self._done}/{self._total}, {rate:,.0f} {self._unit}/s, {left} left")


def duration(seconds: float) -> str:
    """Write a duration as people say it: 45 s, 3 min, 2 h 05 min."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"

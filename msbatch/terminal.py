"""What a command shows while it works: live on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from msbatch.text import printable

LOG_EVERY_S = 10.0

Advance = Callable[[int], None]


class PlainConsole(Console):
    """A console on which text from files, such as names of patients, cannot steer the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, and write out control characters in text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, "\n"))


def make_console(stderr: bool = False) -> Console:
    """Give the console that every command prints to; names of files stay as they are, without markup."""
    console = PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160  # a log wraps nothing
    return console


class Rate(ProgressColumn):
    """How many units are done per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Write the mean rate of the last moments."""
        return Text(f"{task.speed:.1f} {self.unit}/s" if task.speed else "")


class Meter:
    """Progress as text, for a log.

    Parameters
    ----------
    label : str
        What is going on.
    total : int
        Units in all.
    unit : str
        Plural name of a unit.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self._started = time.monotonic()

    def line(self) -> str:
        """Say what is done, how fast, and how long the rest will take."""
        spent = time.monotonic() - self._started
        counted = f"{self.label}: {self.done} of {self.total} {self.unit}"
        if not self.done or spent <= 0:
            return counted
        rate = self.done / spent
        left = "" if self.done >= self.total else f", {clock((self.total - self.done) / rate)} left"
        return f"{counted}, {rate:.1f} {self.unit}/s{left}"


@contextmanager
def progress(label: str, total: int, unit: str, console: Console | None = None) -> Iterator[Advance]:
    """Show progress on standard error while the block runs.

    Parameters
    ----------
    label : str
        What is going on.
    total : int
        Units in all.
    unit : str
        Plural name of a unit.
    console : Console, optional
        Where to show it.

    Yields
    ------
    callable
        To be called with the number of units just done.
    """
    console = console or make_console(stderr=True)
    with (_bar if console.is_terminal else _lines)(label, total, unit, console) as advance:
        yield advance


def clock(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def _bar(label: str, total: int, unit: str, console: Console) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(unit), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda units: bar.advance(task, units)


@contextmanager
def _lines(label: str, total: int, unit: str, console: Console) -> Iterator[Advance]:
    meter = Meter(label, total, unit)
    printed = time.monotonic()

    def advance(units: int) -> None:
        nonlocal printed
        meter.done += units
        if time.monotonic() - printed >= LOG_EVERY_S:
            printed = time.monotonic()
            console.print(meter.line())

    yield advance
    console.print(meter.line())

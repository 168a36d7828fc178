"""What a person sees while tasks run on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from msbatch.cluster.status import TaskStatus
from msbatch.terminal import clock, make_console


class Watch:
    """Shows running tasks: live bars on a terminal, a line per started and ended task in a log.

    Parameters
    ----------
    total : int
        Tasks to run.
    """

    def __init__(self, total: int) -> None:
        self._console = make_console(stderr=True)
        self._total = total
        self._ended = 0
        self._started = time.monotonic()
        self._bars: dict[int, TaskID] = {}
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        ]
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._whole = self._progress.add_task("all tasks", total=total, note="")

    def __enter__(self) -> Watch:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, status: TaskStatus) -> None:
        """Show that a task runs."""
        self._bar(status)
        if not self._console.is_terminal:
            self._console.print(f"start  {_name(status)}")

    def running(self, statuses: Iterable[TaskStatus]) -> None:
        """Show how far the running tasks are."""
        for status in statuses:
            best = "" if status.best_validation is None else f", val {status.best_validation:.3f}"
            speed = f", {status.speed}" if status.speed else ""
            note = f"{status.step}/{status.steps}{speed}{best}" if status.steps else "starting"
            self._progress.update(self._bar(status), total=status.steps or None, completed=status.step, note=note)

    def ended(self, status: TaskStatus) -> None:
        """Show that a task ended, how, and how much time the others will take."""
        self._ended += 1
        took = time.monotonic() - self._started
        left = clock(took / self._ended * (self._total - self._ended))
        self._progress.remove_task(self._bar(status))
        del self._bars[status.index]
        self._progress.update(self._whole, completed=self._ended, note=f"{self._ended}/{self._total}, {left} left")
        outcome = "done" if status.phase == "done" else f"FAILED: {status.reason.splitlines()[0]}"
        self._console.print(f"[{self._ended}/{self._total}] {_name(status)} {outcome}  ({left} left)", markup=False)

    def _bar(self, status: TaskStatus) -> TaskID:
        """Give a task's bar; of several tasks in one process only the one at work has any."""
        if status.index not in self._bars:
            self._bars[status.index] = self._progress.add_task(_name(status), total=None, note="starting")
        return self._bars[status.index]


def _name(status: TaskStatus) -> str:
    return f"{status.arm} fold {status.fold:02d}"

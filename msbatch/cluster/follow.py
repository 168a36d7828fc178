"""Look at a run again and again until nothing of it is queued or running."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from msbatch.cluster.board import counted
from msbatch.cluster.status import RunStatus, TaskStatus
from msbatch.config import short_name

EVERY_S = 10.0
FOOTER = f"\nThis looks again every {EVERY_S:g} seconds; Ctrl-C leaves, the tasks go on."

Look = Callable[[], RunStatus]


def follow(look: Look, show: Callable[[RunStatus], RenderableType], console: Console) -> RunStatus:
    """Show how a run goes on: live on a terminal, a line per change in a log. Give how it stands in the end.

    Parameters
    ----------
    look : callable
        Gives how the run stands now.
    show : callable
        Lays that out.
    console : Console
        Where to show it.
    """
    status = (_live if console.is_terminal else _lines)(look, show, console)
    console.print(show(status))
    return status


def _live(look: Look, show: Callable[[RunStatus], RenderableType], console: Console) -> RunStatus:
    status = look()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while status.live:
            live.update(Group(show(status), Text(FOOTER, style="dim")), refresh=True)
            time.sleep(EVERY_S)
            status = _again(look, status)
    return status


def _lines(look: Look, show: Callable[[RunStatus], RenderableType], console: Console) -> RunStatus:  # noqa: ARG001
    status = look()
    console.print(f"{_now()}  {counted(status)}")
    while status.live:
        time.sleep(EVERY_S)
        before, status = status, _again(look, status)
        for line in changes(before, status):
            console.print(f"{_now()}  {line}")
    return status


def _again(look: Look, before: RunStatus) -> RunStatus:
    """Look once more; while Slurm does not answer, what it said last stands."""
    status = look()
    return replace(before, note=status.note) if status.silent else status


def changes(before: RunStatus, after: RunStatus) -> list[str]:
    """Say what went from one phase to another."""
    pairs = [(old, new) for old, new in zip(before.tasks, after.tasks, strict=True) if old.phase != new.phase]
    lines = [f"{short_name(new.arm)} fold {new.fold:02d}  {old.phase} -> {_said(new)}" for old, new in pairs]
    if before.reducer and after.reducer and before.reducer.phase != after.reducer.phase:
        lines.append(f"reducer  {before.reducer.phase} -> {after.reducer.phase}")
    return lines


def _said(task: TaskStatus) -> str:
    if task.phase == "failed":
        return f"failed: {task.reason.splitlines()[0]}"
    return f"running on {task.node}" if task.phase == "running" and task.node else task.phase


def _now() -> str:
    return f"{datetime.now():%H:%M:%S}"

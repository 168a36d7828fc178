"""What the launcher on the host tells a task, and how the task shows it that it is alive."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from msbatch.layout import LaunchFiles

BEAT_S = 5.0

_beaten: dict[LaunchFiles, float] = {}


def launch() -> LaunchFiles | None:
    """Give the launcher's files of this start; None where there is no launcher."""
    prefix = os.environ.get("MSBATCH_LAUNCH")
    return LaunchFiles(Path(prefix)) if prefix else None


def cause() -> str:
    """Say why the launcher asks this task to stop; empty while it does not."""
    files = launch()
    with suppress(OSError):  # no such file: nobody asked
        return files.stop.read_text().strip() if files else ""
    return ""


def beat() -> None:
    """Show the launcher that the task goes on; it kills one that is silent for long."""
    files = launch()
    if files is None or time.monotonic() - _beaten.get(files, -BEAT_S) < BEAT_S:
        return
    _beaten[files] = time.monotonic()
    with suppress(OSError):  # a full disk ends the task where it matters, with its reason
        files.beat.touch(mode=0o600)

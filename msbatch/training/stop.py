"""What the launcher on the host tells a task, and how the task shows it that it is alive."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

BEAT_S = 5.0

_beaten: dict[str, float] = {}


def launch() -> str | None:
    """Give the path that the launcher's files of this start begin with; None where there is no launcher."""
    return os.environ.get("MSBATCH_LAUNCH")


def cause() -> str:
    """Say why the launcher asks this task to stop; empty while it does not."""
    with suppress(OSError):  # no such file: nobody asked
        return Path(f"{launch()}.stop").read_text().strip() if launch() else ""
    return ""


def beat() -> None:
    """Show the launcher that the task goes on; it kills one that is silent for long."""
    prefix = launch()
    if prefix is None or time.monotonic() - _beaten.get(prefix, -BEAT_S) < BEAT_S:
        return
    _beaten[prefix] = time.monotonic()
    with suppress(OSError):  # a full disk ends the task where it matters, with its reason
        Path(f"{prefix}.beat").touch(mode=0o600)

"""What the launchers of a submission left behind: how each start of a task ended, and what Slurm put into its log."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from msbatch.cluster.reasons import Evidence
from msbatch.errors import MsbatchError
from msbatch.files import read_json
from msbatch.layout import JobDir, LaunchFiles
from msbatch.text import printable

TAIL_BYTES = 16_384
RECORD = re.compile(r"(\d+(?:_\d+)?)\.(\d+)\.")  # <job>.<restart>.start, .stop, .beat, .end
START = re.compile(r"\[launch .*\] \S+, restart \d+, on ")  # the launcher's first words, in both logs
CANCELLED_AT = re.compile(r"CANCELLED AT (\S+)")


@dataclass(frozen=True)
class Launch:
    """One start of a task by the launcher.

    Attributes
    ----------
    files : LaunchFiles
        What it left behind.
    exit_code : int or None
        The task's.
    cause : str
        Why it ended, in the launcher's words; empty where the task ended by itself.
    requeued : bool
        Whether the launcher asked Slurm to start it again.
    started, ended : float
        Seconds since the epoch; `ended` is 0 where the launcher did not write down that it did.
    """

    files: LaunchFiles
    exit_code: int | None = None
    cause: str = ""
    requeued: bool = False
    started: float = 0.0
    ended: float = 0.0

    def is_of(self, files: LaunchFiles | None) -> bool:
        """Say whether an attempt that names its files was made by this start, wherever the run lies now."""
        return files is not None and files.prefix.parts[-3:] == self.files.prefix.parts[-3:]


class LaunchFolder:
    """What the folder of one submission holds.

    Parameters
    ----------
    folder : JobDir
        The folder; it need not exist any more.
    """

    def __init__(self, folder: JobDir) -> None:
        self.folder = folder

    @cached_property
    def submitted(self) -> float:
        """When the submission was made; 0 where its folder is gone."""
        with suppress(OSError):
            return self.folder.conf.stat().st_mtime
        return 0.0

    @property
    def numbers(self) -> set[str]:
        """Slurm's numbers of the jobs and elements that started."""
        return set(self._restarts)

    def logs(self, number: str) -> list[Path]:
        """Give the logs of a job or element: what its launcher said, then what Slurm said; they need not exist."""
        return [self.folder.root / f"{number}_0_log.{kind}" for kind in ("out", "err")]

    def last(self, number: str) -> Launch | None:
        """Give the newest start of a job or element."""
        restart = self._restarts.get(number)
        return None if restart is None else _read(self.folder.launch(number, restart))

    def evidence(self, number: str, told: str = "", slurm: str = "") -> Evidence:
        """Gather what the newest start of a job or element left behind.

        Parameters
        ----------
        number : str
            Slurm's number.
        told : str
            What the task itself gave as its reason.
        slurm : str
            What accounting says.
        """
        launch = self.last(number)
        if launch is None or launch.requeued:  # Slurm let go of it before it began again
            own = Evidence(began=False, log=self._words(number, launch.ended if launch else 0.0))
        else:
            own = Evidence(cause=launch.cause, exit_code=launch.exit_code, log=self._words(number, launch.started))
        return replace(
            own,
            told=told,
            slurm=slurm,
            mem_gb=self._asked("mem", 1024),
            time_min=round(self._asked("time", 1) or 0) or None,
        )

    @cached_property
    def _restarts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        with suppress(FileNotFoundError):
            for path in self.folder.launches.iterdir():
                if match := RECORD.match(path.name):
                    found[match[1]] = max(int(match[2]), found.get(match[1], 0))
        return found

    @cached_property
    def _script(self) -> str:
        for path in self.folder.root.glob("*_submission.sh"):
            return path.read_text(errors="replace")
        return ""

    def _asked(self, option: str, unit: float) -> float | None:
        match = re.search(rf"^#SBATCH --{option}=(\d+)", self._script, re.MULTILINE)
        return int(match[1]) / unit if match else None

    def _words(self, number: str, started: float) -> str:
        lines = [line for path in self.logs(number) if path.is_file() for line in _of_the_last_start(tail(path))]
        return "\n".join(line for line in lines if not _of_an_earlier_start(line, started))


def tail(path: Path) -> list[str]:
    """Read the last lines of a file that may be long."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return lines[1:] if size > TAIL_BYTES else lines


def _read(files: LaunchFiles) -> Launch:
    try:
        end = read_json(files.end)
        times = float(end["started"]), float(end["ended"])
        return Launch(files, int(end["exit"]), printable(str(end["cause"])), bool(end["requeued"]), *times)
    except (MsbatchError, KeyError, TypeError, ValueError, OverflowError):
        return Launch(files, started=_mtime(files.start))


def _mtime(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _of_the_last_start(lines: list[str]) -> list[str]:
    starts = [place for place, line in enumerate(lines) if START.match(line)]
    return lines[starts[-1] :] if starts else lines


def _of_an_earlier_start(line: str, started: float) -> bool:
    """Say whether Slurm speaks of a start before this one: logs are appended to."""
    match = CANCELLED_AT.search(line)
    with suppress(ValueError):
        return match is not None and datetime.fromisoformat(match[1]).timestamp() < started - 1
    return False

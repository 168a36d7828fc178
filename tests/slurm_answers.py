"""Slurm's commands as a cluster would answer them, and the traces of jobs in a run, for tests without a cluster."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from msbatch.cluster.ledger import Submission, read_ledger, record
from msbatch.files import make_dir, write_text
from msbatch.layout import RunDir
from msbatch.plan import Task
from msbatch.state import Attempt

COMMAND = """#!/bin/bash
me=$(basename "$0")
echo "$me $*" >> {folder}/calls
for words in {folder}/$me.refuses {folder}/$me$1.refuses; do
    if [ -f "$words" ]; then cat "$words" >&2; exit 1; fi
done
while [ $# -gt 0 ]; do
    if [ "$1" = --name ]; then cat "{folder}/named.$2" 2>/dev/null; exit 0; fi
    shift
done
cat {folder}/$me.answer 2>/dev/null || true
"""
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")


class SlurmAnswers:
    """Executables on the PATH that answer what a test wants, and note how they were called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name in COMMANDS:
            command = folder / name
            command.write_text(COMMAND.format(folder=folder))
            command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def holds(self, *lines: str) -> None:
        """Let the queue hold these jobs, each as ``number|state|reason|left|node``."""
        rows = []
        for line in lines:
            number, *rest = line.split("|")
            array, _, index = number.partition("_")
            rows.append("|".join([array, index or "N/A", number, *rest]))
        (self.folder / "squeue.answer").write_text("".join(f"{row}\n" for row in rows))

    def names(self, name: str, number: str) -> None:
        """Let Slurm know a job by its name."""
        (self.folder / f"named.{name}").write_text(f"{number}\n")

    def accounts(self, *lines: str) -> None:
        """Let accounting give these jobs, each as ``number|state|exit code``."""
        (self.folder / "sacct.answer").write_text("".join(f"{line}\n" for line in lines))

    def refuses(self, name: str, words: str) -> None:
        """Let a command, such as squeue or sbatch--test-only, fail with these words."""
        (self.folder / f"{name}.refuses").write_text(words)

    def calls(self, name: str) -> list[str]:
        """List how a command was called."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [line for line in lines if line.startswith(f"{name} ")]


def submitted(run: RunDir, tasks: Sequence[int], job: str, kind: str = "fold") -> Submission:
    """Enter a submission in a run's ledger as msbatch does; folders are named in order."""
    name = f"msb-test-{job}"
    folder = make_dir(run.jobs / f"{len(read_ledger(run)):04d}")
    write_text(folder / "launch.conf", "")
    write_text(folder / f"{job}_submission.sh", "#!/bin/bash\n#SBATCH --mem=16384M\n#SBATCH --time=240\n")
    record(run, "submitting", name=name, kind=kind, folder=f"jobs/{folder.name}", tasks=list(tasks))
    record(run, "submitted", name=name, job=job)
    return read_ledger(run)[-1]


def started(entry: Submission, number: str, restart: int = 0) -> Path:
    """Leave the traces of a launcher that started; give the path that its files begin with."""
    prefix = make_dir(entry.folder / "launches") / f"{number}.{restart}"
    write_text(Path(f"{prefix}.start"), "v1\n")
    return prefix


def ended(entry: Submission, number: str, exit_code: int, cause: str = "", requeued: bool = False) -> Path:
    """Leave the traces of a launcher that ended."""
    prefix = started(entry, number)
    now = int(time.time())
    told = {"exit": exit_code, "cause": cause, "requeued": requeued, "host": "v1", "started": now - 9, "ended": now}
    write_text(Path(f"{prefix}.end"), json.dumps(told))
    return prefix


def attempted(run: RunDir, task: Task, launch: Path | None, **state: object) -> Attempt:
    """Make an attempt at a task, as a start of its launcher does, and write its state."""
    attempt = Attempt.claim(run.task(task.backbone, task.fold), str(launch) if launch else None)
    attempt.write(**state)
    return attempt

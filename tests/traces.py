"""The traces that submissions, launchers and tasks leave in a run, for tests of what is told from them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from msbatch.cluster.ledger import Submission, read_ledger, record
from msbatch.files import make_dir, write_text
from msbatch.layout import RunDir
from msbatch.plan import Task
from msbatch.state import Attempt


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

"""The ledger of a run: which tasks went to Slurm, under which name and number."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from msbatch.access import file_mode
from msbatch.layout import RunDir

Kind = Literal["fold", "reduce"]
KINDS = get_args(Kind)
FOLDER = re.compile(r"jobs/[^/.][^/]*")  # the folder of what Slurm did not take is removed: none but such a one


@dataclass(frozen=True)
class Submission:
    """One call of sbatch.

    Attributes
    ----------
    name : str
        Slurm's name of the job; no other submission has it.
    kind : str
        ``fold`` for an array of tasks, ``reduce`` for a reducer.
    folder : Path
        Where its pickles, logs and launch records are.
    tasks : tuple of int
        Numbers in the plan, in the order of the array; empty for a reducer.
    job : str or None
        Slurm's number; None while it is not known whether Slurm took the job.
    refused : str
        Slurm's words, where it did not take the job.
    """

    name: str
    kind: Kind
    folder: Path
    tasks: tuple[int, ...]
    job: str | None = None
    refused: str = ""

    @property
    def open(self) -> bool:
        """Whether it was never learnt if Slurm took the job."""
        return self.job is None and not self.refused

    def element(self, task: int) -> str:
        """Give Slurm's number of one task: an array's element, or the plain number where the task is alone."""
        return f"{self.job}_{self.tasks.index(task)}" if len(self.tasks) > 1 else f"{self.job}"

    @property
    def elements(self) -> dict[str, int]:
        """Tasks by Slurm's number of them."""
        if self.job is None:
            return {}
        if len(self.tasks) == 1:
            return {self.job: self.tasks[0]}
        return {f"{self.job}_{position}": task for position, task in enumerate(self.tasks)}


def read_ledger(run: RunDir) -> list[Submission]:
    """Read all submissions of a run to Slurm, oldest first."""
    found: dict[str, Submission] = {}
    for line in _lines(run.submissions):
        match line:
            case {"event": "submitting", "name": str(name), "kind": kind, "folder": str(folder), "tasks": [*tasks]} if (
                kind in KINDS and FOLDER.fullmatch(folder) and _are_numbers(tasks)
            ):
                found[name] = Submission(name, kind, run.root / folder, tuple(tasks))
            case {"event": "submitted", "name": str(name), "job": str(job)} if name in found:
                _forget_number(found, job)
                found[name] = replace(found[name], job=job)
            case {"event": "refused", "name": str(name), "reason": str(reason)} if name in found:
                found[name] = replace(found[name], refused=reason)
    return list(found.values())


def aside(run: RunDir) -> dict[int, str]:
    """Give the tasks whose results are set aside for a submission that Slurm did not take, and the folder's name.

    Those of a submission that is still open are left out: Slurm may have it.
    """
    entries = {entry.name: entry for entry in read_ledger(run)}
    found: dict[int, str] = {}
    for line in _lines(run.submissions):
        match line:
            case {"event": "aside", "places": [*places]}:
                found |= dict(own for own in map(_place, places) if own)
            case {"event": "submitting", "name": str(name)} if name in entries and not entries[name].refused:
                found = {task: place for task, place in found.items() if task not in entries[name].tasks}
            case {"event": "put back", "tasks": [*tasks]}:
                found = {task: place for task, place in found.items() if task not in tasks}
    return found


def newest(ledger: Sequence[Submission], task: int) -> Submission | None:
    """Give the newest submission that Slurm took and that holds a task."""
    return next((entry for entry in reversed(ledger) if task in entry.tasks and entry.job), None)


def live(ledger: Iterable[Submission], queue: Container[str]) -> dict[int, str]:
    """Give the tasks that Slurm still holds, each with Slurm's number of it.

    Parameters
    ----------
    ledger : iterable of Submission
        What was submitted.
    queue : container of str
        The numbers that Slurm holds.
    """
    return {task: number for entry in ledger for number, task in entry.elements.items() if number in queue}


def record(run: RunDir, event: str, **fields: Any) -> None:
    """Append one event and bring it to disk before going on."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **fields}
    start = "" if _ends_whole(run.submissions) else "\n"
    handle = os.open(run.submissions, os.O_WRONLY | os.O_APPEND | os.O_CREAT, file_mode())
    with open(handle, "a") as out:  # noqa: PTH123
        out.write(f"{start}{json.dumps(line)}\n")
        out.flush()
        os.fsync(out.fileno())


def _forget_number(found: dict[str, Submission], job: str) -> None:
    # A controller that crashed may have lost a job that it had taken; it then gives the number once more.
    for name, entry in found.items():
        if entry.job == job:
            found[name] = replace(entry, job=None, refused="Slurm lost it: it gave the number to another job")


def _place(place: Any) -> tuple[int, str] | None:
    match place:
        case [int(task), str(name)] if name.isalnum():
            return task, name
    return None


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int) and value >= 0 for value in values)


def _lines(path: Path) -> Iterator[Any]:
    # A line that a full disk cut off is passed over: the submission it speaks of is then looked up by its name.
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        with suppress(ValueError, RecursionError):
            yield json.loads(line)


def _ends_whole(path: Path) -> bool:
    return not path.is_file() or path.read_bytes()[-1:] in (b"", b"\n")

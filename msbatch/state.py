"""How far a task is, and which attempt at it may write."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from msbatch.access import file_mode
from msbatch.errors import MsbatchError
from msbatch.files import make_dir, read_json, remove_temporary, write_json
from msbatch.layout import LaunchFiles, TaskDir
from msbatch.text import printable

STARTS_WITHOUT_PROGRESS = 4

Phase = Literal["waiting", "running", "done", "failed"]

log = logging.getLogger(__name__)


class TaskState(BaseModel):
    """What `state.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phase: Phase = "waiting"
    attempt: int = 0
    step: int = 0
    steps: int = 0
    best_validation: float | None = None
    images_per_second: float | None = None
    input_wait: float | None = None
    reason: Annotated[str, AfterValidator(lambda text: printable(text, kept="\n"))] = ""  # a hint is its second line
    updated: float = 0.0


class AttemptRecord(BaseModel):
    """What is known of one attempt at a task; attempts of older versions, and damaged ones, have their number only."""

    model_config = ConfigDict(frozen=True)

    number: int
    launch: str | None = None
    start_step: int | None = None
    host: str = ""
    time: float = 0.0

    @property
    def files(self) -> LaunchFiles | None:
        """What the launcher's start that made the attempt left behind; None where there was no launcher."""
        return LaunchFiles(Path(self.launch)) if self.launch else None

    @property
    def job(self) -> str | None:
        """The Slurm job, with its array index, that made the attempt; a requeue keeps it."""
        return self.launch.rpartition(".")[0] if self.launch else None

    @property
    def preempted(self) -> bool:
        """Whether the attempt had to make room for another job, which is no fault of its own.

        Of a TERM only a preemption is left: what somebody cancelled never starts again under the same number.
        """
        try:
            return self.files is not None and self.files.stop.read_text().strip() in ("preempted", "terminated")
        except (OSError, ValueError):  # what it says, or where it should lie, is no text
            return False


class SupersededError(MsbatchError):
    """A newer attempt owns the task: this one must not write any more."""


class Attempt:
    """One attempt at a task, numbered by exclusive file creation.

    Parameters
    ----------
    task : TaskDir
        The task's folder.
    number : int
        This attempt's fencing number; the highest owns the task.
    """

    def __init__(self, task: TaskDir, number: int) -> None:
        self.task = task
        self.number = number

    @classmethod
    def claim(cls, task: TaskDir, launch: str | None = None, start_step: int = 0) -> Attempt:
        """Take the next number; of two claims at once, each gets its own.

        Parameters
        ----------
        task : TaskDir
            The task's folder.
        launch : str, optional
            What the launcher's files of this start begin with.
        start_step : int
            The step that the attempt begins at.
        """
        make_dir(task.attempts)
        number = newest_attempt(task) + 1
        content = {"launch": launch, "start_step": start_step, "host": socket.gethostname(), "time": time.time()}
        while True:
            try:
                _create(task.attempts / f"{number:04d}", json.dumps(content) + "\n")
                return cls(task, number)
            except FileExistsError:
                number += 1

    def check(self) -> None:
        """Refuse to go on once a newer attempt exists.

        Raises
        ------
        SupersededError
            If this is no longer the newest attempt.
        """
        newest = newest_attempt(self.task)
        if newest != self.number:
            raise SupersededError(
                f"{self.task.root}: attempt {self.number} was superseded by attempt {newest}.",
                "It wrote nothing more; the task is the newer attempt's.",
            )

    def check_progress(self) -> None:
        """Refuse to go on where the same job comes back to the same step again and again.

        Raises
        ------
        MsbatchError
            If the job's last attempts all began where this one does; preempted ones do not count.
        """
        *earlier, mine = [record for record in read_attempts(self.task) if record.number <= self.number]
        same_job = [record for record in earlier if mine.job and record.job == mine.job and not record.preempted]
        last = same_job[1 - STARTS_WITHOUT_PROGRESS :]
        stuck = [record for record in last if record.start_step == mine.start_step]
        if len(stuck) == STARTS_WITHOUT_PROGRESS - 1:
            raise MsbatchError(
                f"it was started {STARTS_WITHOUT_PROGRESS} times at step {mine.start_step} without progress; "
                "see its log"
            )

    def clean(self) -> None:
        """Remove what killed writers of earlier attempts left; a newer attempt's files are younger than this claim."""
        claimed = (self.task.attempts / f"{self.number:04d}").stat().st_mtime
        self.check()
        for folder in (self.task.root, self.task.checkpoints):
            remove_temporary(folder, claimed)

    def write(self, **fields: Any) -> None:
        """Write the task's state, changing the given fields only."""
        new = self._old_state().model_copy(update={**fields, "attempt": self.number, "updated": time.time()})
        write_json(self.task.state, new.model_dump(mode="json"), self.check)

    def _old_state(self) -> TaskState:
        try:
            return read_state(self.task)
        except MsbatchError as error:  # it only tells people how far the task is
            log.warning("%s It is written anew.", error.problem)
            return TaskState()


def newest_attempt(task: TaskDir) -> int:
    """Give the highest attempt number of a task, 0 where there was none."""
    return max(_numbers(task), default=0)


def read_attempts(task: TaskDir) -> list[AttemptRecord]:
    """Read what is known of every attempt at a task, oldest first."""
    return [_read_attempt(task.attempts / f"{number:04d}", number) for number in sorted(_numbers(task))]


def read_state(task: TaskDir) -> TaskState:
    """Read a task's state; a task that never started is waiting.

    Raises
    ------
    MsbatchError
        If the state file is damaged.
    """
    if not task.state.exists():
        return TaskState()
    try:
        return TaskState.model_validate(read_json(task.state))
    except ValidationError as error:
        raise MsbatchError(
            f"{task.state} is damaged: {error.errors()[0]['msg']}.", "Delete it; the task resumes from its checkpoint."
        ) from None


def _numbers(task: TaskDir) -> list[int]:
    try:
        return [int(path.name) for path in task.attempts.iterdir() if path.name.isdigit()]
    except FileNotFoundError:
        return []


def _create(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file_mode()), "w", encoding="utf-8") as out:  # noqa: PTH123
        out.write(text)


def _read_attempt(path: Path, number: int) -> AttemptRecord:
    try:
        return AttemptRecord.model_validate({**read_json(path), "number": number})
    except (MsbatchError, ValidationError, TypeError):
        return AttemptRecord(number=number)

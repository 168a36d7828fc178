"""How far a task is, and which attempt at it may write."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from msbatch.errors import MsbatchError
from msbatch.files import make_dir, read_json, write_json
from msbatch.layout import TaskDir

Phase = Literal["waiting", "running", "done", "failed"]


class TaskState(BaseModel):
    """What `state.json` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phase: Phase = "waiting"
    attempt: int = 0
    step: int = 0
    steps: int = 0
    best_validation: float | None = None
    reason: str = ""
    updated: float = 0.0


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
    def claim(cls, task: TaskDir) -> Attempt:
        """Take the next number; of two claims at once, each gets its own."""
        make_dir(task.attempts)
        number = newest_attempt(task) + 1
        while True:
            try:
                (task.attempts / f"{number:04d}").touch(mode=0o600, exist_ok=False)
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
            raise SupersededError(f"{self.task.root}: attempt {self.number} was superseded by attempt {newest}.")

    def write(self, **fields: Any) -> None:
        """Write the task's state, changing the given fields only."""
        old = read_state(self.task)
        new = old.model_copy(update={**fields, "attempt": self.number, "updated": time.time()})
        write_json(self.task.state, new.model_dump(mode="json"), self.check)


def newest_attempt(task: TaskDir) -> int:
    """Give the highest attempt number of a task, 0 where there was none."""
    return max((int(path.name) for path in task.attempts.glob("[0-9]*")), default=0)


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

"""Attempts at a task: numbered, fenced, and never lost."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from msbatch.errors import MsbatchError
from msbatch.layout import TaskDir
from msbatch.state import Attempt, SupersededError, newest_attempt, read_state


@pytest.fixture
def task(tmp_path: Path) -> TaskDir:
    return TaskDir(tmp_path / "fold-00")


def test_a_task_that_never_started_is_waiting(task: TaskDir) -> None:
    assert newest_attempt(task) == 0
    assert read_state(task).phase == "waiting"


def test_attempts_are_numbered_from_one(task: TaskDir) -> None:
    assert [Attempt.claim(task).number for _ in range(3)] == [1, 2, 3]
    assert newest_attempt(task) == 3


def test_many_claims_at_once_get_a_number_each(task: TaskDir) -> None:
    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(lambda _: Attempt.claim(task).number, range(64)))
    assert sorted(numbers) == list(range(1, 65))


def test_numbers_go_on_beyond_four_digits(task: TaskDir) -> None:
    Attempt.claim(task)
    (task.attempts / "9999").touch()
    assert Attempt.claim(task).number == 10_000
    assert Attempt.claim(task).number == 10_001


def test_only_the_newest_attempt_may_write(task: TaskDir) -> None:
    old = Attempt.claim(task)
    old.write(phase="running", step=10)
    new = Attempt.claim(task)
    with pytest.raises(SupersededError, match="attempt 1 was superseded by attempt 2"):
        old.write(phase="done")
    assert read_state(task).phase == "running"
    new.write(phase="failed", reason="out of memory")
    with pytest.raises(SupersededError):
        old.check()
    state = read_state(task)
    assert (state.phase, state.reason, state.attempt) == ("failed", "out of memory", 2)


def test_writing_changes_the_given_fields_only(task: TaskDir) -> None:
    attempt = Attempt.claim(task)
    attempt.write(phase="running", steps=200, step=10)
    before = read_state(task).updated
    attempt.write(step=20, best_validation=0.25)
    state = read_state(task)
    assert (state.phase, state.steps, state.step, state.best_validation) == ("running", 200, 20, 0.25)
    assert state.updated >= before > 0


@pytest.mark.parametrize("content", ["", "{", '{"phase": "sleeping"}', '{"phase": "done", "colour": "red"}', "[]"])
def test_a_damaged_state_is_named(task: TaskDir, content: str) -> None:
    Attempt.claim(task)
    task.state.write_text(content)
    with pytest.raises(MsbatchError, match=r"state\.json"):
        read_state(task)

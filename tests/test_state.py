"""Attempts at a task: numbered, fenced, bounded, and never lost."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from msbatch.errors import MsbatchError
from msbatch.layout import TaskDir
from msbatch.state import Attempt, SupersededError, newest_attempt, read_attempts, read_state


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


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", '{"phase": "sleeping"}', '{"phase": "done", "colour": "red"}', "[]", "[" * 100_000),
        *('{"step": 1e999}', '{"step": "many"}', '{"step": ' + "9" * 5000 + "}"),
    ],
)
def test_a_damaged_state_is_named(task: TaskDir, content: str) -> None:
    Attempt.claim(task)
    task.state.write_text(content)
    with pytest.raises(MsbatchError, match=r"state\.json"):
        read_state(task)


def test_a_reason_cannot_steer_a_terminal(task: TaskDir) -> None:
    Attempt.claim(task)
    task.state.write_text(r'{"phase": "failed", "reason": "\u001b[2Jall is well"}')
    assert read_state(task).reason == r"\x1b[2Jall is well"


def test_a_damaged_state_stops_no_attempt(task: TaskDir) -> None:
    attempt = Attempt.claim(task)
    task.state.write_text("{")
    attempt.write(phase="running", step=3)
    assert (read_state(task).phase, read_state(task).step) == ("running", 3)


def test_an_attempt_says_where_and_when_it_began(task: TaskDir) -> None:
    before = time.time()
    Attempt.claim(task, "/run/jobs/a/launches/12_5.1", 40)
    (record,) = read_attempts(task)
    assert (record.number, record.launch, record.start_step) == (1, "/run/jobs/a/launches/12_5.1", 40)
    assert record.job == "/run/jobs/a/launches/12_5"
    assert record.host == socket.gethostname()
    assert before <= record.time <= time.time()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"start_step": "forty"}', "\0\0"])
def test_an_attempt_without_a_readable_record_still_counts(content: str, task: TaskDir) -> None:
    Attempt.claim(task, "/l/1.0", 40)
    (task.attempts / "0002").write_text(content)
    last = read_attempts(task)[-1]
    assert (last.number, last.launch, last.start_step) == (2, None, None)
    assert read_attempts(task)[0].start_step == 40
    assert Attempt.claim(task).number == 3


def claim_all(task: TaskDir, folder: Path, *starts: tuple[str, int]) -> Attempt:
    for launch, step in starts:
        attempt = Attempt.claim(task, str(folder / launch), step)
    return attempt


@pytest.mark.parametrize("launch", ["\\ud800", "\\u0000", "../../outside/7_1.0", "/dev/stdin/7_1.0", "", "."])
def test_an_attempt_of_an_adversary_was_not_preempted(task: TaskDir, launch: str) -> None:
    Attempt.claim(task)
    (task.attempts / "0001").write_text(f'{{"launch": "{launch}"}}')
    (record,) = read_attempts(task)
    assert not record.preempted


def test_the_fourth_start_at_one_step_is_the_last(task: TaskDir, tmp_path: Path) -> None:
    for restart in range(3):
        claim_all(task, tmp_path, (f"7_2.{restart}", 40)).check_progress()
    with pytest.raises(MsbatchError, match=r"started 4 times at step 40 without progress; see its log"):
        claim_all(task, tmp_path, ("7_2.3", 40)).check_progress()


def test_progress_starts_the_count_anew(task: TaskDir, tmp_path: Path) -> None:
    claim_all(task, tmp_path, ("7.0", 0), ("7.1", 0), ("7.2", 40), ("7.3", 40), ("7.4", 40)).check_progress()
    with pytest.raises(MsbatchError, match="at step 40"):
        claim_all(task, tmp_path, ("7.5", 40)).check_progress()


def test_another_job_starts_the_count_anew(task: TaskDir, tmp_path: Path) -> None:
    claim_all(task, tmp_path, *[(f"7_2.{restart}", 40) for restart in range(4)])
    claim_all(task, tmp_path, ("7_21.0", 40)).check_progress()
    claim_all(task, tmp_path, ("8_2.0", 40)).check_progress()


def test_preemptions_are_not_counted(task: TaskDir, tmp_path: Path) -> None:
    for restart in range(9):
        claim_all(task, tmp_path, (f"7.{restart}", 40)).check_progress()
        (tmp_path / f"7.{restart}.stop").write_text("preempted\n")
    claim_all(task, tmp_path, ("7.9", 40), ("7.10", 40), ("7.11", 40)).check_progress()
    (tmp_path / "7.11.stop").write_text("time limit\n")
    with pytest.raises(MsbatchError, match="without progress"):
        claim_all(task, tmp_path, ("7.12", 40)).check_progress()


def test_attempts_without_a_launcher_are_not_bounded(task: TaskDir) -> None:
    for _ in range(9):
        Attempt.claim(task).check_progress()


def test_what_killed_writers_left_is_removed_and_nothing_of_a_newer_attempt(task: TaskDir) -> None:
    task.checkpoints.mkdir(parents=True)
    left = [task.root / ".state.json.tmp.1", task.checkpoints / ".step-0000002.pt.tmp.2"]
    for path in left:
        path.touch()
        os.utime(path, (0, time.time() - 60))
    attempt = Attempt.claim(task)
    newer = task.checkpoints / ".step-0000003.pt.tmp.3"
    newer.touch()
    os.utime(newer, (0, time.time() + 60))
    attempt.clean()
    assert list(task.root.rglob(".*")) == [newer]


def test_a_superseded_attempt_cleans_nothing(task: TaskDir) -> None:
    old = Attempt.claim(task)
    Attempt.claim(task)
    left = task.root / ".state.json.tmp.1"
    left.touch()
    os.utime(left, (0, 0))
    with pytest.raises(SupersededError):
        old.clean()
    assert left.exists()


def test_a_hint_stays_the_second_line_of_a_reason(task: TaskDir) -> None:
    Attempt.claim(task).write(phase="failed", reason="the disk is full\nFree some space.\x1b[2J")
    assert read_state(task).reason.splitlines() == ["the disk is full", "Free some space.\\x1b[2J"]

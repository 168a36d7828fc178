"""Order, look-ahead and death of worker processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from msbatch.cohort.workers import AHEAD_PER_WORKER, ordered_map
from msbatch.errors import MsbatchError


def slow_if_even(number: int) -> int:
    time.sleep(0.02 if number % 2 == 0 else 0)
    return number * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    with ordered_map(workers) as run:
        assert list(run(slow_if_even, range(40))) == [number * number for number in range(40)]
        assert list(run(slow_if_even, [])) == []


def test_only_a_few_items_are_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with ordered_map(2) as run:
        results = run(slow_if_even, items())
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert len(taken) <= 3 + 2 * AHEAD_PER_WORKER


def test_a_worker_that_dies_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(MsbatchError, match="worker process died"), ordered_map(2) as run:
        list(run(die, range(4)))


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from pathlib import Path
            from msbatch.cohort.workers import CHUNK, ordered_map

            def note(folder):
                Path(folder, str(os.getpid())).touch()
                time.sleep(60)

            if __name__ == "__main__":
                with ordered_map(2) as run:
                    list(run(note, [sys.argv[1]] * 2 * CHUNK))
            """
        )
    )
    notes = tmp_path / "notes"
    notes.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(script), str(notes)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for(lambda: len(list(notes.iterdir())) == 2)
    parent.kill()
    parent.communicate()  # also waits for the workers, which hold the other end of the pipe
    wait_for(lambda: not any(Path("/proc", note.name).exists() for note in notes.iterdir()))


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)

"""The list of promises names tests that are there, and says what came of them."""

import re
import subprocess
import sys

import pytest
from trust import PROMISES, TESTS

NAMED = sorted({test for promise in PROMISES for test in promise.tests})


@pytest.mark.parametrize("test", NAMED)
def test_what_a_promise_rests_on_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    source = (TESTS / file).read_text()
    assert re.search(rf"^def {name}\(" if name else r"^def test_", source, re.MULTILINE)


def test_what_came_of_a_promise_is_said() -> None:
    number = next(n for n, promise in enumerate(PROMISES, 1) if "the same bytes" in promise.words)
    command = [sys.executable, TESTS / "trust" / "trust.py", str(number)]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^ *{number}  1 passed +reducing twice", done.stdout, re.MULTILINE)

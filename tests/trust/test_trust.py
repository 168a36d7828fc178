"""The list of promises names tests that are there."""

import re

import pytest
from trust import PROMISES, TESTS

NAMED = sorted({test for promise in PROMISES for test in promise.tests})


@pytest.mark.parametrize("test", NAMED)
def test_what_a_promise_rests_on_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    source = (TESTS / file).read_text()
    assert re.search(rf"^def {name}\(" if name else r"^def test_", source, re.MULTILINE)

"""Text of others: shown without harm, and written into tables without harm and without loss."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from msbatch import terminal
from msbatch.errors import MsbatchError
from msbatch.text import FORMULA, as_written, has_control, printable, safe

ESCAPES = "\x1b]0;title\x07\x1b[2J\u202e\x9b31m"

any_text = st.text(st.characters(codec=None), max_size=30)


@given(any_text)
def test_no_message_steers_a_terminal(text: str) -> None:
    error = MsbatchError(f"{text} is wrong", text)
    said = str(error).replace("\n", "")
    assert not [letter for letter in said if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    said.encode("utf-8")


@pytest.mark.parametrize("text", ["Müller", "山田", "a\u00a0b", "✓ 3 × 4 …"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text
    assert not has_control(text)


def test_a_message_about_a_text_of_any_length_stays_short() -> None:
    assert len(str(MsbatchError("x" * 10**6, "y" * 10**6))) < 5000


@pytest.mark.parametrize("width", [20, 200])
def test_what_a_command_prints_steers_no_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal.make_console()
    out = io.StringIO()
    monkeypatch.setattr(console, "file", out)
    console.width = width
    table = Table(title=ESCAPES)
    table.add_column(ESCAPES)
    table.add_row(f"P1{ESCAPES}")
    console.print(table)
    console.print(f"patient {ESCAPES}\nnext line")
    said = out.getvalue()
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(said)
    assert r"\x1b[2J" in said.replace("\n", "")
    assert said.splitlines()[-1] == "next line"


@given(st.one_of(any_text, st.sampled_from(FORMULA).flatmap(lambda start: any_text.map(lambda rest: start + rest))))
def test_a_quoted_cell_is_no_formula_and_is_read_back(text: str) -> None:
    assert not safe(text).startswith(FORMULA)
    assert as_written(safe(text)) == text


@pytest.mark.parametrize("value", [-1, -0.5, 1e-3, None, True])
def test_numbers_are_untouched(value: object) -> None:
    assert safe(value) is value

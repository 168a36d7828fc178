"""Progress for people and for logs."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from msbatch import terminal
from msbatch.terminal import make_console, progress


def test_a_log_gets_plain_lines_and_a_last_one() -> None:
    out = io.StringIO()
    with progress("packing", 20, "images", Console(file=out, width=120)) as advance:
        for _ in range(20):
            advance(1)
    (line,) = out.getvalue().splitlines()
    assert re.fullmatch(r"packing: 20 of 20 images, [\d.]+ images/s", line)


def test_a_slow_loop_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: now))
    out = io.StringIO()
    with progress("packing", 100, "images", Console(file=out, width=120)) as advance:
        for _ in range(5):
            now += 4
            advance(10)
    assert out.getvalue().splitlines() == [
        "packing: 30 of 100 images, 2.5 images/s, 0:00:28 left",
        "packing: 50 of 100 images, 2.5 images/s, 0:00:20 left",
    ]


def test_a_terminal_gets_a_bar_with_rate_and_time_left() -> None:
    out = io.StringIO()
    with progress("packing", 20, "images", Console(file=out, width=120, force_terminal=True)) as advance:
        for _ in range(20):
            advance(1)
    shown = out.getvalue()
    assert "\x1b[" in shown
    assert "20/20" in shown
    assert "images/s" in shown


def test_nothing_done_is_said_without_a_rate() -> None:
    out = io.StringIO()
    with progress("packing", 0, "images", Console(file=out, width=120)):
        pass
    assert out.getvalue() == "packing: 0 of 0 images\n"


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    long = "[red]patient[/red] :smile: " + "x" * 200
    make_console().print(long)
    assert capsys.readouterr().out == long + "\n"

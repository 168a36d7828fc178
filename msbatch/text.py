"""Text from files that others wrote, made fit to be shown: nothing in it can steer a terminal or hide."""

from __future__ import annotations

import unicodedata
from typing import Any

MAX_LENGTH = 100
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")  # what a formula begins with
CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")


def has_control(text: str) -> bool:
    """Tell whether a text holds a control character, an invisible mark or a line separator."""
    return not text.isprintable() and any(unicodedata.category(character) in CONTROL for character in text)


def printable(text: str, kept: str = "") -> str:
    """Write out what `has_control` finds as Python escapes it; all else, and what is `kept`, stays."""
    if not has_control(text):
        return text
    return "".join(
        ascii(character)[1:-1] if character not in kept and has_control(character) else character for character in text
    )


def safe(value: Any) -> Any:
    """Give a cell of a CSV table: text that a spreadsheet would run as a formula gets a quotation mark in front."""
    return f"'{value}" if isinstance(value, str) and value.lstrip("'").startswith(FORMULA) else value


def as_written(text: str) -> str:
    """Give back the text that `safe` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def shown(text: str) -> str:
    """Write a text so that a terminal shows all of it and runs none of it."""
    short = text if len(text) <= MAX_LENGTH else f"{text[:20]}..."
    return ascii(short) if has_control(short) or not unicodedata.is_normalized("NFC", short) else repr(short)

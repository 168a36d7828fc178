"""Changes to valid files: bytes at random, words that readers stumble over, and the trees of JSON."""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

LONGEST = 1 << 16
NUMBERS = tuple(
    struct.pack(form, value) for form in ("<H", ">H", "<I", ">I", "<Q", ">Q") for value in (0, 1, 255, 32768)
)
NUMBERS = (*NUMBERS, b"\xff" * 2, b"\xff" * 4, b"\xff" * 8, b"\0\0\0\x80", b"\x40\0\0\0")
OUTSIDE = ("../outside/secret", "../../outside/secret.csv", "/etc/passwd", "..", ".", "a/../../b", "~/x", "\\\\host\\x")
WORDS = (
    *("\0", "\x1b[2J", "\u202e", "\ufeff", "\r", "\n", "\t", '"', "'", ",", ";", "\\", "{", "}", "[", "]", "=", "#"),
    *(
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "NaN",
        "inf",
        "-0",
        "1e999",
        "9" * 5000,
        "0x1F",
        "007",
        "no",
        "null",
    ),
    *(
        "é",
        "e\u0301",
        "ß",
        "İ",
        "\ud800",
        "𝔘",
        "x" * 300,
        "",
        "True",
        "1979-05-27T07:32:00Z",
        "[" * 3000,
        "{'a':" * 2000,
    ),
    *OUTSIDE,
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), [], {}, [[]]),
    *({"": None}, [None], "", "0", "a" * 300, "\x1b]0;x\x07", "a\nb", "\0", "\ud800", *OUTSIDE),
)


def change_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Make one to four changes; `other` is a file to take pieces of."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((1, 1, 2, 4, 8, 64, 512)))
        rng.choice((_flip, _number, _cut, _repeat, _splice, _truncate))(rng, changed, start, end, other)
    return bytes(changed[:LONGEST])


def change_text(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Put words into a text, or change its bytes."""
    if rng.random() < 0.3:
        return change_bytes(rng, data, other)
    text = data.decode(errors="surrogateescape")
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [match.span() for match in re.finditer(r"[\w./-]+|[^\w\s]", text)] or [(0, 0)]
        start, end = rng.choice(places)
        text = text[:start] + rng.choice(WORDS) + text[rng.choice((start, end)) :]
    return text.encode(errors="surrogatepass" if rng.random() < 0.1 else "replace")[:LONGEST]


def change_json(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Put odd values into a JSON tree, or change its text."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return change_text(rng, data, other)
    if rng.random() < 0.2:
        return change_text(rng, data, other)
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = _regrown(rng, tree)
    try:
        return json.dumps(tree).encode()[: 4 * LONGEST]
    except ValueError:  # an integer too long to be written
        return change_text(rng, data, other)


def mend_png(data: bytes) -> bytes:
    """Give every chunk of a PNG the checksum that fits, so that decoders look further."""
    if not data.startswith(b"\x89PNG"):
        return data
    mended, start = bytearray(data), 8
    while start + 12 <= len(mended):
        end = start + 8 + int.from_bytes(mended[start : start + 4])
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[start + 4 : end]).to_bytes(4)
        start = end + 4
    return bytes(mended)


def _regrown(rng: random.Random, tree: Any) -> Any:
    if rng.random() < 0.15 or not tree or not isinstance(tree, dict | list):
        return rng.choice(ODD) if rng.random() < 0.7 else tree
    keys: Sequence[Any] = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = rng.choice(keys)
    kind = rng.random()
    copy = tree.copy()
    if kind < 0.1:
        del copy[key]
    elif kind < 0.2 and isinstance(copy, list):
        copy.insert(rng.randrange(len(copy) + 1), copy[key])
    elif kind < 0.2:
        copy[rng.choice(("more", "\x1b[2J", "", str(key) + " "))] = copy[key]
    elif kind < 0.3:
        copy[key] = tree[rng.choice(keys)]
    else:
        copy[key] = _regrown(rng, copy[key])
    return copy


def _flip(rng: random.Random, data: bytearray, start: int, end: int, _: bytes) -> None:
    for place in range(start, end):
        data[place] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, data: bytearray, start: int, _: int, __: bytes) -> None:
    number = rng.choice(NUMBERS)
    data[start : start + len(number)] = number


def _cut(_: random.Random, data: bytearray, start: int, end: int, __: bytes) -> None:
    del data[start:end]


def _repeat(rng: random.Random, data: bytearray, start: int, end: int, _: bytes) -> None:
    data[start:start] = data[start:end] * rng.choice((1, 2, 50))


def _splice(rng: random.Random, data: bytearray, start: int, end: int, other: bytes) -> None:
    place = rng.randrange(len(other) + 1)
    data[start:end] = other[place : place + end - start]


def _truncate(rng: random.Random, data: bytearray, start: int, _: int, __: bytes) -> None:
    if rng.random() < 0.3:
        del data[start:]

"""Tables as a page shows them: the same digits everywhere, and no number that is not defined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msbatch.results.metrics import Value
from msbatch.results.rows import Row

_P_VALUES = {"p", "p_holm", "floor", "chance", "p_label", "wilcoxon", "wilcoxon_holm"}
_SIGNED = {"difference", "mean_score", "intercept"}


@dataclass(frozen=True)
class Field:
    """One field of a table.

    Attributes
    ----------
    text : str
        What stands in it.
    between : str
        The interval beneath a number.
    order : str
        What a column is sorted by; empty where there is nothing.
    reason : str
        Why there is no number, or no interval.
    note : int
        The footnote that says so.
    """

    text: str
    between: str = ""
    order: str = ""
    reason: str = ""
    note: int = 0


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes
    ----------
    title : str
        Above it.
    header : list of str
        Headings.
    numeric : list of bool
        Which columns hold numbers.
    rows : list of list of Field
        The table itself.
    notes : list of str
        Its footnotes.
    source : str
        The CSV that holds it in full, relative to the results.
    marked : list of bool
        Which rows stand out.
    """

    title: str
    header: list[str]
    numeric: list[bool]
    rows: list[list[Field]]
    notes: list[str]
    source: str = ""
    marked: list[bool] = field(default_factory=list)


def make_grid(
    title: str,
    columns: Mapping[str, str],
    rows: Sequence[Row],
    *,
    source: str = "",
    signed: bool = False,
    marked: Sequence[bool] = (),
) -> Grid:
    """Lay rows out as a table.

    Parameters
    ----------
    title : str
        Above it.
    columns : mapping of str to str
        Headings by key of the rows. A row that lacks a key leaves the field empty; one that has ``<key>_low`` and
        ``<key>_high`` shows them beneath.
    rows : sequence of Row
        Numbers, words, and values that may be undefined.
    source : str
        The CSV that holds all of it.
    signed : bool
        Whether all numbers are changes.
    marked : sequence of bool
        Which rows stand out.
    """
    notes: list[str] = []
    shown = [[_field(row, key, notes, signed) for key in columns] for row in rows]
    numeric = [any(isinstance(row.get(key), Value | int) for row in rows) for key in columns]
    return Grid(title, list(columns.values()), numeric, shown, notes, source, list(marked) or [False] * len(rows))


def write(number: float, key: str = "", signed: bool = False) -> str:
    """Write a number: three decimals, a sign for changes, and no p of 0."""
    if key in _P_VALUES:
        return "<0.001" if number < 0.001 else f"{number:.3f}"
    text = f"{number:+.3f}" if signed or key in _SIGNED else f"{number:.3f}"
    return "0.000" if text in ("+0.000", "-0.000") else text.replace("-", "−")


def say(value: Value) -> str:
    """Write a value in a sentence."""
    return f"n/a ({value.reason})" if value.number is None else write(value.number)


def count(number: int, noun: str, plural: str = "") -> str:
    """Write a number of things: thousands apart, and their name in the right form."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}".replace(",", "\u202f")


def span(numbers: Iterable[int]) -> str:
    """Write the lowest and the highest of some numbers, or the one number that all of them are."""
    ordered = sorted(set(numbers))
    return f"{ordered[0]}" if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _field(row: Row, key: str, notes: list[str], signed: bool) -> Field:
    value = row.get(key, "")
    if isinstance(value, int):
        return Field(f"{value:,}".replace(",", "\u202f"), order=str(value))
    if not isinstance(value, Value):
        return Field(value, order=value)
    if value.number is None:
        return Field("n/a", reason=value.reason, note=_note(value.reason, notes))
    text, order = write(value.number, key, signed), repr(value.number)
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    if not isinstance(low, Value) or not isinstance(high, Value):
        return Field(text, order=order)
    if low.number is None or high.number is None:
        return Field(text, "no interval", order, low.reason, _note(low.reason, notes))
    dash = " to " if low.number < 0 else "–"
    return Field(text, f"{write(low.number)}{dash}{write(high.number)}", order)


def _note(reason: str, notes: list[str]) -> int:
    if reason not in notes:
        notes.append(reason)
    return notes.index(reason) + 1

"""Identifiers that are refused, and those that stay distinct."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbatch.cohort.identifiers import check_identifiers
from msbatch.errors import MsbatchError
from msbatch.text import MAX_LENGTH


@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        ("", "is empty"),
        ("a/b", "slash"),
        ("/abs", "slash"),
        ("a\\b", "backslash"),
        (".hidden", "dot"),
        ("a..b", r"'\.\.'"),
        ("../../x", "dot|slash"),
        ("a\nb", "control character"),
        ("a\rb", "control character"),
        ("a\0b", "control character"),
        ("\x1b[31mred", "control character"),
        ("a\u202eb", "control character"),
        ("a\u200bb", "control character"),
        ("x" * (MAX_LENGTH + 1), "longer than 100"),
        ("x" * 300, "longer than 100"),
    ],
)
def test_unsafe_identifiers_are_refused_with_a_reason(identifier: str, reason: str) -> None:
    with pytest.raises(MsbatchError, match=reason) as caught:
        check_identifiers(["P1", identifier])
    assert "\n" not in caught.value.problem
    assert "\x1b" not in caught.value.problem
    assert len(caught.value.problem) < 200


@pytest.mark.parametrize(
    "twins", [("Anna", "anna"), ("STRASSE", "straße"), ("Mu\u0308ller", "M\u00fcller"), ("M\u00dcLLER", "mu\u0308ller")]
)
def test_twins_are_refused_naming_both(twins: tuple[str, str]) -> None:
    with pytest.raises(MsbatchError, match="differ only in case or spelling") as caught:
        check_identifiers(["P1", *twins])
    first, second = (name if name.isascii() else None for name in twins)
    assert all(repr(name) in caught.value.problem for name in (first, second) if name)


@pytest.mark.parametrize("identifiers", [("007", "7", "7.0"), ("=cmd", "+1"), ("x" * MAX_LENGTH,), ("Müller", "山田")])
def test_other_identifiers_are_accepted_however_odd(identifiers: tuple[str, ...]) -> None:
    check_identifiers([*identifiers, *identifiers])


@given(st.text(max_size=20))
def test_no_accepted_identifier_can_leave_its_folder_or_break_a_line(identifier: str) -> None:
    try:
        check_identifiers([identifier])
    except MsbatchError:
        return
    assert identifier
    assert not set(identifier) & set("/\\\0\n\r")
    assert identifier not in (".", "..")
    assert len(identifier.splitlines()) == 1

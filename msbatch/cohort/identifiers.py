"""Which patient identifiers are refused, and why: they become folders of a store and lines of a log."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from msbatch.errors import MsbatchError
from msbatch.text import MAX_LENGTH, has_control, shown


def check_identifiers(identifiers: Iterable[str]) -> None:
    """Check that identifiers are safe as names and cannot be taken for each other.

    Raises
    ------
    MsbatchError
        For an identifier that is empty, too long, begins with a dot, or holds a slash, a backslash, ``..`` or a
        control character; and for two that differ only in case or in how Unicode spells them.
    """
    seen: dict[str, str] = {}
    for identifier in identifiers:
        reason = _reason(identifier)
        if reason:
            raise MsbatchError(
                f"The patient identifier {shown(identifier)} {reason}.", "Rename the patient in the table."
            )
        twin = seen.setdefault(_folded(identifier), identifier)
        if twin != identifier:
            raise MsbatchError(
                f"The patient identifiers {shown(twin)} and {shown(identifier)} differ only in case or spelling.",
                "Write them alike if they are one patient, else rename one.",
            )


def _reason(identifier: str) -> str:
    reasons = {
        "is empty": not identifier,
        f"is longer than {MAX_LENGTH} characters": len(identifier) > MAX_LENGTH,
        "begins with a dot": identifier.startswith("."),
        "holds a slash or a backslash": "/" in identifier or "\\" in identifier,
        "holds '..'": ".." in identifier,
        "holds a control character": has_control(identifier),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _folded(identifier: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", identifier).casefold())

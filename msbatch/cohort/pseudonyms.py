"""Pseudonyms of patients under a secret key: the key's file, and the table that leads back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from msbatch.cohort.table import Cohort
from msbatch.errors import MsbatchError
from msbatch.files import open_regular, sync, write_csv
from msbatch.store import Store
from msbatch.text import safe

HDF5 = b"\x89HDF\r\n\x1a\n"
KEY_BYTES = 32
CHARACTERS = 10  # of base32: two of a million patients share one with a probability of 1 in 2000
FINGERPRINT = "key_fingerprint"  # among a store's settings
NEW = "msbatch key new FILE"
LOOKUP = ("pseudonym", "identifier")


@dataclass(frozen=True, repr=False)
class Key:
    """A secret key and the file it came from; it shows itself nowhere."""

    path: Path
    secret: bytes

    def pseudonym(self, identifier: str) -> str:
        """Give the pseudonym of a patient: the same for every way that Unicode spells the identifier."""
        spelled = unicodedata.normalize("NFC", identifier).strip()
        return f"P-{base64.b32encode(self._mac('patient', spelled)).decode()[:CHARACTERS]}"

    @property
    def fingerprint(self) -> str:
        """What tells this key from another; no guess of an identifier can be tested on it."""
        return self._mac("key", "").hex()[:16]

    def _mac(self, purpose: str, text: str) -> bytes:
        return hmac.new(self.secret, f"msbatch {purpose}\0{text}".encode(), hashlib.sha256).digest()


def new_key(path: Path) -> None:
    """Write a new random key, 64 hexadecimal digits, into a new file that only its owner may read.

    Raises
    ------
    MsbatchError
        If the file exists: under a new key, nobody's pseudonym is what it was.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise MsbatchError(f"{path} exists already.", "Choose another name: a key is never replaced.") from None
    with open(handle, "w", encoding="ascii") as out:  # noqa: PTH123
        out.write(f"{secrets.token_hex(KEY_BYTES)}\n")
    sync(path)
    sync(path.absolute().parent)


def read_key(path: Path) -> Key:
    """Read a key.

    Raises
    ------
    MsbatchError
        If the file is missing, belongs to somebody else, can be read by others, or does not hold a key.
    """
    path = path.expanduser()
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would keep us waiting
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MsbatchError(
            f"The key {path} cannot be read: {reason}.", f"Bring the one you packed with, or make the first one: {NEW}"
        ) from None
    try:
        _check_private(path, os.fstat(handle))
        text = os.read(handle, 4 * KEY_BYTES).strip()
    finally:
        os.close(handle)
    if not re.fullmatch(rb"[0-9a-f]{%d}" % (2 * KEY_BYTES), text):
        problem = f"is damaged or no key: it must hold {2 * KEY_BYTES} hexadecimal digits"
        _refuse_key(path, problem, f"Bring a copy of it, or make a first one: {NEW}")
    return Key(path, bytes.fromhex(text.decode("ascii")))


def pseudonymised(cohort: Cohort, key: Key) -> Cohort:
    """Give a cohort under pseudonyms and in their order.

    Raises
    ------
    MsbatchError
        If two patients have the same pseudonym.
    """
    owners: dict[str, str] = {}
    for patient in cohort.patients:
        other = owners.setdefault(key.pseudonym(patient.identifier), patient.identifier)
        if other != patient.identifier:
            raise MsbatchError(
                f"The patients {other} and {patient.identifier} have the same pseudonym.",
                "Write them alike if they are one patient, else rename one.",
            )
    patients = [replace(patient, identifier=key.pseudonym(patient.identifier)) for patient in cohort.patients]
    return replace(cohort, patients=tuple(sorted(patients, key=lambda patient: patient.identifier)))


def refuse_other_file(lookup: Path, store: Path) -> None:
    """Refuse to write the private table in place of anything but an earlier one.

    Raises
    ------
    MsbatchError
        If its path is that of the store, or of a file that begins otherwise.
    """
    other = lookup.resolve() == store.resolve()
    if lookup.exists() and not other:
        with lookup.open("rb") as file:
            other = file.readline(100).strip() != ",".join(LOOKUP).encode()
    if other:
        raise MsbatchError(
            f"{lookup} is no table of pseudonyms, so --lookup does not replace it.", "Name another file."
        )


def write_lookup(path: Path, cohort: Cohort, key: Key) -> None:
    """Write the private table from pseudonyms to identifiers, sorted by pseudonym."""
    pairs = sorted((key.pseudonym(patient.identifier), safe(patient.identifier)) for patient in cohort.patients)
    write_csv(path, LOOKUP, pairs)


def refuse_other_key(store: Path, key: Key | None) -> None:
    """Refuse to replace anything but a store, and a store by one whose patients would go by other names.

    Raises
    ------
    MsbatchError
        If the store was packed under another key, or under a key and none is given, or if that cannot be told.
    """
    if store.exists() and not _begins_as_a_store(store):
        problem = f"{store} is no store, so pack does not replace it."
        raise MsbatchError(problem, "Name another file, or remove it first.")
    try:
        before = _fingerprint(store)
    except MsbatchError:
        if key is not None:
            return
        raise MsbatchError(
            f"{store} cannot be read as a store, so it may hold pseudonyms.",
            "Give its key with --pseudonymise, or remove it first.",
        ) from None
    if before is None:
        return
    if key is None:
        raise MsbatchError(
            f"{store} holds pseudonyms; packed without a key, it would name the patients.",
            "Give its key with --pseudonymise, or write another store.",
        )
    if key.fingerprint != before:
        raise MsbatchError(
            f"{key.path} is not the key that {store} was packed with: it would give every patient another pseudonym.",
            "Give that key, or write another store.",
        )


def _begins_as_a_store(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(len(HDF5)) == HDF5


def _fingerprint(store: Path) -> str | None:
    if not store.exists():
        return None
    with Store(store) as opened:
        return opened.key_fingerprint


def _check_private(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        _refuse_key(path, "is not a file", f"Make one with: {NEW}")
    if facts.st_uid != os.geteuid():
        _refuse_key(path, "belongs to somebody else", "Keep a copy of your own, with mode 600.")
    if facts.st_mode & 0o077:
        _refuse_key(path, "can be read or written by others", f"Close it with: chmod 600 {path}")


def _refuse_key(path: Path, problem: str, hint: str) -> NoReturn:
    raise MsbatchError(f"The key {path} {problem}.", hint)

"""The errors a user can act on, and the exit code that each one gives."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msbatch.text import printable

LONGEST = 2000  # characters of a message: a file may hold a name of any length
FULL = (errno.ENOSPC, errno.EDQUOT)


class MsbatchError(Exception):
    """Something the user can mend; what it quotes of a file is written so that no terminal runs it.

    Parameters
    ----------
    problem : str
        What is wrong and where, in one line.
    hint : str, optional
        What to do next, in one line.
    """

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = _fit_to_show(problem)
        self.hint = _fit_to_show(hint)
        super().__init__(f"{self.problem}\n{self.hint}" if hint else self.problem)


def _fit_to_show(text: str) -> str:
    return printable(text if len(text) <= LONGEST else f"{text[:LONGEST]}...", "\n")


class IncompleteError(MsbatchError):
    """A study lacks some of its folds: what is there was written and marked as partial."""

    exit_code = 3


class StoppedError(MsbatchError):
    """A task stopped because it was asked to; it resumes from its checkpoint."""

    exit_code = 75


class DiskError(MsbatchError):
    """The disk that holds a file fails, or the way to it; that says nothing of the file.

    Parameters
    ----------
    problem, hint : str
        As of any error.
    filename : str, optional
        The file, as `OSError` gives it.
    """

    def __init__(self, problem: str, hint: str = "", filename: str | None = None) -> None:
        self.filename = filename
        super().__init__(problem, hint)


def disk_fails(number: int | None) -> bool:
    """Say whether an error number of the system tells of the disk, or of the way to it, rather than of a file."""
    return number in (errno.EIO, errno.ESTALE)


def disk_error(error: BaseException | None) -> OSError | None:
    """Find what the system said that caused an error, if it did: libraries wrap that in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error
        error = error.__context__
    return None


@contextmanager
def failing_disk_named(path: Path) -> Iterator[None]:
    """Read a file, and raise `DiskError`, which names it, where the disk fails; other errors stay as they are."""
    try:
        yield
    except OSError as error:
        if disk_fails(error.errno):
            raise explained(error, path) from None
        raise


def explained(error: OSError, path: Path | None = None) -> MsbatchError:
    """Say in words which file the system refused, why, and what to do.

    Parameters
    ----------
    error : OSError
        As the system gave it.
    path : Path, optional
        The file; one that is being read or written is not named by the error itself.
    """
    name = path or error.filename
    problem = f"{name}: {error.strerror or error}." if name else f"{error}"
    if disk_fails(error.errno):
        hint = "Its disk fails, or the way to it: try again later, or bring the file from a copy."
        return DiskError(problem, hint, str(name) if name else None)
    if error.errno in FULL:
        return MsbatchError(problem, "Free some space or choose another place, then give the same command again.")
    if name and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MsbatchError(problem, "See with ls -ld who may do that, or choose another place.")
    return MsbatchError(problem)

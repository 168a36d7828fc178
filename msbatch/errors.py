"""The errors a user can act on, and the exit code that each one gives."""

from __future__ import annotations

from msbatch.text import printable

LONGEST = 2000  # characters of a message: a file may hold a name of any length


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

"""The errors a user can act on, and the exit code that each one gives."""

from __future__ import annotations


class MsbatchError(Exception):
    """Something the user can mend.

    Parameters
    ----------
    problem : str
        What is wrong and where, in one line.
    hint : str, optional
        What to do next, in one line.
    """

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n{hint}" if hint else problem)


class IncompleteError(MsbatchError):
    """A study lacks some of its folds: what is there was written and marked as partial."""

    exit_code = 3


class StoppedError(MsbatchError):
    """A task stopped because it was asked to; it resumes from its checkpoint."""

    exit_code = 75

"""The type of a command that a test gives: its words in; exit code, standard output and standard error out."""

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]

"""The command line: one short command per verb, with its imports inside."""

from msbatch.cli.app import main

__all__ = ["main"]

"""A stand-in for Slurm: commands on the PATH that take jobs and run none, and what a test wants them to answer."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import slurm_program
from slurm_program import COMMANDS, ENDED, locked, read, row, write

CONFIG = {"AccountingStorageType": "accounting_storage/slurmdbd", "MaxArraySize": 1001}


class FakeSlurm:
    """A Slurm with an empty queue; every command notes how it was called.

    Parameters
    ----------
    folder : Path
        Where its commands are put; it must be on the PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in COMMANDS:
            command = [sys.executable, "-IS", slurm_program.__file__, str(folder), name]
            (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            (folder / name).chmod(0o755)
        for name, empty in {"queue": [], "jobs": [], "accounts": [], "config": CONFIG}.items():
            write(folder, name, empty)
        self.recovers()

    def behaves(self, mood: str) -> None:
        """Let sbatch behave oddly from now on.

        ``mumbles``: takes a job, but says that it timed out; ``kills``: takes a job and kills who asked;
        ``kills before``: kills who asked and takes nothing;
        ``slow``: thinks for a second before it takes a job; ``takes N``: refuses arrays once it has N jobs;
        ``holds N``: refuses every job then.
        """
        self._write("mood", mood)

    def refuses(self, command: str, words: str) -> None:
        """Let a command, such as ``squeue`` or ``sbatch --test-only``, fail with these words."""
        with locked(self.folder):
            write(self.folder, "refusals", {**read(self.folder, "refusals"), command: words})

    def recovers(self) -> None:
        """Let every command work again."""
        self._write("mood", "fine")
        self._write("refusals", {})

    def holds(self, *lines: str) -> None:
        """Let the queue hold these and no others, each as ``number|state|reason|left|node``; the others ended.

        A sixth word is the name; without it a job has the name that it had, or the one that traces.py gives.
        """
        with locked(self.folder):
            ended = [{**job, "T": ENDED} for job in read(self.folder, "queue") if job["name"]]
            names = {job["F"]: job["name"] for job in ended}
            new = [row(*line.split("|")) for line in lines]
            named = [{**job, "name": job["name"] or names.get(job["F"], f"msb-test-{job['F']}")} for job in new]
            write(self.folder, "queue", [*ended, *named])

    def names(self, name: str, number: str) -> None:
        """Let Slurm know a job that ended by its name."""
        with locked(self.folder):
            write(self.folder, "queue", [*read(self.folder, "queue"), row(number, ENDED, name=name)])

    def accounts(self, *lines: str) -> None:
        """Let accounting give these jobs, each as ``number|state|exit code``."""
        self._write("accounts", lines)

    def configures(self, **values: object) -> None:
        """Let the cluster be configured so."""
        self._write("config", {**CONFIG, **values})

    def jobs(self) -> list[dict[str, Any]]:
        """List what sbatch took: number, name, how many tasks, its options, and what it saw of a surrounding job."""
        with locked(self.folder):
            return list(read(self.folder, "jobs"))

    def calls(self, command: str = "") -> list[str]:
        """List how a command, or any, was called."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [line for line in lines if line.startswith(f"{command} " if command else "")]

    def _write(self, name: str, value: object) -> None:
        with locked(self.folder):
            write(self.folder, name, value)

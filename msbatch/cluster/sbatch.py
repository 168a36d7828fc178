"""One call of sbatch, through submitit: it is taken, refused, or found again by its name."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError, JobPaths
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from msbatch.access import dir_mode
from msbatch.cluster import slurm
from msbatch.cluster.batchcall import BatchCall
from msbatch.cluster.launches import LaunchFolder
from msbatch.cluster.ledger import Submission, read_ledger, record
from msbatch.errors import MsbatchError
from msbatch.layout import JobDir, RunDir

SETTLE_S = 120.0
LATE_S = 20.0
UNSURE = ("timed out", "unable to contact", "socket", "communication", "zero bytes", "make sense of")


class Sbatch:
    """One array, or one job, as submitit hands it to sbatch.

    Parameters
    ----------
    folder : Path
        The submission's own folder: pickles, logs, what the launcher reads.
    code : Path
        The frozen code that it runs.
    parameters : mapping
        Submitit's parameters.
    """

    def __init__(self, folder: Path, code: Path, parameters: Mapping[str, Any]) -> None:
        self.folder = folder
        self.parameters = dict(parameters)
        self._launcher = f"exec bash {shlex.quote(f'{code}/jobs/launch.sh')} {shlex.quote(str(JobDir(folder).conf))}"

    def text(self, number: int) -> str:
        """Write the script that sbatch is given for so many tasks."""
        command = f"{self._launcher} -u -m submitit.core._submit {shlex.quote(str(self.folder))}"
        counted = {"map_count": number} if number > 1 else {}
        written: str = _make_sbatch_string(command=command, folder=self.folder, **self.parameters, **counted)
        return written

    def submit(self, run: RunDir, entry: Submission, calls: Sequence[BatchCall]) -> Submission:
        """Submit one call per task and enter in the ledger what came of it.

        Raises
        ------
        MsbatchError
            With Slurm's words, if it refused: then nothing of this submission is left. Also if Slurm
            stopped answering: then the next submission finds out what became of it.
        """
        try:
            job = self._submit(calls)
        except (FailedJobError, FailedSubmissionError) as error:
            return _after_failure(run, entry, str(error))
        record(run, "submitted", name=entry.name, job=job)
        return replace(entry, job=job)

    def _submit(self, calls: Sequence[BatchCall]) -> str:
        with slurm.outside_any_job(), _private(), redirect_stderr(io.StringIO()):
            executor = SlurmExecutor(self.folder, python=self._launcher)
            executor.update_parameters(**self.parameters)
            jobs = executor.submit_array(calls)
        for link in self.folder.glob(".submission_file_*"):
            link.unlink()
        return str(jobs[0].job_id).partition("_")[0]


def settle(run: RunDir) -> None:
    """Find out what became of submissions that were broken off, by their names; a busy controller may be late.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    for entry in read_ledger(run):
        if entry.open:
            job = _named_by_now(entry)
            if job is None:
                forget(run, entry, "broken off before Slurm took it")
            else:
                _adopt(run, entry, job)


def _named_by_now(entry: Submission) -> str | None:
    age = time.time() - LaunchFolder(JobDir(entry.folder)).submitted
    late = time.monotonic() + min(LATE_S, LATE_S - age)
    while (job := slurm.named(entry.name)) is None and time.monotonic() < late:
        time.sleep(1)
    return job


def forget(run: RunDir, entry: Submission, reason: str) -> None:
    """Enter that Slurm does not have a submission, and remove its folder."""
    record(run, "refused", name=entry.name, reason=reason)
    shutil.rmtree(entry.folder, ignore_errors=True)


def _after_failure(run: RunDir, entry: Submission, words: str) -> Submission:
    job = _look_up(entry.name, patient=any(sign in words.casefold() for sign in UNSURE))
    if job is not None:
        return _adopt(run, entry, job)
    forget(run, entry, words)
    raise slurm.explain("sbatch", words)


def _look_up(name: str, patient: bool) -> str | None:
    """Ask for a job by its name; where sbatch itself was unsure, give Slurm time to come back."""
    deadline = time.monotonic() + SETTLE_S
    late = time.monotonic() + (LATE_S if patient else 0)  # a busy controller may yet get to it
    while True:
        try:
            job = slurm.named(name)
            if job is not None or time.monotonic() >= late:
                return job
            time.sleep(1)
        except slurm.SlurmError as error:
            if time.monotonic() > deadline:
                raise MsbatchError(
                    f"Slurm stopped answering while {name} was submitted: {error.problem}",
                    "Give the same command again later: it first looks whether Slurm has the job.",
                ) from None
            time.sleep(2)


def _adopt(run: RunDir, entry: Submission, job: str) -> Submission:
    """Take over a job that Slurm has although sbatch reported a failure: put its pickles where it looks for them."""
    taken = replace(entry, job=job)
    elements = {task: taken.element(task) for task in entry.tasks}
    check_own(entry.folder)
    for path in entry.folder.glob("*.pkl"):
        if not path.name.endswith(("_submitted.pkl", "_result.pkl")):
            task = _task_of(DelayedSubmission.load(path).function)
            number = job if task is None else elements[task]
            path.rename(JobPaths(entry.folder, job_id=number).submitted_pickle)
    for path in entry.folder.glob(".submission_file_*"):
        path.rename(JobPaths(entry.folder, job_id=job).submission_file)
    record(run, "submitted", name=entry.name, job=job)
    return taken


def check_own(folder: Path) -> None:
    """Check that nobody else can have written the pickles and launcher's settings of a folder: reading them runs them.

    Raises
    ------
    MsbatchError
        If the folder or a pickle belongs to somebody else, is a link, or can be written by others.
    """
    for path in (folder, *folder.glob("*.pkl"), *folder.glob("*.conf")):
        facts = path.lstat()
        if facts.st_uid != os.geteuid() or stat.S_ISLNK(facts.st_mode) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise MsbatchError(
                f"{path} is not yours alone, so nothing of it is run.",
                f"If it is yours: chmod -R go-w {folder}; if that changes nothing, keep runs on another file system.",
            )


def _task_of(call: BatchCall) -> int | None:
    return int(call.arguments[2]) if call.arguments[1:2] == ("--task",) else None


@contextmanager
def _private() -> Iterator[None]:
    before = os.umask(0o777 & ~dir_mode())
    try:
        yield
    finally:
        os.umask(before)

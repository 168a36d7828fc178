"""End what Slurm still holds of a run, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from msbatch.cluster import slurm
from msbatch.cluster.launches import LaunchFolder
from msbatch.cluster.ledger import Submission, read_ledger
from msbatch.layout import RunDir


@dataclass(frozen=True)
class Held:
    """What Slurm holds of a run.

    Attributes
    ----------
    jobs : tuple of str
        Numbers of arrays and jobs; reducers first, because they would start when the tasks are gone.
    queued, running : int
        Tasks.
    reducers : int
        Reducer jobs.
    """

    jobs: tuple[str, ...]
    queued: int
    running: int
    reducers: int


def held(run: RunDir) -> Held:
    """Find what Slurm holds of a run, also of submissions that were broken off or made by hand.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    ledger = read_ledger(run)
    reducers = {job for entry in ledger if entry.kind == "reduce" and (job := _job(entry))}
    arrays = {job for entry in ledger if entry.kind == "fold" and (job := _job(entry))} | _by_hand(run)
    found = {number: job.state for number, job in slurm.queued().items() if _array(number) in reducers | arrays}
    tasks = [state for number, state in found.items() if _array(number) in arrays]
    waiting = sum(state == "PENDING" for state in tasks)
    jobs = sorted({_array(number) for number in found}, key=lambda job: (job not in reducers, int(job)))
    return Held(tuple(jobs), waiting, len(tasks) - waiting, len(set(jobs) & reducers))


def _job(entry: Submission) -> str | None:
    return slurm.named(entry.name) if entry.open else entry.job


def _by_hand(run: RunDir) -> set[str]:
    return {_array(number) for number in LaunchFolder(run.by_hand).numbers}


def _array(number: str) -> str:
    return number.partition("_")[0]

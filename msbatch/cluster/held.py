"""What Slurm holds of a run: what its ledger tells, what was broken off, and what people submitted by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from msbatch.cluster import slurm
from msbatch.cluster.launches import LaunchFolder
from msbatch.cluster.ledger import Submission, live, read_ledger
from msbatch.cluster.slurm import Queued
from msbatch.files import sha256_json
from msbatch.layout import RunDir

PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
HAND_NAME = "msbatch"  # slurm/lopo_array.sbatch has it, and keeps it where --job-name is left out


@dataclass(frozen=True)
class Held:
    """What Slurm holds of a run.

    Attributes
    ----------
    queue : mapping of str to Queued
        By Slurm's number: tasks and reducers.
    tasks : mapping of int to str
        Slurm's number of each task.
    reducers : frozenset of str
        Which numbers are reducers.
    """

    queue: Mapping[str, Queued] = field(default_factory=dict)
    tasks: Mapping[int, str] = field(default_factory=dict)
    reducers: frozenset[str] = frozenset()

    @property
    def arrays(self) -> list[str]:
        """Numbers of the arrays and jobs that hold tasks, in ascending order."""
        return sorted({_array(number) for number in self.queue} - self.reducers, key=int)

    @property
    def jobs(self) -> list[str]:
        """Numbers of everything; reducers first, because they would start when the tasks are gone."""
        return [*sorted(self.reducers, key=int), *self.arrays]

    @property
    def queued(self) -> int:
        """How many tasks wait."""
        return sum(is_pending(job) for number, job in self.queue.items() if number not in self.reducers)

    @property
    def running(self) -> int:
        """How many tasks run."""
        return len(self.queue) - len(self.reducers) - self.queued


def held(run: RunDir) -> Held:
    """Find what Slurm holds of a run: jobs that have the number and the name of a submission.

    Of arrays that people submitted by hand, those are found that have the name of `by_hand_name`, and those of
    which an element has started, if they have the script's own name; their elements are task numbers.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    ledger = [_found(entry) for entry in read_ledger(run)]
    everything = slurm.queued()
    names = {entry.job: entry.name for entry in ledger}
    own = {number: job for number, job in everything.items() if names.get(_array(number)) == job.name}
    by_hand = _by_hand(run, everything)
    elements = [number.partition("_") for number in by_hand]
    tasks = {int(index): f"{array}_{index}" for array, _, index in elements if index}
    reducers = frozenset(entry.job for entry in ledger if entry.kind == "reduce" and entry.job in own)
    return Held({**by_hand, **own}, {**tasks, **live(ledger, own)}, reducers)


def held_if_submitted(run: RunDir) -> Held:
    """Find what Slurm holds of a run; nothing, and without asking, if it was never made ready for the Slurm here.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    return held(run) if run.on_cluster and slurm.available() else Held()


def by_hand_name(run: RunDir) -> str:
    """Give the name by which an array that somebody submits is known to be of this run before it starts."""
    return f"msb-by-hand-{sha256_json(str(run.root.resolve()))[:8]}"


def is_pending(job: Queued) -> bool:
    """Say whether a job waits, for the first time or once more."""
    return job.state in PENDING


def _found(entry: Submission) -> Submission:
    return replace(entry, job=slurm.named(entry.name)) if entry.open else entry


def _by_hand(run: RunDir, queue: Mapping[str, Queued]) -> dict[str, Queued]:
    """Choose what was submitted by hand."""
    started = {_array(number) for number in LaunchFolder(run.by_hand).numbers}
    name = by_hand_name(run)
    return {
        number: job
        for number, job in queue.items()
        if job.name == name or (job.name == HAND_NAME and _array(number) in started)
    }


def _array(number: str) -> str:
    return number.partition("_")[0]

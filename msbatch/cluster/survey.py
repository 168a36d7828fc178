"""How a run stands: what its files say, and what only Slurm can know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msbatch.cluster import slurm
from msbatch.cluster.held import PENDING, Held, held, is_pending
from msbatch.cluster.launches import LaunchFolder
from msbatch.cluster.ledger import Submission, read_ledger
from msbatch.cluster.reasons import Evidence, Reason, explain
from msbatch.cluster.slurm import Queued
from msbatch.cluster.status import ReducerStatus, RunStatus, TaskStatus, task_status
from msbatch.layout import JobDir, RunDir
from msbatch.plan import Task
from msbatch.state import AttemptRecord, read_attempts

UNFINISHED = (*PENDING, "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "STOPPED")
WAITED = re.compile(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]")
REDUCED = {0: "done", 3: "partial"}  # exit codes of a reducer


class Answers:
    """What Slurm says, asked as seldom as possible: how a job ended is asked until it is known."""

    def __init__(self) -> None:
        self._ended: dict[str, str] = {}

    def held(self, run: RunDir) -> tuple[Held | None, str]:
        """Give what Slurm holds of a run, or None and the reason in words."""
        if not slurm.available():
            return None, "There is no Slurm on this machine"
        try:
            return held(run), ""
        except slurm.SlurmError as error:
            return None, error.problem.rstrip(".")

    def ended(self, numbers: Iterable[str]) -> dict[str, str]:
        """Give accounting's state and exit code of jobs and elements; nothing where there is no accounting."""
        unknown = {number.partition("_")[0] for number in numbers if number not in self._ended}
        found = slurm.accounted(sorted(unknown))
        for row, job in found.items():
            if job.state not in UNFINISHED:
                self._ended |= dict.fromkeys(_elements(row), f"{job.state} {job.exit_code}")
        return self._ended


def survey(run: RunDir, tasks: Sequence[Task], answers: Answers | None = None) -> RunStatus:
    """Find out how a run stands.

    Parameters
    ----------
    run : RunDir
        The run.
    tasks : sequence of Task
        The tasks to look at.
    answers : Answers, optional
        To be given again by whoever looks again and again.
    """
    return _Survey(run, answers or Answers()).look(tasks)


@dataclass(frozen=True)
class _Place:
    """Where the newest start of a task, or of a reducer, is recorded."""

    folder: LaunchFolder
    number: str
    attempt: AttemptRecord | None = None

    @property
    def ended(self) -> bool:
        """Whether the launcher wrote down that it ended for good."""
        launch = self.folder.last(self.number)
        return launch is not None and launch.ended > 0 and not launch.requeued

    def told(self, status: TaskStatus) -> str:
        """Give the task's own reason, if it is of this start and not of an earlier one."""
        launch = self.folder.last(self.number)
        if status.phase != "failed" or launch is None or self.attempt is None:
            return ""
        return status.reason if launch.is_of(self.attempt.files) and self.attempt.number == status.attempt else ""


@dataclass(frozen=True)
class _Ended:
    """A task that ended without predictions, and where to look for the reason."""

    status: TaskStatus
    place: _Place
    told: str

    def judge(self, states: dict[str, str]) -> TaskStatus:
        evidence = self.place.folder.evidence(self.place.number, self.told, states.get(self.place.number, ""))
        return replace(_failed(self.status, explain(evidence)), job=self.place.number)


class _Survey:
    """One look at a run: at the ledger, then Slurm's queue, then the files, so that nothing slips through between."""

    def __init__(self, run: RunDir, answers: Answers) -> None:
        self._run = run
        self._answers = answers
        self._ledger = read_ledger(run)
        self._folders: dict[JobDir, LaunchFolder] = {}
        found, self._note = answers.held(run) if run.on_cluster else (Held(), "")
        self._held, self._answered = found or Held(), found is not None
        self._newest: dict[int, tuple[Submission, str]] = {}
        for entry in self._ledger:
            for number, task in entry.elements.items():
                self._newest[task] = entry, number

    def look(self, tasks: Sequence[Task]) -> RunStatus:
        looks = [self._look(task) for task in tasks]
        reducer = self._reducer()
        places = [look.place for look in looks if isinstance(look, _Ended)] + ([reducer] if reducer else [])
        lost = [place.number for place in places if place.number not in self._held.queue]
        states = self._answers.ended(lost) if lost and self._answered else {}
        return RunStatus(
            tasks=[look.judge(states) if isinstance(look, _Ended) else look for look in looks],
            reducer=self._reduction(reducer, states) if reducer else None,
            note=self._note,
            unsettled=[entry.name for entry in self._ledger if entry.open],
            silent=not self._answered and slurm.available(),
        )

    def _look(self, task: Task) -> TaskStatus | _Ended:
        status = task_status(self._run, task)
        if status.phase == "done":
            return status
        number = self._held.tasks.get(task.index, "")
        if number and status.phase != "failed":
            return _in_queue(status, number, self._held.queue[number])
        place = self._place(task)
        if place is None:
            return _failed(status, explain(Evidence(told=status.reason))) if status.phase == "failed" else status
        told = place.told(status)
        queued = self._held.queue.get(number or place.number)
        if queued is not None and not (told and _phase(queued) == "running"):
            return _in_queue(status, number or place.number, queued)
        if told or place.ended or self._answered:
            return _Ended(status, place, told)
        return replace(status, phase="waiting", reason="") if status.phase == "failed" else status

    def _place(self, task: Task) -> _Place | None:
        """Find a task's newest start under Slurm; None where it was never submitted, or runs on this machine."""
        entry, number = self._newest.get(task.index, (None, ""))
        attempts = read_attempts(self._run.task(task.arm, task.fold))
        last = attempts[-1] if attempts else None
        files = last.files if last else None
        if entry is not None:
            folder = self._folder(entry.folder)
            if last is None or last.time <= folder.submitted or (files and files.submission == entry.folder.name):
                return _Place(folder, number, last)
        if files is None:
            return None
        by_hand = self._folder(self._run.jobs / files.submission)  # somebody called sbatch without msbatch
        return _Place(by_hand, files.number, last)

    def _folder(self, root: Path) -> LaunchFolder:
        folder = JobDir(root)
        return self._folders.setdefault(folder, LaunchFolder(folder))

    def _reducer(self) -> _Place | None:
        entries = [entry for entry in self._ledger if entry.kind == "reduce" and entry.job]
        return _Place(self._folder(entries[-1].folder), str(entries[-1].job)) if entries else None

    def _reduction(self, place: _Place, states: dict[str, str]) -> ReducerStatus:
        number = place.number
        if number in self._held.queue:
            queued = self._held.queue[number]
            return ReducerStatus(number, _phase(queued), queued.reason if _phase(queued) == "queued" else "")
        launch = place.folder.last(number)
        if launch is not None and launch.exit_code in REDUCED:
            return ReducerStatus(number, REDUCED[launch.exit_code])
        if not place.ended and not self._answered:
            return ReducerStatus(number, "unknown")
        return ReducerStatus(number, "failed", explain(place.folder.evidence(number, "", states.get(number, ""))).said)


def _elements(row: str) -> list[str]:
    """Give the numbers that a row of accounting speaks of; elements that never began share one, as in 12_[3,5-7%2]."""
    match = WAITED.fullmatch(row)
    if match is None:
        return [row]
    spans = [span.partition("-") for span in match[2].split(",")]
    return [f"{match[1]}_{index}" for first, _, last in spans for index in range(int(first), int(last or first) + 1)]


def _phase(queued: Queued) -> str:
    return "queued" if is_pending(queued) else "running"


def _in_queue(status: TaskStatus, number: str, queued: Queued) -> TaskStatus:
    if _phase(queued) == "queued":
        return replace(status, phase="queued", job=number, reason=queued.reason, silent_s=None)
    return replace(status, phase="running", job=number, reason="", silent_s=None, left=queued.left, node=queued.node)


def _failed(status: TaskStatus, reason: Reason) -> TaskStatus:
    return replace(
        status,
        phase="failed",
        silent_s=None,
        category=reason.category,
        reason=reason.said,
        hint=reason.hint,
        options=reason.options,
    )

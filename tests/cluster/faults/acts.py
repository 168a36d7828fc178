"""What is done at random to studies and to the cluster under them: all of it follows from a seed."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import running
from grounds import Grounds
from shared import SharedStudy
from study import TASKS, StudyError

KILL_WITHIN_S = 8.0
NODES = ("v1", "v2")


@dataclass(frozen=True)
class Act:
    """One thing that is done.

    Attributes
    ----------
    name : str
        Of `STUDY_ACTS` or `CLUSTER_ACTS`.
    pause_s : float
        How long nothing is done before it.
    luck : float
        In [0, 1): after how long a command is killed, at which step a task is struck, how long a daemon is away.
    tasks : tuple of int
        It hits the first of these that runs.
    """

    name: str
    pause_s: float
    luck: float
    tasks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Script:
    """A study and what is done to it, in this order; its other tasks were done before."""

    name: str
    runtime: str
    tasks: tuple[int, ...]
    acts: tuple[Act, ...]


def draw_script(seed: int, number: int) -> Script:
    """Draw one study: it is submitted in some way, and then 3 to 7 things are done to it."""
    rng = random.Random(f"{seed} study {number}")
    tasks = tuple(sorted(rng.sample(range(TASKS), rng.choice((2, 2, 3, TASKS)))))
    names = [
        rng.choice(FIRST),
        *rng.choices(list(STUDY_ACTS), [act.weight for act in STUDY_ACTS.values()], k=rng.randint(3, 7)),
    ]
    acts = [Act(name, rng.uniform(0, 8), rng.random(), tuple(rng.sample(tasks, len(tasks)))) for name in names]
    return Script(f"study-{number:03d}", rng.choice(("sif", "sandbox")), tasks, tuple(acts))


def draw_weather(seed: int) -> Iterator[Act]:
    """Draw what is done to the cluster, without an end."""
    rng = random.Random(f"{seed} weather")
    while True:
        yield Act(rng.choice(list(CLUSTER_ACTS)), rng.uniform(5, 30), rng.random())


# --- what people and accidents do to a study --------------------------------------------------------------


@dataclass(frozen=True)
class StudyAct:
    """How an act is done, how often it is drawn, and whether it is a fault."""

    do: Callable[[SharedStudy, Act], None]
    weight: int = 1
    fault: bool = True


def _submit(study: SharedStudy, _act: Act) -> None:
    study.end(study.begin(*study.submission))


def _submit_twice(study: SharedStudy, _act: Act) -> None:
    for process in [study.begin(*study.submission) for _ in range(2)]:
        study.end(process)


def _fold(act: Act) -> str:
    return str(act.tasks[0])  # one backbone: tasks are numbered as folds are


def _rerun(study: SharedStudy, act: Act) -> None:
    study.end(study.begin("rerun", "--folds", _fold(act), "--yes"))


def _rerun_fresh(study: SharedStudy, act: Act) -> None:
    study.end(study.begin("rerun", "--folds", _fold(act), "--fresh", "--yes"))


def _command(*words: str) -> Callable[[SharedStudy, Act], None]:
    return lambda study, _act: _ended(study.end(study.begin(*words)).returncode in (0, 3))


def _killed(*words: str, number: int = signal.SIGKILL) -> Callable[[SharedStudy, Act], None]:
    """Give the act of killing a command in the midst of its work."""

    def do(study: SharedStudy, act: Act) -> None:
        given = [word.format(fold=_fold(act)) for word in words] or study.submission
        done = study.end(study.begin(*given), act.luck * KILL_WITHIN_S, number)
        _ended(done.returncode in (-number, 130))

    return do


def _ended(as_meant: bool) -> None:
    if not as_meant:
        raise StudyError("it did not come to that")


def _task(strike: Callable[[SharedStudy, int, int], None]) -> Callable[[SharedStudy, Act], None]:
    """Give the act of striking a task as the fault campaign does."""
    return lambda study, act: strike(study, study.choose(act.tasks), int(act.luck * 20))


def _frozen(study: SharedStudy, task: int, step: int) -> None:
    with study.paused(task, step):
        time.sleep(step)


def _reducer_cancelled(study: SharedStudy, _act: Act) -> None:
    jobs = [entry.job for entry in study.ledger if entry.kind == "reduce" and entry.job]
    _ended(bool(jobs) and jobs[-1] in study.jobs())
    study.grounds.root("scancel", jobs[-1])


def _reducer_killed(study: SharedStudy, _act: Act) -> None:
    def reducers() -> list:  # type: ignore[type-arg]
        return [process for process in study.processes() if "/jobs/reduce.py" in process.command]

    study.wait(reducers, "a reducer", 40)
    for process in reducers():
        process.send(signal.SIGKILL)


FIRST = ("submit", "submit", "submit killed", "two submits at once")
STUDY_ACTS = {
    "submit": StudyAct(_submit, fault=False),
    "rerun": StudyAct(_rerun, fault=False),
    "rerun from the start": StudyAct(_rerun_fresh, fault=False),
    "status": StudyAct(_command("status"), fault=False),
    "reduce": StudyAct(_command("reduce"), fault=False),
    "report": StudyAct(_command("report"), fault=False),
    "two submits at once": StudyAct(_submit_twice),
    "cancel": StudyAct(_command("cancel", "--yes")),
    "submit killed": StudyAct(_killed(), 3),
    "submit interrupted": StudyAct(_killed(number=signal.SIGINT)),
    "rerun killed": StudyAct(_killed("rerun", "--failed", "--yes"), 2),
    "rerun from the start killed": StudyAct(_killed("rerun", "--folds", "{fold}", "--fresh", "--yes"), 2),
    "status killed": StudyAct(_killed("status")),
    "reduce killed": StudyAct(_killed("reduce"), 2),
    "reduce interrupted": StudyAct(_killed("reduce", number=signal.SIGINT)),
    "report killed": StudyAct(_killed("report")),
    "cancel killed": StudyAct(_killed("cancel", "--yes")),
    "scancel": StudyAct(_task(running.cancelled), 2),
    "requeue": StudyAct(_task(running.requeued), 2),
    "rank killed": StudyAct(_task(running.rank_killed), 2),
    "rank frozen": StudyAct(_task(_frozen)),
    "launcher killed": StudyAct(_task(running.launcher_killed), 2),
    "checkpoint corrupted": StudyAct(_task(running.newest_checkpoint_corrupted)),
    "time limit lowered": StudyAct(_task(running.limit_lowered)),
    "reducer cancelled": StudyAct(_reducer_cancelled),
    "reducer killed": StudyAct(_reducer_killed, 2),
}


# --- what happens to the cluster ---------------------------------------------------------------------------


def _away(
    daemons: tuple[str, ...], shortest_s: float, longest_s: float, frozen: bool = False
) -> Callable[[Grounds, Act], None]:
    """Give the act of killing or freezing a daemon, and of bringing it back."""

    def do(grounds: Grounds, act: Act) -> None:
        daemon = daemons[int(act.luck * 1000) % len(daemons)]
        grounds.kill(daemon, signal.SIGSTOP if frozen else signal.SIGKILL)
        time.sleep(shortest_s + act.luck * (longest_s - shortest_s))
        if frozen:
            grounds.kill(daemon, signal.SIGCONT)

    return do


def _preempted(grounds: Grounds, act: Act) -> None:
    node = NODES[int(act.luck * 1000) % 2]
    wanted = ("--partition=high", "--exclusive", f"--nodelist={node}", "--time=3", "--output=/dev/null")
    grounds.run("sbatch", *wanted, "--wrap", "sleep 2")


_NODES = tuple(f"d-{node}" for node in NODES)
CLUSTER_ACTS: dict[str, Callable[[Grounds, Act], None]] = {
    "controller killed": _away(("slurmctld",), 0, 10),
    "controller frozen": _away(("slurmctld",), 3, 20, frozen=True),
    "accounting killed": _away(("slurmdbd",), 0, 20),
    "accounting frozen": _away(("slurmdbd",), 3, 20, frozen=True),
    "node daemon killed": _away(_NODES, 0, 8),
    "node daemon frozen": _away(_NODES, 3, 15, frozen=True),
    "node lost": _away(_NODES, 28, 45),
    "node out of touch": _away(_NODES, 28, 45, frozen=True),
    "preempted": _preempted,
}

"""The kinds of faults: one short function each, and what must come of it."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study import Study, StudyError

from msbatch.cluster.ledger import read_ledger

When = Literal["before", "submit", "held", "task", "alone"]
CONTAINERS = ("sif", "sandbox")


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    strike : callable
        Given the study, a task and a step, does it; it ends when the fault is over.
    when : str
        ``before`` submitting (it must be refused), instead of an ordinary ``submit``, to one ``held`` task before
        it starts, to one running ``task``, or ``alone`` because it hits more than one task.
    outcome : str
        ``healed``, or ``rerun`` where the task must be named and run again; empty: either.
    words : str
        What the reason must contain, where the task is named.
    restarts : bool
        Whether the struck task must have been started again by itself.
    options, variant : tuple of str
        Of the submission, and of the cluster.
    disk : str
        The folder of the study, ``scratch`` or ``runs``, that lies on a small disk of its own.
    runtimes : tuple of str
        It is injected once in each.
    """

    name: str
    strike: Callable[[Study, int, int], None]
    when: When
    outcome: str = "healed"
    words: str = ""
    restarts: bool = False
    options: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    disk: str = ""
    runtimes: tuple[str, ...] = CONTAINERS


# --- before submitting: it is refused, and nothing is queued ------------------------------------------


def _refused(study: Study, said: str, *options: str, **environment: str) -> None:
    done = study.msbatch(*study.submission, *options, **environment)
    if done.returncode == 0 or said not in done.stdout or "Traceback" in done.stdout:
        raise StudyError(f"not refused as it should be ({done.returncode}): {done.stdout[-300:]}")
    if study.grounds.queue():
        raise StudyError("it was refused, but something is queued")


def bad_partition(study: Study, _task: int, _step: int) -> None:
    _refused(study, "--partition", "--partition", "nowhere")


def bad_account(study: Study, _task: int, _step: int) -> None:
    _refused(study, "--account", "--account", "nobody")


def bad_qos(study: Study, _task: int, _step: int) -> None:
    _refused(study, "--qos", "--qos", "none-such")


def no_slurm(study: Study, _task: int, _step: int) -> None:
    _refused(study, "There is no Slurm on this machine", path="/nowhere")


def unwritable_runs(study: Study, _task: int, _step: int) -> None:
    runs = study.folder / "runs"
    runs.mkdir(exist_ok=True)
    study.give(runs)
    runs.chmod(0o500)
    try:
        _refused(study, "runs")
    finally:
        runs.chmod(0o700)


def wrong_image(study: Study, _task: int, _step: int) -> None:
    image = study.folder / "image.sif"
    with _Away(image, _head(image)):
        _refused(study, "image.sif")


# --- while submitting: every task is submitted exactly once --------------------------------------------


def two_submits(study: Study, _task: int, _step: int) -> None:
    both = [study.grounds.begin("msbatch", *study.submission, cwd=study.folder) for _ in range(2)]
    for process in both:
        process.communicate(timeout=240)
    _once(study)


def submit_killed(study: Study, _task: int, _step: int) -> None:
    process = study.grounds.begin("msbatch", *study.submission, cwd=study.folder)
    study.wait(lambda: _submitting(study), "the submission's entry in the ledger")
    process.kill()
    process.communicate()
    study.submit()
    _once(study)


def controller_killed_while_submitting(study: Study, _task: int, _step: int) -> None:
    process = study.grounds.begin("msbatch", *study.submission, cwd=study.folder)
    study.wait(lambda: _submitting(study), "the submission's entry in the ledger")
    study.grounds.kill("slurmctld")
    time.sleep(3)
    study.grounds.start()
    process.communicate(timeout=300)
    study.submit()
    _once(study)


def submitted_inside_a_job(study: Study, _task: int, _step: int) -> None:
    words = " ".join(["msbatch", *study.submission])
    study.grounds.user("sbatch", "--time=5", "--output=inside.log", "--wrap", words, cwd=study.folder)
    study.wait(lambda: _submitted(study, "reduce"), "the submission from inside a job")
    _once(study)


def _submitting(study: Study) -> bool:
    runs = list((study.folder / "runs").glob("*/submissions.jsonl"))
    return bool(runs) and bool(runs[0].read_text())


def _submitted(study: Study, kind: str) -> bool:
    if not list((study.folder / "runs").glob("*/submissions.jsonl")):
        return False
    return any(entry.kind == kind and entry.job for entry in read_ledger(study.run))


def _once(study: Study) -> None:
    ledger = [entry for entry in read_ledger(study.run) if entry.job]
    tasks = sorted(task for entry in ledger for task in entry.tasks)
    names = study.grounds.root("squeue", "--noheader", "--states=all", "--format", "%F %j").splitlines()
    unknown = {line for line in names if "msb-" in line} - {f"{entry.job} {entry.name}" for entry in ledger}
    ours = {line for line in unknown if line.split()[1].split("-")[1] == ledger[0].name.split("-")[1]}
    if tasks != study.tasks or any(entry.open for entry in read_ledger(study.run)):
        raise StudyError(f"tasks were submitted as {tasks}")
    if any(_later(line, ledger[0].job) for line in ours):
        raise StudyError(f"Slurm has jobs that the ledger does not know: {sorted(ours)}")


def _later(line: str, job: str | None) -> bool:
    """Say whether a job is of this study: its cluster ran others of the same signature before."""
    return int(line.split()[0]) >= int(job or 0)


# --- a task that has not started yet -------------------------------------------------------------------


class _Away:
    """A file that is not there for a while; something else may be in its place."""

    def __init__(self, path: Path, instead: bytes | None) -> None:
        self.path, self.instead = path, instead
        self.aside = path.with_name(f"{path.name}.aside")

    def __enter__(self) -> None:
        self.path.rename(self.aside)
        if self.instead is not None:
            self.path.write_bytes(self.instead)
            self.path.chmod(0o644)

    def __exit__(self, *_: object) -> None:
        self.aside.replace(self.path)


def _head(image: Path) -> bytes:
    with image.open("rb") as handle:
        return handle.read(1 << 20)


def image_missing(study: Study, task: int, _step: int) -> None:
    with _Away(study.folder / "image.sif", None):
        _start_and_end(study, task)


def image_truncated(study: Study, task: int, _step: int) -> None:
    image = study.folder / "image.sif"
    with _Away(image, _head(image)):
        _start_and_end(study, task)


def store_missing(study: Study, task: int, _step: int) -> None:
    with _Away(study.folder / "cohort.h5", None):
        _start_and_end(study, task)


def scratch_full(study: Study, task: int, _step: int) -> None:
    with _Full(study.scratch):
        _start_and_end(study, task)


def out_of_memory(study: Study, task: int, _step: int) -> None:
    study.grounds.control("update", f"JobId={study.element(task)}", "MinMemoryNode=300")
    _start_and_end(study, task)


def _start_and_end(study: Study, task: int) -> None:
    study.release(task)
    study.wait_gone(task)


class _Full:
    """A disk that is full for a while."""

    def __init__(self, folder: Path) -> None:
        self.filler = folder / "filler"

    def __enter__(self) -> None:
        with self.filler.open("wb", buffering=0) as out:
            try:
                while True:
                    out.write(bytes(1 << 16))
            except OSError:
                pass

    def __exit__(self, *_: object) -> None:
        self.filler.unlink()


# --- a running task --------------------------------------------------------------------------------------


def cancelled(study: Study, task: int, step: int) -> None:
    study.wait_step(task, step)
    study.grounds.root("scancel", study.element(task))


def rank_killed(study: Study, task: int, step: int) -> None:
    study.wait_step(task, step)
    study.ranks(task)[step % 2].send(signal.SIGKILL)


def launcher_killed(study: Study, task: int, step: int) -> None:
    study.wait_step(task, step)
    for process in study.grounds.processes():
        if _runs_launcher(process.command) and process.environment.get("SLURM_JOB_ID") == _job_id(study, task):
            process.send(signal.SIGKILL)


def _runs_launcher(command: str) -> bool:
    return command.startswith("bash ") and "/jobs/launch.sh " in command


def _job_id(study: Study, task: int) -> str:
    return study.grounds.root("squeue", "--noheader", "--jobs", study.element(task), "--format", "%A").strip()


def requeued(study: Study, task: int, step: int) -> None:
    study.wait_step(task, step)
    study.grounds.control("requeue", study.element(task))
    study.wait_restart(task)


def newest_checkpoint_corrupted(study: Study, task: int, step: int) -> None:
    with study.paused(task, max(step, 10)):
        newest = max(study.task(task).checkpoints.glob("step-*.pt"))
        with newest.open("r+b") as file:
            file.seek(newest.stat().st_size // 2)
            file.write(b"not what was written")
        study.grounds.control("requeue", study.element(task))
        study.wait_restart(task)


def limit_lowered(study: Study, task: int, step: int) -> None:
    with study.paused(task, step):
        start = study.starts(task)[-1]
        ran_s = time.time() - start.with_name(f"{start.name}.start").stat().st_mtime
        study.set_limit(task, int(ran_s + 45) // 60 + 1)  # a limit that is past would end it at once
        study.wait_told(task)
    study.set_limit(task, 10)  # or its next start had one minute too
    study.wait_restart(task)


def hung(study: Study, task: int, step: int) -> None:
    with study.paused(task, step):
        study.wait_restart(task)


def squashfuse_killed(study: Study, task: int, step: int) -> None:
    study.wait_step(task, step)
    payload = {number for process in study.payload(task) for number in (process.pid, process.parent)}
    struck = [one for one in study.grounds.processes() if "squashfuse" in one.command and one.parent in payload]
    if not struck:
        raise StudyError("there is no squashfuse to kill")
    for process in struck:
        process.send(signal.SIGKILL)


# --- more than one task -------------------------------------------------------------------------------------


def time_limit(study: Study, task: int, step: int) -> None:
    with study.paused(task, step):
        study.wait_told(task)
    study.wait_restart(task)


def preempted(study: Study, task: int, step: int) -> None:
    with study.paused(task, step):
        wanted = ("--partition=high", "--exclusive", f"--nodelist={study.node(task)}", "--time=3")
        study.grounds.user("sbatch", *wanted, "--output=/dev/null", "--wrap", "sleep 2", cwd=study.folder)
        study.wait_told(task)
    study.wait_restart(task)


def node_lost(study: Study, task: int, step: int) -> None:
    with study.paused(task, step) as old:
        before = study.attempts(task)
        study.grounds.kill(f"d-{study.node(task)}")
        study.wait_restart(task)
        study.wait(lambda: study.attempts(task) > before, "a newer attempt")
    end = time.monotonic() + 30
    while time.monotonic() < end and any(Path(f"/proc/{process.pid}").exists() for process in old):
        if f'"attempt": {before},' in study.task(task).state.read_text():
            raise StudyError("the old attempt wrote after the new one began")
        time.sleep(0.05)
    study.grounds.start()


def controller_killed(study: Study, task: int, step: int) -> None:
    study.wait_step(task, step)
    study.grounds.kill("slurmctld")
    time.sleep(8)
    study.grounds.start()


def accounting_killed(study: Study, task: int, step: int) -> None:
    study.wait_step(task, step)
    study.grounds.kill("slurmdbd")
    study.status()


def disk_full(study: Study, task: int, step: int) -> None:
    for entry in read_ledger(study.run):
        if entry.kind == "reduce":
            study.grounds.control("hold", str(entry.job))
    study.wait_step(task, step)
    with _Full(study.folder / "runs"):
        for number in study.tasks:
            study.wait_gone(number)
    study.release()


KINDS = (
    Kind("bad partition", bad_partition, "before", runtimes=("sandbox",)),
    Kind("bad account", bad_account, "before", runtimes=("sandbox",)),
    Kind("bad QOS", bad_qos, "before", runtimes=("sandbox",)),
    Kind("no Slurm", no_slurm, "before", runtimes=("sandbox",)),
    Kind("runs not writable", unwritable_runs, "before", runtimes=("sandbox",)),
    Kind("image cut off before", wrong_image, "before", runtimes=("sif",)),
    Kind("two submits at once", two_submits, "submit", runtimes=("sandbox",)),
    Kind("submit killed", submit_killed, "submit", runtimes=("sandbox",)),
    Kind("controller killed in submit", controller_killed_while_submitting, "submit", runtimes=("sandbox",)),
    Kind("submit inside a job", submitted_inside_a_job, "submit", runtimes=("sandbox",)),
    Kind("image missing", image_missing, "held", "rerun", "image is missing"),
    Kind("image cut off", image_truncated, "held", "rerun", "cut off"),
    Kind("store missing", store_missing, "held", "rerun", "cohort.h5"),
    Kind("scratch full", scratch_full, "held", "", "scratch|space|disk", disk="scratch"),
    Kind("out of memory", out_of_memory, "held", "rerun", "out of memory"),
    Kind("scancel", cancelled, "task", "rerun", "cancelled"),
    Kind("rank killed", rank_killed, "task", "rerun", "was killed"),
    Kind("launcher killed", launcher_killed, "task", "rerun", "launcher|killed"),
    Kind("requeue", requeued, "task", restarts=True),
    Kind("checkpoint corrupted", newest_checkpoint_corrupted, "task", restarts=True),
    Kind("time limit lowered", limit_lowered, "task", restarts=True),
    Kind("hung", hung, "task", restarts=True, options=("--hang", "3")),
    Kind("squashfuse killed", squashfuse_killed, "task", "", ".", runtimes=("sif",)),
    Kind("time limit", time_limit, "alone", restarts=True, options=("--time", "3")),
    Kind("preempted, grace", preempted, "alone", restarts=True),
    Kind("preempted, grace, signal", preempted, "alone", restarts=True, variant=("--preempt-signal",)),
    Kind("preempted, no grace", preempted, "alone", restarts=True, options=("--partition", "nograce")),
    Kind("node daemon killed", node_lost, "alone", restarts=True),
    Kind("controller killed", controller_killed, "alone", runtimes=("sandbox",)),
    Kind("accounting killed", accounting_killed, "alone", runtimes=("sandbox",)),
    Kind(
        "scancel, no accounting",
        cancelled,
        "alone",
        "rerun",
        "cancelled",
        variant=("--no-accounting",),
        runtimes=("sandbox",),
    ),
    Kind("disk full", disk_full, "alone", "rerun", "disk|space|killed|unknown", disk="runs", runtimes=("sandbox",)),
)

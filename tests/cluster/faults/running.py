"""Faults that hit tasks once they are submitted; each function ends when its fault is over."""

import signal
import time
from pathlib import Path

from disturbances import Away, Full, head
from study import Study, StudyError

from msbatch.cluster.ledger import read_ledger
from msbatch.cluster.logs import log_files
from msbatch.plan import load_plan

# --- a task that has not started yet -------------------------------------------------------------------


def image_missing(study: Study, task: int, _step: int) -> None:
    with Away(study.folder / "image.sif", None):
        _start_and_end(study, task)


def image_truncated(study: Study, task: int, _step: int) -> None:
    image = study.folder / "image.sif"
    with Away(image, head(image)):
        _start_and_end(study, task)


def store_missing(study: Study, task: int, _step: int) -> None:
    with Away(study.folder / "cohort.h5", None):
        _start_and_end(study, task)


def scratch_full(study: Study, task: int, _step: int) -> None:
    with Full(study.scratch):
        _start_and_end(study, task)


def sandbox_purged(study: Study, task: int, _step: int) -> None:
    study.purge_sandbox()
    _start_and_end(study, task)
    said = "".join(path.read_text() for path in log_files(study.run, load_plan(study.run.plan).tasks[task]))
    if "unpacking the image" not in said or "runs as it is" in said:
        raise StudyError("the image was not unpacked again")


def out_of_memory(study: Study, task: int, _step: int) -> None:
    study.grounds.control("update", f"JobId={study.element(task)}", "MinMemoryNode=300")
    _start_and_end(study, task)


def _start_and_end(study: Study, task: int) -> None:
    study.release(task)
    study.wait_gone(task)


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
    return study.grounds.root("squeue", "--noheader", "--jobs", study.element(task), "--format", "%A").stdout.strip()


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
        study.grounds.run("sbatch", *wanted, "--output=/dev/null", "--wrap", "sleep 2", cwd=study.folder)
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
    with Full(study.folder / "runs"):
        for number in study.tasks:
            study.wait_gone(number)
    study.release()

"""Faults before and while a study is submitted: it is refused, or every task is submitted exactly once."""

import time

from disturbances import Away, head
from study import Study, StudyError

from msbatch.cluster.ledger import read_ledger

# --- before submitting: it is refused, and nothing is queued ------------------------------------------


def _refused(study: Study, said: str, *options: str, **environment: str) -> None:
    done = study.msbatch(*study.submission, *options, **environment)
    if done.returncode == 0 or said not in done.stderr or "Traceback" in done.stderr:
        raise StudyError(f"not refused as it should be ({done.returncode}): {done.stderr[-300:]}")
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
    with Away(image, head(image)):
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
    study.grounds.run("sbatch", "--time=5", "--output=inside.log", "--wrap", words, cwd=study.folder)
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
    names = study.grounds.root("squeue", "--noheader", "--states=all", "--format", "%F %j").stdout.splitlines()
    unknown = {line for line in names if "msb-" in line} - {f"{entry.job} {entry.name}" for entry in ledger}
    ours = {line for line in unknown if line.split()[1].split("-")[1] == ledger[0].name.split("-")[1]}
    if tasks != study.tasks or any(entry.open for entry in read_ledger(study.run)):
        raise StudyError(f"tasks were submitted as {tasks}")
    if any(_later(line, ledger[0].job) for line in ours):
        raise StudyError(f"Slurm has jobs that the ledger does not know: {sorted(ours)}")


def _later(line: str, job: str | None) -> bool:
    """Say whether a job is of this study: its cluster ran others of the same signature before."""
    return int(line.split()[0]) >= int(job or 0)

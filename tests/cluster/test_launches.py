"""What is read of the logs of a job that started more than once."""

from pathlib import Path

from msbatch.cluster.launches import LaunchFolder
from msbatch.cluster.reasons import explain
from msbatch.layout import JobDir

OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch.\n"


def start(folder: LaunchFolder, restart: int) -> None:
    files = folder.folder.launch("12_0", restart)
    files.start.parent.mkdir(exist_ok=True)
    files.start.write_text("v1\n")
    files.end.write_text('{"exit": 2, "cause": "", "requeued": false, "started": 1, "ended": 2}')
    with folder.logs("12_0")[1].open("a") as log:
        log.write(f"[launch 2026-11-24 22:44:44] 12_0, restart {restart}, on v1, limit 2026-11-24 22:54:44\n")


def test_what_slurm_said_of_an_earlier_start_does_not_explain_this_one(tmp_path: Path) -> None:
    start(LaunchFolder(JobDir(tmp_path)), 0)
    with LaunchFolder(JobDir(tmp_path)).logs("12_0")[1].open("a") as log:
        log.write(OOM)
    assert explain(LaunchFolder(JobDir(tmp_path)).evidence("12_0")).category == "out of memory"
    start(LaunchFolder(JobDir(tmp_path)), 1)
    assert explain(LaunchFolder(JobDir(tmp_path)).evidence("12_0")).category == "unknown"

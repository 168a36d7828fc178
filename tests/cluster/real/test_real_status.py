"""What status, logs, cancel and doctor tell of real jobs that were ended in many ways."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from studies import CANARY, make_study, newest_run, status, submit, told_to_others

from msbatch.layout import RunDir

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LONG = ("--backbones", "test_vit", "--runtime", "none", "--processes", "1", "--folds", "0,1,2,3")


@pytest.fixture(scope="module")
def broken(cluster: Cluster) -> Iterator[Path]:
    """Run four tasks that would take hours; cancel the first, kill the second, kill the launcher of the third."""
    folder = cluster.new_folder("broken")
    make_study(cluster, folder)
    settings = folder / "msbatch.toml"
    settings.write_text(settings.read_text().replace("steps = 24", "steps = 100000\npatience = 100000"))
    submit(cluster, folder, *LONG)
    cluster.wait(lambda: [task["step"] > 0 for task in status(cluster, folder)["tasks"]][:4] == [True] * 4, 240)
    tasks = status(cluster, folder)["tasks"]
    cluster.run("scancel", tasks[0]["job"])
    os.kill(process(newest_run(folder), "fold.py", "--task\0001\0"), signal.SIGKILL)
    os.kill(launcher(newest_run(folder), 2), signal.SIGKILL)
    cluster.wait(lambda: [task["phase"] for task in status(cluster, folder)["tasks"]][:3] == ["failed"] * 3, 120)
    yield folder
    cluster.run("msbatch", "cancel", "--yes", cwd=folder)


def process(run: RunDir, *words: str) -> int:
    """Find a process of a run whose command line has these words."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_text(errors="replace")
        except OSError:
            continue
        if str(run.root) in line and all(word in line for word in words):
            return int(entry.parent.name)
    raise AssertionError(f"no process of {run.root} has {words}")


def launcher(run: RunDir, task: int) -> int:
    """Find the launcher of a task: the nearest parent of its process that runs launch.sh."""
    number = process(run, "fold.py", f"--task\0{task}\0")
    while "launch.sh" not in Path(f"/proc/{number}/cmdline").read_text():
        number = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    return number


def categories(cluster: Cluster, folder: Path) -> list[str]:
    return [task["category"] for task in status(cluster, folder)["tasks"][:4]]


def test_each_end_has_its_reason(cluster: Cluster, broken: Path) -> None:
    assert categories(cluster, broken) == ["cancelled", "out of memory", "killed", ""]
    running = status(cluster, broken)["tasks"][3]
    assert (running["phase"], running["node"] in ("v1", "v2")) == ("running", True)
    assert running["left"]
    said = cluster.run("msbatch", "status", cwd=broken).stdout
    assert "probably out of memory: it was killed (exit code 137)" in said
    assert "--failed --backbones test_vit --folds 1 --mem 4" in said
    assert "waits: for the tasks (Dependency)" in said


def test_without_accounting_the_same_ends_are_told_by_what_they_left(
    cluster: Cluster, broken: Path, variant: Callable[..., None]
) -> None:
    variant("--no-accounting")
    assert categories(cluster, broken)[:3] == ["cancelled", "out of memory", "node lost"]
    done = cluster.run("msbatch", "doctor", "--runtime", "none", cwd=broken)
    assert "note  accounting" in done.stdout


def test_without_a_controller_the_files_are_shown(cluster: Cluster, broken: Path) -> None:
    cluster.kill("slurmctld", signal.SIGTERM)
    try:
        said = cluster.run("msbatch", "status", cwd=broken).stdout
    finally:
        cluster.start()
    assert "Unable to contact slurm controller" in said
    assert "100000" in said, "the running task and its step"


def test_the_doctor_finds_the_cluster_in_order(cluster: Cluster, broken: Path) -> None:
    said = cluster.run("msbatch", "doctor", cwd=broken).stdout
    assert "FAIL" not in said
    assert "rootless, in user namespaces" in said
    done = cluster.run("msbatch", "doctor", "--account", "nobody", cwd=broken, check=False)
    assert done.returncode == 1
    assert "cluster.account (--account)" in done.stdout


def test_logs_end_with_how_the_task_stands(cluster: Cluster, broken: Path) -> None:
    said = cluster.run("msbatch", "logs", "--fold", "1", "-n", "5", cwd=broken).stdout
    assert "step " in said
    assert "the task ended with 137" in said
    assert said.splitlines()[-1].startswith("test_vit fold 01 is failed, job ")


def test_memory_that_slurm_refused_is_told_with_the_amount(cluster: Cluster, broken: Path) -> None:
    cluster.run("msbatch", "rerun", "--folds", "0", "--mem", "0.2", "--yes", cwd=broken)
    cluster.wait(lambda: status(cluster, broken)["tasks"][0]["phase"] == "failed", 120)
    task = status(cluster, broken)["tasks"][0]
    assert task["reason"] == "out of memory: Slurm ended it at its limit of 0.2 GB"
    assert task["options"] == "--mem 0.4"


def test_cancel_ends_the_run_and_leaves_other_jobs_alone(cluster: Cluster, broken: Path) -> None:
    other = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 600", cwd=broken).stdout.strip()
    try:
        assert "1 running task and " in cluster.run("msbatch", "cancel", "--yes", cwd=broken).stdout
        cluster.wait(lambda: not status(cluster, broken)["tasks"][3]["job"] or categories(cluster, broken)[3])
        assert categories(cluster, broken)[3] == "cancelled"
        assert cluster.run("squeue", "--noheader", "--jobs", other).stdout.strip()
        assert "Slurm holds nothing of it" in cluster.run("msbatch", "cancel", cwd=broken).stdout
    finally:
        cluster.run("scancel", other)


def test_logs_and_states_of_failures_name_no_patient(broken: Path) -> None:
    run = newest_run(broken)
    assert CANARY in run.plan.read_text(), "this is what the test is about"
    assert list(run.jobs.glob("*/*.err"))
    assert told_to_others(run) == []

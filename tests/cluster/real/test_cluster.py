"""The test cluster itself: it answers, it accounts, it kills what takes too much memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import USER, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_there_are_two_nodes_with_two_gpus_each(cluster: Cluster) -> None:
    shown = cluster.run("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %G %c").stdout
    assert shown.splitlines() == ["v1 gpu:2 8", "v2 gpu:2 8"]


def test_a_job_of_the_ordinary_user_is_accounted_for(cluster: Cluster, folder: Path) -> None:
    job = cluster.run("sbatch", "--parsable", "--wait", "--wrap=id -un >user", cwd=folder).stdout.strip()
    assert (folder / "user").read_text().strip() == USER
    state = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State,Account"]
    cluster.wait(lambda: cluster.run(*state).stdout.strip() == "COMPLETED|lab")


def test_what_takes_more_memory_than_asked_is_killed(cluster: Cluster, folder: Path) -> None:
    greedy = "python3 -c 'x = bytearray(400_000_000); import time; time.sleep(60)'; echo survived"
    done = cluster.run("sbatch", "--wait", "--mem=100M", "--output=log", f"--wrap={greedy}", cwd=folder, check=False)
    assert done.returncode != 0
    log = (folder / "log").read_text()
    assert "exceeded memory limit" in log
    assert "survived" not in log


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--partition=none"], "invalid partition"),
        (["--account=none"], "Invalid account"),
        (["--qos=none"], "Invalid qos"),
    ],
)
def test_what_does_not_exist_is_refused(cluster: Cluster, folder: Path, options: list[str], said: str) -> None:
    done = cluster.run("sbatch", *options, "--wrap=true", cwd=folder, check=False)
    assert done.returncode != 0
    assert said in done.stderr


def test_variants_are_a_restart_away(cluster: Cluster, folder: Path, variant: Callable[..., None]) -> None:
    variant("--no-accounting", "--max-array-size", "8", "--preempt-signal")
    assert "disabled" in cluster.run("sacct", check=False).stderr
    assert cluster.run("sbatch", "--array=0-8", "--wrap=true", cwd=folder, check=False).returncode != 0
    assert "preempt_send_user_signal" in cluster.run("scontrol", "show", "config").stdout
    variant()
    assert cluster.run("sacct").returncode == 0

"""What tests on the real Slurm need: the running cluster, its variants, folders for studies.

MSBATCH_CLUSTER names the folder of a running cluster (tests/cluster/up).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster

FOLDER = Path(os.environ.get("MSBATCH_CLUSTER", "/tmp/msbatch-cluster"))  # noqa: S108


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Give the running cluster, in its plain variant, with nothing queued."""
    if os.geteuid() != 0 or not (FOLDER / "env.sh").is_file():
        pytest.skip("no test cluster: as root, run tests/cluster/up")
    cluster = Cluster(FOLDER)
    cluster.start()
    return cluster


@pytest.fixture
def variant(cluster: Cluster) -> Iterator[Callable[..., None]]:
    """Give what restarts the cluster with other options, and go back to the plain variant afterwards."""
    yield cluster.start
    cluster.start()


@pytest.fixture
def folder(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give an empty folder of the ordinary user; jobs submitted from there end with the test."""
    folder = cluster.new_folder(request.node.name.partition("[")[0])
    yield folder
    for line in cluster.root("squeue", "--noheader", "--format=%A %Z", check=False).stdout.splitlines():
        job, _, place = line.partition(" ")
        if Path(place).is_relative_to(folder):
            cluster.root("scancel", job, check=False)

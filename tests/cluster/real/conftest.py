"""What tests on the real Slurm need: commands of the ordinary user, commands of root, folders for studies.

MSBATCH_CLUSTER names the folder of a running cluster (tests/cluster/up).
"""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from msbatch.layout import PACKAGE

CHECKOUT = PACKAGE.parent
FOLDER = Path(os.environ.get("MSBATCH_CLUSTER", "/tmp/msbatch-cluster"))  # noqa: S108


class Cluster:
    """A running test cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.image = (folder / "image.sif").resolve()
        self.user = os.environ.get("MSBATCH_TEST_USER", "msbatch")
        self.slurm = {"SLURM_CONF": str(folder / "slurm.conf")}

    def run(
        self,
        *words: str | Path,
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 240,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as the ordinary user, with an environment of its own."""
        own = {
            "HOME": pwd.getpwnam(self.user).pw_dir,
            "PATH": f"{CHECKOUT / '.venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **self.slurm,
            **(env or {}),
        }
        variables = [f"{name}={value}" for name, value in own.items()]
        command = ["runuser", "-u", self.user, "--", "env", "-i", *variables, *map(str, words)]
        return _call(command, check, cwd or self.work, timeout)

    def root(self, *words: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command as root."""
        return _call(["env", *(f"{k}={v}" for k, v in self.slurm.items()), *map(str, words)], check, self.folder, 240)

    def new_folder(self, name: str) -> Path:
        """Make an empty folder of the ordinary user, where a study can live."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        shutil.chown(folder, self.user, self.user)
        return folder

    def pid(self, daemon: str) -> int:
        """Give the process of a daemon: slurmctld, slurmdbd, mariadbd, munged, d-v1 or d-v2."""
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def start(self, *options: str) -> None:
        """Start what is down; with other options than before, restart the controller and the nodes with them."""
        self.root("bash", CHECKOUT / "tests" / "cluster" / "slurm.sh", "start", self.folder, *options)

    def wait(self, ready: Callable[[], object], seconds: float = 60) -> None:
        """Wait until something is true.

        Raises
        ------
        AssertionError
            If it is not after that many seconds; the queue is shown.
        """
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, f"not in {seconds} s\n{self.root('squeue', check=False).stdout}"
            time.sleep(0.3)


def _call(command: list[str], check: bool, cwd: Path, timeout: float) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


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

"""A running test cluster: commands of the ordinary user, commands of root, and its daemons."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msbatch.layout import PACKAGE

CHECKOUT = PACKAGE.parent
HERE = CHECKOUT / "tests" / "cluster"
USER = os.environ.get("MSBATCH_TEST_USER", "msbatch")
PATH = "/usr/local/bin:/usr/bin:/bin"

Done = subprocess.CompletedProcess[str]


class Cluster:
    """A cluster under a folder (tests/cluster/up)."""

    def __init__(self, folder: Path, slurm: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.image = (folder / "image.sif").resolve()
        self.slurm = {"SLURM_CONF": str(folder / "slurm.conf"), **(slurm or {})}

    def begin(self, *words: str | Path, cwd: Path | None = None, path: str = PATH) -> "subprocess.Popen[str]":
        """Start a command as the ordinary user, with an environment of its own."""
        person = pwd.getpwnam(USER)
        own = {"HOME": person.pw_dir, "PATH": f"{CHECKOUT / '.venv' / 'bin'}:{path}", "LANG": "C.UTF-8"}
        return subprocess.Popen(
            [*map(str, words)],
            cwd=cwd or self.work,
            env={**own, **self.slurm},
            user=person.pw_uid,
            group=person.pw_gid,
            extra_groups=[],
            umask=0o022,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *words: str | Path, check: bool = True, cwd: Path | None = None, path: str = PATH, timeout: float = 300
    ) -> Done:
        """Run a command as the ordinary user."""
        with self.begin(*words, cwd=cwd, path=path) as process:
            try:
                out, error = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return _judged(Done(process.args, process.returncode, out, error), check)

    def root(self, *words: str | Path, check: bool = True, timeout: float = 240) -> Done:
        """Run a command as root."""
        own = {"HOME": "/root", "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.slurm}
        command = [*map(str, words)]
        done = subprocess.run(
            command, env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
        return _judged(done, check)

    def new_folder(self, name: str) -> Path:
        """Make an empty folder of the ordinary user, where a study can live."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        shutil.chown(folder, USER, USER)
        return folder

    def start(self, *options: str) -> None:
        """Start what is down; with other options than before, restart the controller and the nodes with them."""
        self.root("bash", HERE / "slurm.sh", "start", self.folder, *options)

    def pid(self, daemon: str) -> int:
        """Give the process of a daemon: slurmctld, slurmdbd, mariadbd, munged, d-v1 or d-v2."""
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def kill(self, daemon: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill a daemon."""
        os.kill(self.pid(daemon), number)

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


def _judged(done: Done, check: bool) -> Done:
    assert not check or done.returncode == 0, f"{done.args}: {done.returncode}\n{done.stdout[-800:]}\n{done.stderr}"
    return done

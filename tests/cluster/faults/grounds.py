"""A test cluster for one worker alone, so that what a study does to its daemons hits no other study."""

import json
import os
import pwd
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from msbatch.layout import PACKAGE

CHECKOUT = PACKAGE.parent
HERE = CHECKOUT / "tests" / "cluster"
USER = os.environ.get("MSBATCH_TEST_USER", "msbatch")

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Process:
    """A process of the ordinary user on one cluster."""

    pid: int
    parent: int
    command: str
    environment: dict[str, str]

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Grounds:
    """A cluster under a folder, with ports of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.image = Path()
        self._slurm = {"SLURM_CONF": str(folder / "slurm.conf"), "MSBATCH_CLUSTER_PORT": str(port)}
        self._root = {"HOME": "/root", "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self._slurm}

    def up(self, image: Path | None) -> None:
        """Start the cluster, and find or build the image where none is given."""
        self.root(HERE / "up", self.folder, *(["--no-image"] if image else []), timeout=1800)
        self.image = (image or self.folder / "image.sif").resolve()

    def start(self, *variant: str) -> None:
        """Start what is down; with other options than before, restart the controller and the nodes with them."""
        self.root("bash", HERE / "slurm.sh", "start", self.folder, *variant)

    def clear(self) -> None:
        """Go back to the plain variant with nothing queued and none of the user's processes left."""
        self.start()
        for number in self.queue():
            self.root("scancel", number, check=False)
        end = time.monotonic() + 60
        while self.queue() and time.monotonic() < end:
            time.sleep(0.5)
        for process in self.processes():
            process.send(signal.SIGKILL)

    def down(self) -> None:
        self.root(HERE / "down", self.folder, check=False)

    def root(self, *words: str | Path, check: bool = True, timeout: float = 120) -> str:
        """Run a command as root and give what it printed."""
        done = subprocess.run(
            [*map(str, words)],
            env=self._root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{words[0]} {words[1]}: {done.stdout[-400:]}")
        return done.stdout

    def begin(self, *words: str | Path, cwd: Path, path: str = "/usr/local/bin:/usr/bin:/bin") -> subprocess.Popen[str]:
        """Start a command as the ordinary user."""
        person = pwd.getpwnam(USER)
        own = {"HOME": person.pw_dir, "PATH": f"{CHECKOUT / '.venv' / 'bin'}:{path}", "LANG": "C.UTF-8", **self._slurm}
        return subprocess.Popen(
            [*map(str, words)],
            cwd=cwd,
            env=own,
            user=person.pw_uid,
            group=person.pw_gid,
            extra_groups=[],
            umask=0o022,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def user(self, *words: str | Path, cwd: Path, **options: str) -> Done:
        """Run a command as the ordinary user."""
        process = self.begin(*words, cwd=cwd, **options)
        out, _ = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out)

    def queue(self) -> dict[str, tuple[str, str, str]]:
        """Give state, reason and node of every job and element that Slurm holds."""
        lines = self.root("squeue", "--noheader", "--array", "--format", "%i|%T|%r|%N").splitlines()
        rows = [line.strip().split("|") for line in lines]
        return {row[0]: (row[1], row[2], row[3]) for row in rows if len(row) == 4}

    def control(self, *words: str) -> None:
        self.root("scontrol", *words)

    def kill(self, daemon: str) -> None:
        """Kill a daemon: slurmctld, slurmdbd, d-v1 or d-v2."""
        os.kill(int((self.folder / "run" / f"{daemon}.pid").read_text()), signal.SIGKILL)

    def processes(self) -> list[Process]:
        """List the ordinary user's processes that belong to this cluster."""
        uid, found = pwd.getpwnam(USER).pw_uid, []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if entry.stat().st_uid == uid:
                    found.append(_read(entry))
        own = {process.pid for process in found if self._owns(process)}
        # What runs a container, and what mounts its image, hide their environment: they are parent and sibling.
        above = {process.parent for process in found if process.pid in own}
        own |= {process.pid for process in found if process.pid in above and "Apptainer" in process.command}
        return sorted((one for one in found if {one.pid, one.parent} & own), key=lambda process: process.pid)

    def _owns(self, process: Process) -> bool:
        told = (process.environment.get("SLURM_CONF", ""), process.environment.get("MSBATCH_LAUNCH", ""))
        return self._slurm["SLURM_CONF"] in told or f"{self.work}/" in " ".join((process.command, *told))


def sandbox_of(base: Path, image: Path) -> Path:
    """Give where the image lies unpacked, once for all studies of all campaigns."""
    digest = json.loads(Path(f"{image}.json").read_text())["sha256"]
    return base.parent / str(digest)[:16]


def record_of(sandbox: Path) -> Path:
    """Give the file that says of how many files a sandbox consists."""
    return sandbox.with_name(f"{sandbox.name}.files")


def _read(entry: Path) -> Process:
    words = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
    environment = dict(word.split("=", 1) for word in words if "=" in word)
    command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return Process(int(entry.name), parent, command, environment)

"""A test cluster for one worker alone, so that what a study does to its daemons hits no other study."""

import json
import os
import pwd
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slurm_cluster import HERE, USER, Cluster


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


class Grounds(Cluster):
    """A cluster under a folder, with ports of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, {"MSBATCH_CLUSTER_PORT": str(port)})

    def up(self, image: Path | None) -> None:
        """Start the cluster, and find or build the image where none is given."""
        self.root(HERE / "up", self.folder, *(["--no-image"] if image else []), timeout=1800)
        self.image = (image or self.folder / "image.sif").resolve()

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

    def queue(self) -> dict[str, tuple[str, str, str]]:
        """Give state, reason and node of every job and element that Slurm holds."""
        lines = self.root("squeue", "--noheader", "--array", "--format", "%i|%T|%r|%N").stdout.splitlines()
        rows = [line.strip().split("|") for line in lines]
        return {row[0]: (row[1], row[2], row[3]) for row in rows if len(row) == 4}

    def control(self, *words: str) -> None:
        self.root("scontrol", *words)

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
        return self.slurm["SLURM_CONF"] in told or f"{self.work}/" in " ".join((process.command, *told))


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

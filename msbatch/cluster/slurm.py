"""What is asked of Slurm: its own commands, with their errors in words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from msbatch.errors import MsbatchError

TIMEOUT_S = 60
DEFAULT_MAX_ARRAY = 1001
JOB_VARIABLES = ("SLURM_", "SRUN_", "SUBMITIT_", "SBATCH_JOB_NAME")
KEPT_VARIABLES = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")

SILENT = ("unable to contact", "no such file or directory", "could not establish a configuration source", "timed out")

# What Slurm says about an option it does not like, and the setting that holds it.
KEYS = {
    "invalid partition": "cluster.partition (--partition)",
    "invalid account or account/partition": "cluster.account (--account) and cluster.partition (--partition)",
    "invalid account": "cluster.account (--account)",
    "invalid qos": "cluster.qos (--qos)",
    "invalid feature": "cluster.constraint (--constraint)",
    "invalid generic resource": "cluster.gpus (--gpus) and cluster.gpu_type (--gpu-type)",
    "requested time limit": "cluster.time_min (--time)",
    "time limit exceeds": "cluster.time_min (--time)",
    "memory specification": "cluster.mem_gb (--mem)",
    "node configuration is not available": "cluster.cpus, mem_gb, gpu_type or compute.processes",
    "cpu count": "cluster.cpus (--cpus)",
    "unrecognized option": "cluster.extra (--extra)",
    "invalid option": "cluster.extra (--extra)",
}


class SlurmError(MsbatchError):
    """Slurm refused, or did not answer."""


@dataclass(frozen=True)
class Queued:
    """A job or array element that Slurm still holds.

    Attributes
    ----------
    state : str
        As Slurm writes it: PENDING, RUNNING, COMPLETING, ...
    reason : str
        Why it is pending, in Slurm's word.
    left : str
        Time left, as Slurm writes it.
    node : str
        Where it runs; empty while it waits.
    name : str
        What it was submitted as: a controller that was set up anew gives its numbers once more.
    """

    state: str
    reason: str
    left: str
    node: str
    name: str


@dataclass(frozen=True)
class Accounted:
    """What accounting keeps of a job: its state, and exit code with signal as ``code:signal``."""

    state: str
    exit_code: str


def available() -> bool:
    """Say whether this machine can submit to Slurm."""
    return shutil.which("sbatch") is not None


def call(*words: str) -> str:
    """Run one of Slurm's commands and give its output.

    Raises
    ------
    SlurmError
        With Slurm's own words, and the setting to change where they tell.
    """
    return _run(words).stdout


def explain(command: str, words: str) -> SlurmError:
    """Turn what Slurm printed into an error that names the setting to change."""
    told = [re.sub(rf"^{command}: (error: )?", "", line.strip()) for line in words.splitlines() if line.strip()]
    problem = "; ".join(dict.fromkeys(told)) or "no reason given"
    if any(sign in problem.casefold() for sign in SILENT):
        return SlurmError(
            f"Slurm does not answer ({command}): {problem}", "Try again later, or run here: submit --local."
        )
    key = next((key for said, key in KEYS.items() if said in problem.casefold()), "")
    return SlurmError(f"Slurm refused ({command}): {problem}", f"Change {key}." if key else "")


def check() -> None:
    """Refuse to go on without a Slurm that answers.

    Raises
    ------
    SlurmError
        If there is none on this machine, or its controller does not answer.
    """
    if not available():
        raise SlurmError(
            "There is no Slurm on this machine (no sbatch found).", "Run the same tasks on this machine with --local."
        )
    call("squeue", "--noheader", "--user", str(os.getuid()))


def queued() -> dict[str, Queued]:
    """List this user's jobs that Slurm still holds, by number; elements of arrays one by one.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    form = "%F|%K|%A|%T|%r|%L|%N|%j"
    lines = call("squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", form).splitlines()
    found: dict[str, Queued] = {}
    for line in lines:
        array, index, job, state, reason, left, node, name = line.strip().split("|", 7)
        found[f"{array}_{index}" if index.isdecimal() else job] = Queued(state, reason, left, node, name)
    return found


def named(name: str) -> str | None:
    """Find the number of this user's job of a name, in the queue or in accounting.

    Raises
    ------
    SlurmError
        If Slurm does not answer.
    """
    user = str(os.getuid())
    numbers = call("squeue", "--noheader", "--states=all", "--user", user, "--name", name, "--format", "%F").split()
    if not numbers:
        numbers = _accounting("--name", name, "--format", "JobID")
    return numbers[0].partition("_")[0] if numbers else None


def accounted(jobs: Sequence[str]) -> dict[str, Accounted]:
    """Give what accounting says of jobs and their elements, by number; nothing where there is no accounting."""
    if not jobs:
        return {}
    lines = _accounting("--jobs", ",".join(jobs), "--format", "JobID%40,State%40,ExitCode")
    rows = [line.split("|") for line in lines]
    return {row[0]: Accounted(row[1], row[2]) for row in rows if len(row) == 3}


def has_accounting() -> bool:
    """Say whether the cluster keeps accounts of its jobs."""
    found = re.search(r"AccountingStorageType\s*=\s*(\S+)", call("scontrol", "show", "config"))
    return found is not None and found[1] not in ("accounting_storage/none", "(null)")


def max_array_size() -> int:
    """Give how many elements an array may have; numbers start at 0 and stay below it."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
    return int(found.group(1)) if found else DEFAULT_MAX_ARRAY


def cancel(numbers: Sequence[str]) -> None:
    """Cancel jobs or elements of arrays; those that ended meanwhile do not matter."""
    if numbers:
        call("scancel", "--quiet", *numbers)


def test_only(options: Sequence[str]) -> str:
    """Ask Slurm whether it would take a job with these options, without submitting one; give its estimate.

    Raises
    ------
    SlurmError
        If it would not.
    """
    done = _run(["sbatch", "--test-only", *options, "--wrap", "true"])
    return done.stderr.strip().removeprefix("sbatch: ")


def environment() -> dict[str, str]:
    """Give this process's environment without what a surrounding job put there."""
    return {name: value for name, value in os.environ.items() if not _of_a_job(name)}


@contextmanager
def outside_any_job() -> Iterator[None]:
    """Submit as from a login node, also where this process is itself part of a job."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if _of_a_job(name)}
    try:
        yield
    finally:
        os.environ.update(before)


def _of_a_job(name: str) -> bool:
    return name.startswith(JOB_VARIABLES) and name not in KEPT_VARIABLES


def _accounting(*words: str) -> list[str]:
    try:
        told = call("sacct", "--noheader", "--parsable2", "--allocations", "--starttime", "now-30days", *words)
    except SlurmError:
        return []  # no accounting here, or none just now: its answers only add detail
    return [line for line in told.splitlines() if line.strip()]


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment(), errors="replace"
        )
    except FileNotFoundError:
        raise SlurmError(f"There is no Slurm on this machine (no {words[0]} found).") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{words[0]} gave no answer in {TIMEOUT_S} seconds.", "Try again in a while.") from None
    if done.returncode:
        raise explain(words[0], done.stderr or done.stdout)
    return done

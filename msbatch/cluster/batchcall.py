"""What submitit pickles for Slurm: the call of one job script inside the container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

from msbatch.cluster.jobcall import POLL_S, open_log, task_environment
from msbatch.lock import is_alive


@dataclass(frozen=True)
class BatchCall:
    """Run a job script until it ends, and end with its exit code.

    The launcher on the host decides what follows from the code, so nothing is pickled unless it is 0.

    Parameters
    ----------
    script : str
        Path of the job script.
    arguments : tuple of str
        Its arguments.
    log : str
        Where its output is appended to; empty: to the job's own.
    threads : int
        CPU threads of each process.
    """

    script: str
    arguments: tuple[str, ...]
    log: str
    threads: int

    def __call__(self) -> None:
        """Run the script.

        Raises
        ------
        SystemExit
            With the script's exit code, or 128 and the signal that killed it.
        """
        for number in (signal.SIGTERM, signal.SIGUSR2):  # the launcher's business
            signal.signal(number, signal.SIG_IGN)
        command = [sys.executable, self.script, *self.arguments]
        out = open_log(self.log) if self.log else None
        process = subprocess.Popen(
            command, env=task_environment(self.threads), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        with process:
            code = _wait(process)
        if code:
            raise SystemExit(code if code > 0 else 128 - code)


def _wait(process: subprocess.Popen[bytes]) -> int:
    owner = int(os.environ["MSBATCH_OWNER"])
    while is_alive(owner):
        with suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
    os.killpg(0, signal.SIGKILL)  # the launcher was killed: nobody is left to say what follows
    raise AssertionError("unreachable")

"""What submitit pickles for this machine: the call of a job script, as plain strings and numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from msbatch.access import file_mode
from msbatch.files import make_dir
from msbatch.lock import is_alive

POLL_S = 0.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class JobCall:
    """Run a job script on one task or a few, in a process group that ends with the submission.

    The process starts from the script's path, so it finds the msbatch beside the script and no other.

    Parameters
    ----------
    script, run, log : str
        Paths of the job script, the run and the log, which is appended to.
    tasks : tuple of int
        The tasks' numbers in the plan.
    threads : int
        CPU threads of each process of the task.
    devices : str or None
        CUDA_VISIBLE_DEVICES as the user had it.
    owner : int
        Process of the submission; when it is gone, however it went, the script is stopped.
    """

    script: str
    run: str
    log: str
    tasks: tuple[int, ...]
    threads: int
    devices: str | None
    owner: int

    def __call__(self) -> int:
        """Run the script and give its exit code."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        command = [sys.executable, self.script, self.run, "--task", *map(str, self.tasks)]
        with open_log(self.log) as log:
            process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with process:
            return self._wait(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        try:
            while is_alive(self.owner):
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(POLL_S)
            raise InterruptedError(f"process {self.owner}, which submitted the task, is gone")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        kept = task_environment(self.threads)
        kept.pop("CUDA_VISIBLE_DEVICES", None)  # submitit numbers devices anew, from 0
        return kept if self.devices is None else {**kept, "CUDA_VISIBLE_DEVICES": self.devices}


def open_log(path: str) -> IO[bytes]:
    """Open a log to append to; `msbatch.access` says who may read it."""
    make_dir(Path(path).parent)
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, file_mode()), "ab")  # noqa: PTH123


def task_environment(threads: int) -> dict[str, str]:
    """Give the environment of a job script: this one's, without submitit's names, offline, with so many threads."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBMITIT_")}
    limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {**kept, **limits, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}

"""What the launcher pickles: the call of one task, as plain strings and numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from msbatch.cluster.lock import is_alive

POLL_S = 0.5
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class JobCall:
    """Run a job script on one task, in a process group that ends with the submission.

    The process starts from the script's path, so it finds the msbatch beside the script and no other.

    Parameters
    ----------
    script, run, log : str
        Paths of the job script, the run and the task's log, which is appended to.
    task : int
        The task's number in the plan.
    threads : int
        CPU threads of each process of the task.
    devices : str or None
        CUDA_VISIBLE_DEVICES as the user had it.
    owner : int
        Process of the submission; when it is gone, however it went, the task is stopped.
    """

    script: str
    run: str
    log: str
    task: int
    threads: int
    devices: str | None
    owner: int

    def __call__(self) -> dict[str, int]:
        """Run the task and give its number and exit code."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        command = [sys.executable, self.script, self.run, "--task", str(self.task)]
        Path(self.log).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:  # noqa: PTH123
            process = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with process:
            return {"task": self.task, "exit_code": self._wait(process)}

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
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBMITIT_")}
        kept.pop("CUDA_VISIBLE_DEVICES", None)  # submitit numbers devices anew, from 0
        if self.devices is not None:
            kept["CUDA_VISIBLE_DEVICES"] = self.devices
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        return {**kept, **threads, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}

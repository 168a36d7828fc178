"""What the launcher pickles: the call of one task, as plain strings and numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class JobCall:
    """Run a job script on one task, in a process of its own.

    The process starts from the script's path, so it finds the msbatch beside the script and no other.

    Parameters
    ----------
    script, run, log : str
        Paths of the job script, the run and the task's log, which is appended to.
    task : int
        The task's number in the plan.
    threads : int
        CPU threads of each process of the task.
    """

    script: str
    run: str
    log: str
    task: int
    threads: int

    def __call__(self) -> dict[str, int]:
        """Run the task and give its number and exit code."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        environment |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, self.script, self.run, "--task", str(self.task)]
        Path(self.log).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:  # noqa: PTH123
            done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
        return {"task": self.task, "exit_code": done.returncode}

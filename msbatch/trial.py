"""A store of unknown origin, read first by a process that may be lost: a damaged file can make HDF5 hang or crash."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from msbatch.errors import MsbatchError
from msbatch.layout import PACKAGE
from msbatch.store import Store, StoreError

LEAST_CPU_S = 5
CPU_S_PER_MIB = 0.1
CODE = "import sys; sys.path.insert(0, sys.argv[1]); from msbatch.trial import main; main()"


def try_store(path: Path) -> None:
    """Read a store's structure and small values in another process; whoever knows its hash need not.

    Raises
    ------
    StoreError
        If that process crashed or went on for ever. What is merely wrong is said by `Store`, which can then be used.
    """
    if not path.is_file():
        return
    cpu_s = LEAST_CPU_S + round(CPU_S_PER_MIB * path.stat().st_blocks * 512 / (1 << 20))
    command = [sys.executable, "-c", CODE, str(PACKAGE.parent), str(path), str(cpu_s)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode < 0:
        what = "read for ever" if -done.returncode in (signal.SIGXCPU, signal.SIGKILL) else "crash"
        raise StoreError(f"{path} is damaged: it makes HDF5 {what}.", "Pack the images again.")


def main() -> None:
    """Read the store that the command line names, within so many seconds of work."""
    path, cpu_s = Path(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(MsbatchError), Store(path) as store:
        for patient in store.patients:
            store.attributes(patient)
            store.labels(patient)

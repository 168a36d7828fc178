"""Do tasks of a run, such as train one fold: ``python jobs/fold.py RUN --task 3``."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the msbatch beside this script is the one that runs

from msbatch.access import write_as
from msbatch.errors import MsbatchError, StoppedError
from msbatch.layout import RunDir
from msbatch.logs import configure


def main() -> int:
    """Run the tasks that the command line names; one that fails does not keep the others from being done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--task", type=int, required=True, nargs="+", help="the task's number in the plan")
    given = parser.parse_args()
    write_as(given.run)
    configure()
    if "MSBATCH_LAUNCH" in os.environ:  # signals are the launcher's business; it asks by a file
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
    from msbatch.training.task import run_task

    exit_code = 0
    for index in given.task:
        try:
            run_task(RunDir(given.run), index)
        except MsbatchError as error:
            logging.getLogger("msbatch").error("%s", error)
            exit_code = error.exit_code
            if isinstance(error, StoppedError):
                break
    return exit_code


if __name__ == "__main__":
    raise SystemExit(main())

"""Reduce the predictions of a run to its tables: ``python jobs/reduce.py RUN``."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the msbatch beside this script is the one that runs

from msbatch.access import write_as
from msbatch.errors import IncompleteError, MsbatchError, explained
from msbatch.layout import RunDir
from msbatch.logs import configure


def main() -> int:
    """Reduce the run that the command line names; exit code 3 where folds are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--wait-s", type=float, default=0, help="for files that a shared file system may show late")
    given = parser.parse_args()
    write_as(given.run)
    configure()
    from msbatch.results.late import wait_for_late
    from msbatch.results.reduce import reduce

    try:
        wait_for_late(RunDir(given.run), given.wait_s)
        missing = reduce(RunDir(given.run)).missing
    except MsbatchError as error:
        logging.getLogger("msbatch").error("%s", error)
        return error.exit_code
    except OSError as error:  # no space left, a folder that may not be written, ...
        logging.getLogger("msbatch").error("%s", explained(error))
        return MsbatchError.exit_code
    for gap in missing:  # the reason may name a patient, and a log must not
        logging.getLogger("msbatch").warning("%s fold %d is missing: see missing.csv", gap.backbone, gap.fold)
    return IncompleteError.exit_code if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())

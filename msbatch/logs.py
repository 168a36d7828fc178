"""How a job writes its log: plain lines with a time."""

import logging


def configure(level: int = logging.INFO) -> None:
    """Send log lines of this process to standard error."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname).1s %(message)s", datefmt="%Y-%m-%d %H:%M:%S", force=True
    )

"""Whether a node's NVIDIA driver is new enough for the CUDA that torch was built with, and what to build if not."""

from __future__ import annotations

import re
from pathlib import Path

VERSION_FILE = Path("/proc/driver/nvidia/version")

# The oldest Linux driver on which every release of a CUDA major version runs.
OLDEST = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580, 65, 6)}


def read_driver(path: Path = VERSION_FILE) -> str | None:
    """Give the version of this node's NVIDIA driver, such as 535.104.05; None where there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found[1] if found else None


def explain_driver(cuda: str | None, driver: str | None) -> str:
    """Say in one or two sentences why a driver is too old, and what to build instead; empty where it is fine.

    Parameters
    ----------
    cuda : str or None
        What torch was built with, as torch says it: 12.8. None or "none" for a torch without CUDA.
    driver : str or None
        The node's driver. None is never too old: a node without a driver has no GPU to offer.

    Notes
    -----
    Any release of a CUDA major version runs on the first driver of that version or a newer one: NVIDIA, "CUDA
    Compatibility", section "Minor Version Compatibility", table 1, and for the exact numbers table 2 of the release
    notes of each CUDA Toolkit.
    """
    if driver is None or cuda is None or not cuda[:1].isdigit():
        return ""
    major = int(cuda.partition(".")[0])
    needed = OLDEST.get(major)
    if needed is None or _numbers(driver) >= needed:
        return ""
    oldest = f"{needed[0]}.{needed[1]}.{needed[2]:02d}"
    return (
        f"torch was built for CUDA {cuda}, which needs driver {oldest}, but this node has {driver}. {_remedy(driver)}"
    )


def _remedy(driver: str) -> str:
    fitting = [major for major, oldest in OLDEST.items() if _numbers(driver) >= oldest]
    if not fitting:
        return "No CUDA that torch still supports runs on that driver: ask for nodes with a newer one."
    return (
        f"Build an image with torch for CUDA {max(fitting)}: "
        "put its wheels in a folder and run msbatch container build --torch-wheels FOLDER."
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))

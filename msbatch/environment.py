"""What a run was made with: versions of packages, Python and the project."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from msbatch import __version__
from msbatch.layout import PACKAGE


def describe_environment(store_sha256: str) -> dict[str, Any]:
    """Describe this installation as JSON values.

    Parameters
    ----------
    store_sha256 : str
        Hash of the store that the run was planned from.
    """
    return {
        "msbatch": __version__,
        "git": git_state(PACKAGE.parent),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "store_sha256": store_sha256,
        "packages": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Give the version of every installed distribution, sorted by name."""
    found = {distribution.metadata["Name"]: distribution.version for distribution in distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def git_state(checkout: Path) -> dict[str, Any] | None:
    """Give the commit of a checkout and whether files differ from it; None outside a checkout."""
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _git(checkout, "rev-parse", "HEAD").strip()
        return {"commit": commit, "changed": bool(_git(checkout, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

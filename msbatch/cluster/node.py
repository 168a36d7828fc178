"""What a machine offers to a container program: how it is installed, FUSE, user namespaces, file systems."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from msbatch.errors import MsbatchError

FUSE = Path("/dev/fuse")
MOUNTS = Path("/proc/self/mounts")
NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
# Switches of Debian and Ubuntu that keep ordinary users from making namespaces, and the value that does.
SWITCHES = {
    Path("/proc/sys/kernel/unprivileged_userns_clone"): "0",
    Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"): "1",
}


def version(program: str) -> str:
    """Give a container program's own words about its version; empty where it does not start."""
    return _said(program, "--version")


def is_setuid(program: str) -> bool:
    """Say whether a container program is installed with its privileged part; otherwise it is rootless."""
    if "\nallow setuid = no" in _text(_build(program, "CONF_FILE")):
        return False
    for starter in _helpers(program, "starter-suid"):
        status = starter.stat()
        if status.st_uid == 0 and status.st_mode & stat.S_ISUID:
            return True
    return False


def namespaces_problem() -> str:
    """Say what keeps a rootless program from making namespaces; empty where nothing does."""
    if _text(NAMESPACES).strip() == "0":
        return f"user namespaces are switched off ({NAMESPACES} is 0)"
    for switch, off in SWITCHES.items():
        if _text(switch).strip() == off:
            return f"user namespaces are kept from ordinary users ({switch} is {off})"
    return ""


def fuse_problem(program: str) -> str:
    """Say what a rootless program lacks to mount an image; empty where it lacks nothing."""
    if not os.access(FUSE, os.R_OK | os.W_OK):
        return f"{FUSE} cannot be read and written"
    if not any(find_helper(program, name) for name in ("squashfuse_ll", "squashfuse")):
        return "there is no squashfuse"
    return ""


def find_helper(program: str, name: str) -> Path | None:
    """Find a program that a container program calls: on the PATH, or among its own."""
    found = shutil.which(name)
    return Path(found) if found else next(iter(_helpers(program, name)), None)


def file_system(path: Path) -> str:
    """Give the type of the file system that holds a path, such as ext4, nfs4 or tmpfs."""
    kinds = {}
    for line in _text(MOUNTS).splitlines():
        _, place, kind, *_ = line.split()
        kinds[Path(place.encode().decode("unicode_escape"))] = kind
    resolved = path.resolve()
    return next((kinds[folder] for folder in (resolved, *resolved.parents) if folder in kinds), "")


def gpus() -> int:
    """Count the NVIDIA GPUs of this machine."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def try_writing(folder: Path) -> None:
    """Write a file that vanishes at once.

    Raises
    ------
    MsbatchError
        If that cannot be done.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"msbatch")
    except OSError as error:
        raise MsbatchError(f"{folder} cannot be written: {error.strerror}.") from None


def gigabytes(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / 1e9:.1f} GB"


def _helpers(program: str, name: str) -> list[Path]:
    folder = _said(program, "buildcfg", "LIBEXECDIR")
    return sorted(Path(folder).glob(f"*/bin/{name}")) if folder else []


def _build(program: str, ending: str) -> Path:
    lines = _said(program, "buildcfg").splitlines()
    return Path(
        next((line.partition("=")[2] for line in lines if line.partition("=")[0].endswith(ending)), "/dev/null")
    )


def _said(*words: str) -> str:
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""

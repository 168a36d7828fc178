"""Who may read what is written: its owner alone, or a project group as well; nobody else, whatever the umask was.

The umask says it, since everything inherits it: processes of a task, submitit, TensorBoard's writer. The commands and
job scripts set it first of all. A group reads and never writes: whoever can change a run's code runs as its owner.
"""

from __future__ import annotations

import grp
import os
import stat
from contextlib import suppress
from pathlib import Path

from msbatch.errors import MsbatchError

PRIVATE_UMASK = 0o077
SHARED_UMASK = 0o027
SHARED_DIR = stat.S_ISGID | 0o750  # what is made in it has the folder's group
LISTING = stat.S_IRGRP | stat.S_IXGRP
READERS = stat.S_ISGID | LISTING


def file_mode() -> int:
    """Permissions of a new file."""
    return 0o666 & ~_withheld()


def dir_mode() -> int:
    """Permissions of a new folder."""
    return 0o777 & ~_withheld()


def keep_private() -> None:
    """Write for the owner alone from now on."""
    os.umask(PRIVATE_UMASK)


def write_as(folder: Path) -> None:
    """Write from now on for whoever may read a run's folder."""
    os.umask(SHARED_UMASK if is_shared(folder) else PRIVATE_UMASK)


def is_shared(folder: Path) -> bool:
    """Whether a folder was shared with a group, as `share` does it."""
    return folder.is_dir() and folder.stat().st_mode & READERS == READERS


def umask() -> int | None:
    """Read this process's mask without changing it, which os.umask cannot; None where Linux does not tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return None


def check_group(name: str) -> int:
    """Give the number of a group of this user.

    Raises
    ------
    MsbatchError
        If there is no such group, or the user is not in it.
    """
    mine = {os.getegid(), *os.getgroups()}
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        raise MsbatchError(f"This machine has no group {name}.", f"Yours are: {_names(mine)}.") from None
    if number not in mine:
        raise MsbatchError(f"You are not in the group {name}.", f"Yours are: {_names(mine)}.")
    return number


def share(place: Path, group: str) -> None:
    """Let a group read a file, or a folder with all that is and will be in it.

    Raises
    ------
    MsbatchError
        As `check_group`.
    """
    number = check_group(group)
    inside = [path for path in place.rglob("*") if not path.is_symlink()] if place.is_dir() else []
    for path in (*reversed(inside), place):  # the folder itself last: its mode says that all is done
        with suppress(FileNotFoundError):  # a temporary file of a task that runs
            let_read(path, number)


def let_list(folder: Path, group: int) -> None:
    """Let a group, by its number, enter and list one folder, unless it can; all else of its mode stays.

    Raises
    ------
    MsbatchError
        If the folder is somebody else's, or open to another group.
    """
    facts = folder.stat()
    wanted = LISTING if facts.st_gid == group else LISTING >> 3
    if facts.st_mode & wanted == wanted:
        return
    if facts.st_uid != os.geteuid() or (facts.st_gid != group and facts.st_mode & stat.S_IRWXG):
        raise MsbatchError(
            f"{folder} is not open to the group {_names({group})}, but belongs to somebody else or another group.",
            "Open it with chgrp and chmod, or keep runs elsewhere.",
        )
    os.chown(folder, -1, group)
    folder.chmod(stat.S_IMODE(facts.st_mode) | LISTING)


def let_read(path: Path, group: int) -> None:
    """Let a group, by its number, read one file or enter one folder."""
    os.chown(path, -1, group)
    path.chmod(SHARED_DIR if path.is_dir() else 0o640)


def _withheld() -> int:
    return SHARED_UMASK if umask() == SHARED_UMASK else PRIVATE_UMASK


def _names(numbers: set[int]) -> str:
    found = []
    for number in sorted(numbers):
        with suppress(KeyError):
            found.append(grp.getgrgid(number).gr_name)
    return ", ".join(found) or "none that has a name"

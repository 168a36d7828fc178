"""What went wrong, in words that a table can show."""

from __future__ import annotations

import logging

import torch
import torch.distributed as dist

from msbatch.errors import FULL, MsbatchError, disk_error, explained

FULL_WORDS = ("No space left on device", "Disk quota exceeded")
MEMORY_WORDS = ("out of memory", "can't allocate memory", "Cannot allocate memory")
LOST_WORDS = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "imed out after",
)
LOST = "another process of the task, or its node, was lost"
RESUME = "Submit again to resume it."
FREE_SPACE = "Free some space and submit again."
KILLED_WORDS = "killed by signal: Killed"

log = logging.getLogger(__name__)


def as_told(error: Exception) -> MsbatchError:
    """Turn any error into one that says in words what happened; the trace of a surprising one goes to the log."""
    if isinstance(error, MsbatchError):
        return error
    words = _known(error)
    if words is None:
        log.error("An error that nobody foresaw:", exc_info=error)
        words = f"{type(error).__name__}: {_first_line(error)}"
    return MsbatchError(words, _advice(error))


def _known(error: Exception) -> str | None:
    text = _first_line(error)
    if KILLED_WORDS in text:
        return "a loader process was killed (SIGKILL), probably out of memory"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in MEMORY_WORDS):
        return f"out of memory: {text}"
    disk = disk_error(error)
    if any(words in text for words in FULL_WORDS) or (disk is not None and disk.errno in FULL):
        return f"the disk is full: {text}"
    if isinstance(error, dist.DistError) or any(words in text for words in LOST_WORDS):
        return f"{LOST}: {text}"
    if isinstance(error, OSError):
        return explained(error).problem if error.filename else f"{type(error).__name__}: {text}"
    return None


def _advice(error: Exception) -> str:
    disk = disk_error(error)
    if disk is not None and disk.errno in FULL:
        return FREE_SPACE
    first = explained(error).hint if isinstance(error, OSError) else ""
    return f"{first} Then submit again to resume it." if first else RESUME


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or "no message"

"""Checkpoints of a task: written whole, hashed, and never trusted blindly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from msbatch.errors import FULL, DiskError, MsbatchError, disk_error, failing_disk_named
from msbatch.files import atomic_path, sha256, write_text
from msbatch.layout import checkpoint_hash
from msbatch.training.faults import FREE_SPACE

KEPT = 2

log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, content: Mapping[str, Any], before_commit: Callable[[], None]) -> None:
    """Write the checkpoint of a step with its SHA-256, then drop all but it and the one before.

    A whole one of the same step stays as it is: a task gives each step one content only.

    Parameters
    ----------
    folder : Path
        The task's checkpoints.
    step : int
        Optimiser steps taken so far.
    content : mapping
        Tensors and plain values only, so that it can be read without running code.
    before_commit : callable
        Called before a file is moved into place or removed; raising from it changes nothing.

    Raises
    ------
    MsbatchError
        If the disk is full; older checkpoints stay.
    """
    path = folder / f"step-{step:07d}.pt"
    if _is_whole(path):
        return
    with atomic_path(path, before_commit) as temporary:
        _write(dict(content), path, temporary)
        digest = sha256(temporary)
    write_text(checkpoint_hash(path), digest + "\n", before_commit)
    kept = [path, *(older for older in _newest_first(folder) if older < path)][:KEPT]
    _remove([other for other in _newest_first(folder) if other not in kept], before_commit)


def load_checkpoint(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the newest checkpoint that is whole, or None where there is none.

    One that is damaged, or that the disk does not give, is passed over with a warning, and the one before it is tried.

    Raises
    ------
    MsbatchError
        If a checkpoint belongs to another plan, arm or fold.
    """
    for path in _newest_first(folder):
        content = _read(path) if _is_whole(path) else None
        if content is None:
            log.warning("%s cannot be read or is damaged: falling back to the one before it, or to the start.", path)
            continue
        _compare(path, content["identity"], identity)
        return content
    return None


def newest_step(folder: Path) -> int:
    """Give the step of the newest checkpoint by its name; 0 where there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.sha256")), default=0)


def remove_checkpoints(folder: Path, before_removal: Callable[[], None]) -> None:
    """Remove the checkpoints of a finished task; raising from `before_removal` keeps what is still there."""
    _remove(_newest_first(folder), before_removal)


def _remove(checkpoints: list[Path], before_removal: Callable[[], None]) -> None:
    for path in checkpoints:
        before_removal()
        checkpoint_hash(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _write(content: dict[str, Any], path: Path, temporary: Path) -> None:
    try:
        with temporary.open("wb") as out:
            torch.save(content, out)
    except (OSError, RuntimeError) as error:  # torch wraps what the disk said in an error of its own
        disk = disk_error(error)
        if disk is None:
            raise
        reason = "the disk is full" if disk.errno in FULL else f"{disk.strerror}"
        raise MsbatchError(f"{path} could not be written: {reason}.", FREE_SPACE) from error


def _read(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint without running any code in it; None where it holds something else."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # its hash fits, so no disk did this; torch raises whatever it likes
        return None
    return content if isinstance(content, dict) and isinstance(content.get("identity"), dict) else None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"), reverse=True)


def _is_whole(path: Path) -> bool:
    digest = checkpoint_hash(path)
    try:
        with failing_disk_named(digest):
            return digest.is_file() and digest.read_text(errors="replace").strip() == sha256(path)
    except DiskError:
        return False


def _compare(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            raise MsbatchError(
                f"{path} belongs to another {key}: {found.get(key)}, not {value}.",
                "Draw a new run with: msbatch plan --new",
            )

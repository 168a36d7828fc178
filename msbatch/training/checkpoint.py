"""Checkpoints of a task: written whole, hashed, and never trusted blindly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from msbatch.errors import MsbatchError
from msbatch.files import atomic_path, remove_temporary, sha256, write_text

KEPT = 2

log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, content: Mapping[str, Any], before_commit: Callable[[], None]) -> None:
    """Write the checkpoint of a step with its SHA-256, then drop all but the newest two.

    Parameters
    ----------
    folder : Path
        The task's checkpoints.
    step : int
        Optimiser steps taken so far.
    content : mapping
        Tensors and plain values only, so that it can be read without running code.
    before_commit : callable
        Called before a file is moved into place; raising from it writes nothing.

    Raises
    ------
    MsbatchError
        If the disk is full; older checkpoints stay.
    """
    path = folder / f"step-{step:07d}.pt"
    with atomic_path(path, before_commit) as temporary:
        _write(dict(content), path, temporary)
        digest = sha256(temporary)
    write_text(_digest_path(path), digest + "\n", before_commit)
    for old in _newest_first(folder)[KEPT:]:
        _digest_path(old).unlink(missing_ok=True)
        old.unlink()


def load_checkpoint(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the newest checkpoint that is whole, or None where there is none.

    A damaged one is passed over with a warning, and the one before it is tried.

    Raises
    ------
    MsbatchError
        If a checkpoint belongs to another plan, backbone or fold.
    """
    remove_temporary(folder)
    for path in _newest_first(folder):
        if not _is_whole(path):
            log.warning("%s is damaged: falling back to the checkpoint before it, or to the start.", path)
            continue
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        _compare(path, content["identity"], identity)
        return content
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished task."""
    for path in _newest_first(folder):
        _digest_path(path).unlink(missing_ok=True)
        path.unlink()


def _write(content: dict[str, Any], path: Path, temporary: Path) -> None:
    try:
        torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as either
        reason = str(error).splitlines()[0]
        raise MsbatchError(
            f"{path} could not be written: {reason}.", "Is the disk full? Free some space and submit again."
        ) from error


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"), reverse=True)


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    digest = _digest_path(path)
    return digest.is_file() and digest.read_text().strip() == sha256(path)


def _compare(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            raise MsbatchError(
                f"{path} belongs to another {key}: {found.get(key)}, not {value}.",
                "Draw a new run with: msbatch plan --new",
            )

"""Batches on their way to the device, one ahead of the step that needs it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TypeVar, cast

import torch

Tensors = TypeVar("Tensors", bound=tuple[torch.Tensor, ...])


def to_device(batches: Iterable[Tensors], device: torch.device) -> Generator[Tensors]:
    """Yield the same batches on the device; to a GPU the next one is copied while the one before is worked on.

    Parameters
    ----------
    batches : iterable of tuples of tensors
        On the CPU, pinned or not, or already on the device.
    device : torch.device
        Where they are wanted.
    """
    if device.type == "cuda":
        yield from _copied_ahead(batches, device)
    else:
        yield from batches


def _copied_ahead(batches: Iterable[Tensors], device: torch.device) -> Generator[Tensors]:
    side = torch.cuda.Stream(device)
    ahead = None
    for batch in batches:
        coming = _send(batch, device, side)
        if ahead is not None:
            yield _arrived(*ahead)
        ahead = coming
    if ahead is not None:
        yield _arrived(*ahead)


def _send(batch: Tensors, device: torch.device, side: torch.cuda.Stream) -> tuple[Tensors, torch.cuda.Event]:
    with torch.cuda.stream(side):
        sent = tuple(_pinned(part).to(device, non_blocking=True) for part in batch)
        return cast(Tensors, sent), side.record_event()


def _pinned(part: torch.Tensor) -> torch.Tensor:
    return part if part.is_cuda or part.is_pinned() else part.pin_memory()


def _arrived(batch: Tensors, copied: torch.cuda.Event) -> Tensors:
    """Let the device's own stream wait for the copy, and keep the memory until that stream is done with it."""
    working = torch.cuda.current_stream(batch[0].device)
    working.wait_event(copied)
    for part in batch:
        part.record_stream(working)
    return batch

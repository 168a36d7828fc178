"""A trace of a few steps, and what bounds them."""

from __future__ import annotations

import logging
import time
from itertools import islice
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from msbatch.training.data import Batches

TRACED = 8
COLLECTIVES = ("nccl", "gloo:")

log = logging.getLogger(__name__)


def profiled(batches: Batches, skipped: int, device: torch.device, trace: Path) -> Batches:
    """Yield the same batches; trace the steps that take some of them and say in a line what bounds these.

    Parameters
    ----------
    skipped : int
        Steps before the first one that is traced.
    device : torch.device
        Where the steps are taken.
    trace : Path
        The file to write, for chrome://tracing or ui.perfetto.dev.
    """
    yield from islice(batches, skipped)
    waited_s, steps = 0.0, 0
    with profile(activities=_activities(device)) as profiler:
        began = asked = time.perf_counter()
        for batch in islice(batches, TRACED):
            waited_s += time.perf_counter() - asked
            yield batch
            steps += 1
            asked = time.perf_counter()
        _finish(device)
        wall_s = time.perf_counter() - began
    if steps:
        profiler.export_chrome_trace(str(trace))
        log.info("%s The trace is %s.", _bound(profiler, steps, wall_s, waited_s), trace)
    yield from batches


def _activities(device: torch.device) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _bound(profiler: profile, steps: int, wall_s: float, waited_s: float) -> str:
    """Write what bounds a run; what is neither waiting for input nor communication is computing."""
    events = profiler.key_averages()
    told = [event for event in events if event.key.lower().startswith(COLLECTIVES)]
    talked_s = sum(max(event.device_time_total, event.cpu_time_total) for event in told) / 1e6
    shares = {"input": min(1.0, waited_s / wall_s)}
    shares["communication"] = min(1 - shares["input"], talked_s / wall_s)  # some of it while others compute
    shares["compute"] = 1 - sum(shares.values())
    most = max(shares, key=lambda name: shares[name])
    words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return f"This run is bound by {most}: {words} of {1000 * wall_s / steps:.0f} ms per step."

"""The processes of a task: one per device, a shared step, and exact gathering."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing as mp
from torch import nn
from torch.multiprocessing.spawn import ProcessException
from torch.nn.parallel import DistributedDataParallel

from msbatch.config import ComputeSettings
from msbatch.errors import MsbatchError
from msbatch.files import read_json, write_json
from msbatch.logs import configure

TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class World:
    """One process among those of its task."""

    rank: int
    size: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """Average gradients over all processes; a lone process keeps its model as it is."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Average a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(value, dist.ReduceOp.SUM)
            value /= self.size
        return value

    def gather(self, share: torch.Tensor, length: int) -> torch.Tensor:
        """Put shares back together, in every process.

        Parameters
        ----------
        share : tensor, shape (ceil((length - rank) / size),)
            The values at positions rank, rank + size, ...
        length : int
            How many values there are over all processes; none is padded or repeated.
        """
        if self.size == 1:
            return share
        shares: list[Any] = [None] * self.size
        dist.all_gather_object(shares, share.cpu())
        whole = torch.empty(length, dtype=share.dtype)
        for rank, part in enumerate(shares):
            whole[rank :: self.size] = part
        return whole


def check_devices(compute: ComputeSettings) -> None:
    """Refuse to start on fewer GPUs than the plan asks for.

    Raises
    ------
    MsbatchError
        If the plan says cuda and this machine shows fewer devices than processes.
    """
    seen = torch.cuda.device_count()
    if compute.device == "cuda" and seen < compute.processes:
        raise MsbatchError(
            f"The plan asks for {compute.processes} GPU(s), this machine shows {seen}.",
            "Check the driver and CUDA_VISIBLE_DEVICES, or plan again with --device cpu.",
        )


def launch(work: Callable[..., None], compute: ComputeSettings, *arguments: Any) -> None:
    """Run ``work(world, *arguments)`` in every process of a task and wait for all.

    A lone process is this one. If one of several fails, the others are stopped.

    Raises
    ------
    MsbatchError
        As `work` raised it in any process.
    ProcessException
        If a process ended in another way: an error of another kind, or killed.
    """
    if compute.processes == 1:
        work(_join(0, compute, None), *arguments)
        return
    with tempfile.TemporaryDirectory(prefix="msbatch-") as name:
        folder = Path(name)
        try:
            mp.start_processes(_run_rank, (work, compute, folder, arguments), compute.processes, start_method="spawn")
        except ProcessException:
            _raise_reported(folder)
            raise


def _run_rank(
    rank: int, work: Callable[..., None], compute: ComputeSettings, folder: Path, arguments: tuple[Any, ...]
) -> None:
    configure(logging.INFO if rank == 0 else logging.ERROR)
    # torch sends this signal when the parent dies; it must end a process that waits in a collective or ignores it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        work(_join(rank, compute, folder), *arguments)
    except MsbatchError as error:
        write_json(folder / f"error-{rank}.json", [error.problem, error.hint])
        raise
    dist.destroy_process_group()


def _raise_reported(folder: Path) -> None:
    for report in sorted(folder.glob("error-*.json")):
        raise MsbatchError(*read_json(report))


def _join(rank: int, compute: ComputeSettings, folder: Path | None) -> World:
    torch.set_num_threads(compute.threads)
    cuda = compute.device == "cuda"
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if folder is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = dist.FileStore(str(folder / "rendezvous"), compute.processes)
        backend = "nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=compute.processes, timeout=TIMEOUT)
    return World(rank, compute.processes, device)

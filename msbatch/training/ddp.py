"""The processes of a task: one per device, a shared step, and exact gathering."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from msbatch.config import ComputeSettings
from msbatch.driver import explain_driver, read_driver
from msbatch.errors import MsbatchError
from msbatch.logs import configure
from msbatch.training.faults import as_told
from msbatch.training.nodes import Meeting, Node
from msbatch.training.stop import beat

TIMEOUT = timedelta(minutes=10)
GRACE_S = 5.0
PADDING = b"\xff"  # in no text that is encoded as UTF-8


@dataclass(frozen=True)
class World:
    """One process among those of its task.

    Attributes
    ----------
    rank : int
        The first process, 0, writes all files of the task.
    size : int
        How many processes share the task, on all nodes together.
    device : torch.device
        Where its share of the work is done.
    control : process group, optional
        Through which processes agree without waiting for their devices.
    """

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    def wrap(self, model: nn.Module) -> nn.Module:
        """Average gradients over all processes; a lone process keeps its model as it is."""
        if self.size == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        # No parameter is unused, but this keeps gradients in the same buckets from the first step on. Buckets that
        # are rearranged after it would let sums over three or more processes round otherwise after each resuming.
        return DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Average a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value, dist.ReduceOp.SUM)
            value /= self.size
        return value

    def any(self, flag: bool) -> bool:
        """Say in every process whether the flag is up in at least one."""
        return bool(self._largest(int(flag)))

    def first(self, word: str) -> str:
        """Give in every process the first word that is not empty in any; empty where there is none."""
        letters = word.encode("utf-8", "surrogatepass")  # a file's name in it may be no text
        longest = self._largest(len(letters))
        if self.size == 1 or not longest:
            return word
        own = torch.frombuffer(bytearray(letters.ljust(longest, PADDING)), dtype=torch.uint8)
        words = [bytes(padded).rstrip(PADDING) for padded in self.gather(own[None], self.size).tolist()]
        return next(filter(None, words)).decode("utf-8", "surrogatepass")

    def beat(self) -> None:
        """Show the launcher that the task goes on; the first process speaks for all."""
        if self.rank == 0:
            beat()

    def barrier(self) -> None:
        """Wait until every process has come this far."""
        if self.size > 1:
            dist.barrier(group=self.control)

    def gather(self, share: torch.Tensor, length: int) -> torch.Tensor:
        """Put shares back together, in every process.

        Parameters
        ----------
        share : tensor, shape (ceil((length - rank) / size), ...)
            The values at positions rank, rank + size, ...
        length : int
            How many values there are over all processes; none is padded or repeated.
        """
        if self.size == 1:
            return share
        longest, own = -(-length // self.size), len(range(self.rank, length, self.size))
        padded = torch.zeros((longest, *share.shape[1:]), dtype=share.dtype)
        padded[:own] = share
        shares = padded.new_empty((self.size, *padded.shape))
        dist.all_gather(list(shares), padded, group=self.control)
        return shares.transpose(0, 1).flatten(0, 1)[:length]

    def _largest(self, number: int) -> int:
        """Give in every process the largest of all their numbers."""
        if self.size == 1:
            return number
        vote = torch.tensor(number)
        dist.all_reduce(vote, dist.ReduceOp.MAX, group=self.control)
        return int(vote)


@dataclass(frozen=True)
class Crew:
    """The processes of a task that are to be started on this node, and where they meet those of other nodes."""

    compute: ComputeSettings
    node: Node
    meeting: Meeting | None = None


def check_devices(crew: Crew) -> None:
    """Refuse to start on fewer GPUs than the plan asks for.

    Raises
    ------
    MsbatchError
        If the plan says cuda and this node shows fewer devices than processes; an old driver is named as the cause.
    """
    if crew.compute.device != "cuda":
        return
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < crew.node.processes:
        hint = explain_driver(torch.version.cuda, read_driver())
        raise MsbatchError(
            f"The plan asks for {crew.node.processes} GPU(s), this machine shows {seen}.",
            hint or "Check the driver and CUDA_VISIBLE_DEVICES, or plan again with --device cpu.",
        )


def launch(work: Callable[..., None], crew: Crew, *arguments: Any) -> None:
    """Run ``work(world, *arguments)`` in every process of a task on this node and wait for all.

    A lone process is this one. If one of several fails, the others are stopped.

    Raises
    ------
    MsbatchError
        As `work` raised it in any process, or in words what else ended a process.
    """
    if crew.compute.processes == 1:
        work(_alone(crew.compute), *arguments)
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # every process would warn of what `wrap` chose on purpose
    reports = get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="msbatch-") as folder:
        given = (work, crew, Path(folder), reports, arguments)
        processes = mp.start_processes(_run_rank, given, crew.node.processes, join=False).processes
        codes = _wait(processes)
    if codes:
        raise _first_cause(codes, reports, crew.node)


def _run_rank(
    local: int, work: Callable[..., None], crew: Crew, folder: Path, reports: Any, arguments: tuple[Any, ...]
) -> None:
    rank = crew.node.rank * crew.node.processes + local
    configure(logging.INFO if rank == 0 else logging.ERROR)
    # torch sends this signal when the parent dies; it must end a process that waits in a collective or ignores it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        work(_join(local, rank, crew, folder), *arguments)
        dist.destroy_process_group()
    except Exception as error:
        told = as_told(error)
        reports.put((time.time(), type(told), told.problem[:1000], told.hint))
        raise SystemExit(1) from None


def _wait(processes: Sequence[BaseProcess]) -> dict[int, int]:
    """Wait for all processes; once one fails, give its peers a moment to end by themselves, then kill them.

    Returns
    -------
    dict of int to int
        Exit codes of the processes that failed by themselves.
    """
    try:
        while alive := [process.sentinel for process in processes if process.exitcode is None]:
            connection.wait(alive)
            if any(process.exitcode for process in processes):
                break
        deadline = time.monotonic() + GRACE_S
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        return {number: process.exitcode for number, process in enumerate(processes) if process.exitcode}
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join(GRACE_S)


def _first_cause(codes: dict[int, int], reports: Any, node: Node) -> MsbatchError:
    """Find what began it: a killed process, because its peers only tell that they lost it, or the first report.

    One that aborted is no beginning: NCCL makes a process do so that lost a peer.
    """
    killed = [number for number, code in codes.items() if code < 0 and code != -signal.SIGABRT]
    told = []
    while not reports.empty():
        told.append(reports.get())
    if told and not killed:
        _, kind, problem, hint = min(told, key=lambda report: report[0])
        first: MsbatchError = kind(problem, hint)
        return first
    number = (killed or sorted(codes))[0]
    how = f"was killed ({signal.Signals(-codes[number]).name})" if codes[number] < 0 else f"ended with {codes[number]}"
    probably = ", probably out of memory" if codes[number] == -signal.SIGKILL else ""
    rank = node.rank * node.processes + number
    return MsbatchError(f"process {rank} {how}{probably}", "Submit again to resume it.")


def _alone(compute: ComputeSettings) -> World:
    torch.set_num_threads(compute.threads)
    return World(0, 1, _device(compute, 0))


def _join(local: int, rank: int, crew: Crew, folder: Path) -> World:
    torch.set_num_threads(crew.compute.threads)
    device = _device(crew.compute, local)
    backend = "nccl" if device.type == "cuda" else "gloo"
    size = crew.compute.processes
    dist.init_process_group(backend, store=_store(crew, folder), rank=rank, world_size=size, timeout=TIMEOUT)
    return World(rank, size, device, dist.new_group(backend="gloo", timeout=TIMEOUT))


def _device(compute: ComputeSettings, local: int) -> torch.device:
    if compute.device == "cpu":
        return torch.device("cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _store(crew: Crew, folder: Path) -> dist.Store:
    if crew.meeting is not None:
        return dist.TCPStore(crew.meeting.address, crew.meeting.port, is_master=False, timeout=TIMEOUT)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return dist.FileStore(str(folder / "rendezvous"), crew.compute.processes)

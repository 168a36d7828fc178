"""How the nodes that share a task find each other: the first one opens a port and names it in a file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from msbatch.config import ComputeSettings
from msbatch.errors import MsbatchError, StoppedError
from msbatch.files import read_json, write_json, write_text
from msbatch.training.faults import LOST
from msbatch.training.stop import launch

PATIENCE_S = 600.0
HEARING_S = 8.0  # a node whose process ended gives the others a moment before it says so
POLL_S = 0.2


@dataclass(frozen=True)
class Meeting:
    """Where the processes of all nodes meet, and the attempt that they work for."""

    address: str
    port: int
    attempt: int


@dataclass(frozen=True)
class Node:
    """A node among those that share a task.

    Attributes
    ----------
    rank : int
        The first node, 0, writes all files of the task.
    count : int
        How many nodes share the task.
    processes : int
        Processes of the task on this node.
    """

    rank: int
    count: int
    processes: int


def this_node(compute: ComputeSettings) -> Node:
    """Read from the environment which node this is.

    Raises
    ------
    MsbatchError
        If the processes of the task cannot be spread evenly over the nodes.
    """
    rank, count = (
        int(os.environ.get(f"MSBATCH_{name}", default)) for name, default in (("NODE_RANK", 0), ("NODES", 1))
    )
    if compute.processes % count:
        raise MsbatchError(f"{compute.processes} processes cannot be spread evenly over {count} nodes.")
    return Node(rank, count, compute.processes // count)


@contextmanager
def host_meeting(attempt: int) -> Iterator[Meeting]:
    """Open a free port for as long as the task runs, and name it in the launcher's file."""
    server = dist.TCPStore(socket.gethostname(), 0, is_master=True, wait_for_workers=False)
    meeting = Meeting(server.host, server.port, attempt)
    write_json(_join_file(), vars(meeting))
    yield meeting


def find_meeting(patience_s: float = PATIENCE_S) -> Meeting:
    """Wait for the first node to name its port.

    Raises
    ------
    MsbatchError
        If it does not in time.
    """
    path = _join_file()
    deadline = time.monotonic() + patience_s
    while not path.is_file():
        if time.monotonic() > deadline:
            raise MsbatchError(
                f"The first node named no port in {path} within {patience_s:g} s.", "Its own log says what held it up."
            )
        time.sleep(POLL_S)
    return Meeting(**read_json(path))


def tell(told: MsbatchError) -> None:
    """Leave word of what ended this node for the launcher and the first node; that others were lost tells nothing."""
    files = launch()
    if files is None or isinstance(told, StoppedError) or told.problem.startswith(LOST):
        return
    with suppress(OSError):  # on a full disk it is in the log only
        write_text(files.cause, f"{told.problem} (on {socket.gethostname()})\n")


def hear(told: MsbatchError, node: Node) -> MsbatchError:
    """Give instead of the loss of another node what that node says of it, if it does so within a moment."""
    files = launch()
    if files is None or node.count == 1 or not told.problem.startswith(LOST):
        return told
    deadline = time.monotonic() + HEARING_S
    while not files.cause.is_file():
        if time.monotonic() > deadline:
            return told
        time.sleep(POLL_S)
    return MsbatchError(files.cause.read_text(encoding="utf-8").strip(), told.hint)


def _join_file() -> Path:
    files = launch()
    if files is None:
        raise MsbatchError("Several nodes need a launcher: MSBATCH_LAUNCH is not set.")
    return files.join

"""What processes of a task tell each other: exactly what they hold, and nothing that is unpickled."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed import distributed_c10d

from msbatch.config import ComputeSettings
from msbatch.training.ddp import Crew, World, launch
from msbatch.training.nodes import Node

DTYPES = (torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64)
LENGTHS = (0, 1, 2, 3, 7)
WORDS = (
    ("", "", ""),
    ("/nowhere/c++: not found", "", ""),
    ("", "/home/Zoë/Größe 数 \U0001f9ea", "a much longer word of a later process"),
    ("", "short", "Größe"),
    ("", "a name that is no text: \udcff", ""),
    ("with\0 zeros\0", "another", ""),
)


def crew(processes: int) -> Crew:
    return Crew(ComputeSettings(processes=processes, threads=1), Node(0, 1, processes))


def wholes() -> Iterator[torch.Tensor]:
    """Give tensors of every kind; those of floats hold values of any bits."""
    random = torch.Generator().manual_seed(0)
    for dtype in DTYPES:
        for shape in [(length, *rest) for length in LENGTHS for rest in ((), (5,), (2, 3))]:
            bits = torch.randint(0, 256, (*shape, dtype.itemsize), dtype=torch.uint8, generator=random)
            yield (bits[..., 0] > 127 if dtype is torch.bool else bits.view(dtype)[..., 0]).clone()


def bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.uint8)


def exchange(world: World, at: Path) -> None:
    """Share out tensors, words and flags, put them back together, and write down what came of it."""
    gathered = [world.gather(whole[world.rank :: world.size], len(whole)) for whole in wholes()]
    words = [world.first(said[world.rank]) for said in WORDS]
    flags = [world.any(world.rank == raised) for raised in range(world.size + 1)]
    torch.save((gathered, words, flags), at / f"{world.rank}.pt")


@pytest.mark.parametrize("processes", [2, 3])
def test_every_process_gets_all_shares_words_and_flags_as_they_are(processes: int, tmp_path: Path) -> None:
    launch(exchange, crew(processes), tmp_path)
    for rank in range(processes):
        gathered, words, flags = torch.load(tmp_path / f"{rank}.pt")
        for found, whole in zip(gathered, wholes(), strict=True):
            assert (found.dtype, found.shape) == (whole.dtype, whole.shape)
            assert torch.equal(bits(found), bits(whole))
        assert words == [next(filter(None, said[:processes]), "") for said in WORDS]
        assert flags == [True] * processes + [False]


def train_without_unpickling(world: World, at: Path) -> None:
    """Do all that processes do together where torch can unpickle nothing that a peer sends."""
    distributed_c10d._unpickler = None
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    shared = world.wrap(network)
    for share in torch.randn(3, 8, 4)[:, world.rank :: world.size]:
        shared(share).sum().backward()
    world.barrier()
    loss = float(world.mean(torch.tensor(float(world.rank))))
    outcome = world.gather(torch.full((1,), world.rank), 2).tolist(), world.first("word"), world.any(False), loss
    (at / f"{world.rank}").write_text(repr(outcome))


def test_nothing_that_a_peer_sends_is_unpickled(tmp_path: Path) -> None:
    launch(train_without_unpickling, crew(2), tmp_path)
    assert [(tmp_path / f"{rank}").read_text() for rank in range(2)] == [repr(([0, 1], "word", False, 0.5))] * 2

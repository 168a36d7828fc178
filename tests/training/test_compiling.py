"""A compiled network trains as the same network does that is not compiled."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks import finish, folder
from test_task import predictions
from torch import distributed, nn

from msbatch.config import ComputeSettings
from msbatch.training.compiling import Compiler
from msbatch.training.ddp import Crew, World, launch
from msbatch.training.nodes import Node
from msbatch.training.precision import Precision

PAIR = Crew(ComputeSettings(processes=2, threads=1), Node(0, 1, 2))
TOLERANCE = 1e-2  # of the largest logit, in fp32 after 20 steps: sums are taken in another order


@pytest.mark.slow
def test_a_compiled_network_predicts_the_same_and_leaves_its_cache_in_the_run(make_run: Any) -> None:
    recipe = {"steps": 20, "drop_rate": 0.2, "drop_path": 0.2, "ema_decay": 0.0, "lr": 3e-3}
    plain, compiled = make_run("plain", **recipe), make_run("compiled", compute={"compile": True}, **recipe)
    finish(plain)
    output = finish(compiled)
    assert "cannot be compiled" not in output
    assert any(path.suffix == ".so" for path in compiled.compiled.rglob("*"))
    one, other = predictions(plain).logits, predictions(compiled).logits
    assert np.abs(one - other).max() < TOLERANCE * np.abs(one).max()


@pytest.mark.slow
def test_without_a_compiler_the_network_trains_as_it_is(make_run: Any) -> None:
    plain, failing = make_run("plain"), make_run("failing", compute={"compile": True})
    finish(plain)
    output = finish(failing, CXX="/nonexistent")
    assert re.search(r"The network cannot be compiled, so it trains as it is: .*/nonexistent", output)
    assert folder(plain).predictions.read_bytes() == folder(failing).predictions.read_bytes()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 1))

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        return self.layers(cells)


def train_shares(world: World, at: Path, compiler: Compiler | None) -> None:
    """Take some steps, each process on cells of its own, and write the weights that it ends with."""
    torch.manual_seed(0)
    network: Any = Net()
    precision = Precision("fp32", world.device)
    cells = torch.randn(5, 2, 6)[:, world.rank :: 2]
    ready = world.wrap(compiler(network, cells[0], world, precision) if compiler else network)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for share in cells:
        optimiser.zero_grad()
        ready(share).square().sum().backward()
        optimiser.step()
    torch.save(network.state_dict(), at / f"{'compiled' if compiler else 'plain'}-{world.rank}.pt")


@pytest.mark.slow
def test_two_processes_train_a_compiled_network_to_the_same_weights(tmp_path: Path) -> None:
    for compiler in (None, Compiler(tmp_path / "cache", "net")):
        launch(train_shares, PAIR, tmp_path, compiler)
    plain, other, first, second = (
        torch.load(tmp_path / f"{name}.pt") for name in ("plain-0", "plain-1", "compiled-0", "compiled-1")
    )
    assert list((tmp_path / "cache").rglob("*.so"))
    for name, value in plain.items():
        assert torch.equal(value, other[name])
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value)


class Mean(nn.Module):
    """Averages over all processes on its way, as synchronised BatchNorm does."""

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        return cells.sin() + self.mean_of_all(cells)

    @torch.compiler.disable
    def mean_of_all(self, cells: torch.Tensor) -> torch.Tensor:
        mean = cells.detach().mean()
        distributed.all_reduce(mean)
        return mean / distributed.get_world_size()


def compile_where_one_cannot(world: World, at: Path) -> None:
    """Compile in a process that has a compiler and in one that has none; say what each trains with."""
    if world.rank == 1:
        from torch._inductor import config as inductor

        inductor.cpp.cxx = (None, "/nonexistent")
    network: Any = nn.Sequential(nn.Linear(4, 1), Mean())
    cells = torch.ones(2, 4)
    ready = Compiler(at / "cache", "net")(network, cells, world, Precision("fp32", world.device))
    ready(cells)  # together, as in training
    (at / f"network-{world.rank}").write_text("as it is" if ready is network else "compiled")


@pytest.mark.slow
def test_processes_that_can_compile_do_not_wait_for_ever_for_one_that_cannot(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    launch(compile_where_one_cannot, PAIR, tmp_path)
    for rank in range(2):
        assert (tmp_path / f"network-{rank}").read_text() == "as it is"
    assert re.search("cannot be compiled, so it trains as it is: .*/nonexistent", capfd.readouterr().err)

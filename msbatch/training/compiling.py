"""Training's forward pass, compiled once for all tasks of a run."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from msbatch.errors import MsbatchError
from msbatch.files import make_dir
from msbatch.layout import folder_name
from msbatch.lock import run_lock
from msbatch.training.ddp import World
from msbatch.training.model import Classifier
from msbatch.training.precision import Precision

WAIT_S = 300.0  # less than the patience of processes that wait for each other
POLL_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compiler:
    """Compiles a backbone, or takes what another task of the run left in the cache.

    Attributes
    ----------
    cache : Path
        A folder that all tasks of the run share.
    backbone : str
        What is compiled: the first task of it to come compiles, the others wait for it.
    """

    cache: Path
    backbone: str

    def __call__(self, model: Classifier, images: torch.Tensor, world: World, precision: Precision) -> nn.Module:
        """Give the compiled model, or the model itself where it cannot be compiled in every process.

        Random layers draw the same numbers as they would otherwise.

        Parameters
        ----------
        model : Classifier
            As it is trained; nothing of it changes.
        images : uint8 tensor, shape (n, S, S, 3)
            Of the shape that every step will have.
        """
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.cache)
        torch._dynamo.reset()  # a process that does several tasks would else use up what it may compile
        compiled = _compile(model)
        with self._turn(world):
            # Synchronised BatchNorm waits for all processes: none may start the network that another cannot compile.
            problem = world.first(self._cannot(images.device) if world.size > 1 else "")
            problem = problem or world.first(_try(compiled, model, images, precision))
        if not problem:
            return compiled
        log.warning("The network cannot be compiled, so it trains as it is: %s", problem)
        return model

    def _cannot(self, device: torch.device) -> str:
        """Compile one operation there and back, without other processes and without the cache; give what went wrong."""

        def compile_afresh() -> None:
            from torch._inductor.utils import fresh_cache  # takes seconds, which most tasks have no need to spend

            make_dir(self.cache)
            with fresh_cache(dir=str(self.cache)):
                _compile(nn.GELU())(torch.zeros(8, device=device, requires_grad=True)).sum().backward()

        return _failure(compile_afresh)

    @contextmanager
    def _turn(self, world: World) -> Iterator[None]:
        """Wait for another task that compiles the same, but not for ever; the first process does so for all."""
        if world.rank != 0:
            yield
            return
        make_dir(self.cache)
        ready = self.cache / f"{folder_name(self.backbone)}.ready"
        with ExitStack() as held:
            deadline = time.monotonic() + WAIT_S
            while not ready.exists() and time.monotonic() < deadline:
                world.beat()
                with suppress(MsbatchError):
                    held.enter_context(run_lock(ready.with_suffix(".lock"), POLL_S))
                    break
            yield
            ready.touch()


def _compile(model: nn.Module) -> nn.Module:
    compiled: nn.Module = torch.compile(model, dynamic=False, options={"fallback_random": True})  # type: ignore[assignment]
    return compiled


def _try(compiled: nn.Module, model: Classifier, images: torch.Tensor, precision: Precision) -> str:
    """Take one step there and back, which compiles both ways, and undo it; give what went wrong."""

    def step() -> None:
        with precision.autocast():
            logits = compiled(images)
        logits.sum().backward()

    before = [buffer.clone() for buffer in model.buffers()]
    problem = _failure(step)
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
    model.zero_grad(set_to_none=True)
    return problem


def _failure(work: Callable[[], None]) -> str:
    """Do some work and give in a line what went wrong; empty where nothing did."""
    try:
        work()
    except Exception as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ""

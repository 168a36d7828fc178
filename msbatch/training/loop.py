"""The training loop: a head phase, a phase for all layers, and the weights that validate best."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from msbatch.errors import MsbatchError
from msbatch.training.compiling import Compiler
from msbatch.training.data import Batches, Cells
from msbatch.training.ddp import World
from msbatch.training.model import Classifier, parameter_groups
from msbatch.training.pace import Pace
from msbatch.training.precision import Precision
from msbatch.training.predict import balanced_accuracy, balanced_loss, predict

log = logging.getLogger(__name__)

State = dict[str, Any]


class NonFiniteLossError(MsbatchError):
    """Training diverged: the loss is no longer a number."""


@dataclass(frozen=True)
class Phase:
    """A stretch of optimiser steps with one set of trainable layers and one learning-rate curve."""

    name: str
    start: int
    stop: int
    lr: float
    layer_decay: float

    def lr_at(self, step: int, warmup_fraction: float) -> float:
        """Learning rate of the top layer: a linear rise, then half a cosine down to 0."""
        done = (step - self.start + 0.5) / (self.stop - self.start)
        if done < warmup_fraction:
            return self.lr * done / warmup_fraction
        rest = (done - warmup_fraction) / (1 - warmup_fraction) if warmup_fraction < 1 else 1.0
        return self.lr * 0.5 * (1 + math.cos(math.pi * rest))


@dataclass(frozen=True)
class Progress:
    """What one round of training reports."""

    step: int
    scalars: dict[str, float]
    best_validation: float | None


def phases(settings: dict[str, Any]) -> list[Phase]:
    """Plan the phases; a backbone without pretrained weights trains all layers alike from the start."""
    training = settings["training"]
    head_steps = training["head_steps"] if settings["pretrained"] else 0
    decay = training["layer_decay"] if settings["pretrained"] else 1.0
    head = Phase("head", 0, head_steps, training["head_lr"], 1.0)
    full = Phase("all", head_steps, head_steps + training["steps"], training["lr"], decay)
    return [head, full] if head_steps else [full]


class Trainer:
    """Everything that training changes, and how one step changes it.

    All random layers draw from a stream keyed by seed, step and process, so a resumed task repeats
    the numbers that an uninterrupted one drew.

    Parameters
    ----------
    model : Classifier
        Already on the device of `world`.
    settings : dict
        The scientific settings of a plan.
    seed : int
        Key of every random layer.
    world : World
        The processes that share each step.
    precision : Precision
        The arithmetic.
    compiler : Compiler, optional
        Compiles the phase for all layers.
    """

    def __init__(
        self,
        model: Classifier,
        settings: dict[str, Any],
        seed: int,
        world: World,
        precision: Precision,
        compiler: Compiler | None = None,
    ) -> None:
        self.model = model
        self.pretrained: str | None = model.pretrained  # of the start that counts, which a checkpoint remembers
        self.settings = settings["training"]
        self.phases = phases(settings)
        self.seed = seed
        self.world = world
        self.precision = precision
        self.pace = Pace(world.device)
        self._compiler = compiler
        average = get_ema_multi_avg_fn(self.settings["ema_decay"])
        self.averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        self.step = 0
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=world.device)  # over the steps of this round
        self._loss_steps = 0
        self.best: State = {"loss": None, "weights": None, "rounds_since": 0}
        self._enter(self.phases[0])

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole recipe."""
        return self.phases[-1].stop

    @property
    def finished(self) -> bool:
        """Whether the recipe is over, by its length or by early stopping."""
        return self.step >= self.steps or self.best["rounds_since"] >= self.settings["patience"]

    def train(self, batches: Batches, stop: int) -> dict[str, float]:
        """Take the steps of a round up to `stop` and give the round's mean loss, learning rates and pace.

        Steps of the round that were taken before a checkpoint count for the loss, not for the pace.

        Raises
        ------
        NonFiniteLossError
            If the loss of any of the steps is not finite.
        """
        self.pace.begin_round()
        first = self.step
        while self.step < stop:
            self._loss_sum += self._one_step(*next(batches))
            self.step += 1
            self._loss_steps += 1
        loss = self._end_round()
        pace = self.pace.scalars((self.step - first) * self.settings["batch_size"])
        rates = {group["lr"] for group in self._optimiser.param_groups}
        return {"train/loss": loss, "lr/top": max(rates), "lr/bottom": min(rates), **pace}

    def validate(self, cells: Cells, early_stopping: bool) -> dict[str, float]:
        """Score the averaged weights on the validation patients and keep them if they are the best yet.

        Without early stopping the newest weights are kept, whatever their score.
        """
        scalars: dict[str, float] = {}
        better = True
        if len(cells):
            logits = predict(self.averaged.module, cells, self.world, self.precision)
            loss = balanced_loss(logits, cells)
            scalars = {"validation/loss": loss, "validation/balanced_accuracy": balanced_accuracy(logits, cells)}
            better = self.best["loss"] is None or loss < self.best["loss"]
        if better or not early_stopping:
            weights = {name: value.detach().cpu().clone() for name, value in self.averaged.module.state_dict().items()}
            self.best = {"loss": scalars.get("validation/loss"), "weights": weights, "rounds_since": 0}
        elif self._phase is self.phases[-1]:
            self.best["rounds_since"] += 1
        return scalars

    def settle(self) -> None:
        """Let every process hold what all know together, so that the state of one is the state of all."""
        self.world.mean(self._loss_sum)

    def state(self) -> State:
        """Give all that resuming needs, as tensors and plain values; within a round, `settle` comes first."""
        return {
            "step": self.step,
            "pretrained": self.pretrained,
            "round": {"loss_sum": float(self._loss_sum), "steps": self._loss_steps},
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "best": self.best,
        }

    def restore(self, state: State) -> None:
        """Go on from what `state` gave."""
        self.step = state["step"]
        self.pretrained = state.get("pretrained")  # older versions recorded none
        self._loss_sum.fill_(state["round"]["loss_sum"])
        self._loss_steps = state["round"]["steps"]
        self._enter(self._phase_at(max(self.step - 1, 0)))
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.best = state["best"]

    def load_best(self) -> Classifier:
        """Put the kept weights into the model, for prediction."""
        self.model.load_state_dict(self.best["weights"])
        return self.model

    def _end_round(self) -> float:
        self.settle()
        loss = float(self._loss_sum) / self._loss_steps
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"The loss became {loss} by step {self.step}.", "Lower training.lr or use precision fp32."
            )
        self._loss_sum.zero_()
        self._loss_steps = 0
        return loss

    def _one_step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        phase = self._phase_at(self.step)
        if phase is not self._phase:
            self._enter(phase)
        self._set_rates(phase.lr_at(self.step, self.settings["warmup_fraction"]))
        network = self._ready(images)
        torch.manual_seed(_mix(self.seed, self.step, self.world.rank))
        loss = self._loss(network, images, labels)
        self.precision.step(loss, self.model, self._optimiser, self.settings["clip_norm"])
        self.averaged.update_parameters(self.model)
        return loss.detach().double()

    def _loss(self, network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        smoothing = self.settings["label_smoothing"]
        with self.precision.autocast():
            logits = network(images).to(self.precision.dtype)
        targets = (labels * (1 - 2 * smoothing) + smoothing).to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, targets)

    def _phase_at(self, step: int) -> Phase:
        return next(phase for phase in self.phases if step < phase.stop)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self.model.requires_grad_(phase.name == "all")
        self.model.head.requires_grad_(True)
        groups = parameter_groups(self.model, self.settings["weight_decay"], phase.layer_decay)
        self._optimiser = torch.optim.AdamW(groups, lr=phase.lr, fused=True)
        self._network: nn.Module | None = None

    def _set_rates(self, lr: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def _ready(self, images: torch.Tensor) -> nn.Module:
        """Give the network that takes the steps of this phase, made when the first of them is taken."""
        everything = self._phase.name == "all"
        self.model.train(everything)  # a frozen backbone keeps its BatchNorm statistics and drops nothing
        if self._network is None:
            compiler = self._compiler if everything else None
            network = compiler(self.model, images, self.world, self.precision) if compiler else self.model
            self._network = self.world.wrap(network)
        return self._network


def run_rounds(
    trainer: Trainer,
    batches: Batches,
    validation: Cells,
    round_steps: int,
    early_stopping: bool,
    report: Callable[[Progress], None],
) -> None:
    """Train, validate and report in rounds until the recipe is over.

    Parameters
    ----------
    round_steps : int
        Optimiser steps between validations; `report` is called after each and writes the checkpoint.
    early_stopping : bool
        Whether validation chooses the weights; it must hold both classes for that.
    """
    while not trainer.finished:
        stop = min(trainer.step - trainer.step % round_steps + round_steps, trainer.steps)
        scalars = trainer.train(batches, stop)
        scalars |= trainer.validate(validation, early_stopping)
        report(Progress(trainer.step, scalars, trainer.best["loss"]))


def _mix(*key: int) -> int:
    value = 0
    for part in key:
        value = (value * 0x9E3779B97F4A7C15 + part + 1) % 2**63
    return value

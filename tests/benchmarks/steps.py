"""How much of a training step's speed is left with real batches, against the same model fed one constant batch."""

from __future__ import annotations

import tempfile
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import torch
from batches import dataset, shares
from rows import Row, alternating, row

from msbatch.config import Settings
from msbatch.training.augment import Augmenter
from msbatch.training.compiling import Compiler
from msbatch.training.data import training_batches
from msbatch.training.ddp import World
from msbatch.training.loop import Trainer
from msbatch.training.model import build_model
from msbatch.training.precision import Precision

MODELS = {"EfficientNet-Lite0": "tf_efficientnet_lite0", "ResNet-18": "resnet18"}
SIDE_PX = 128
STEPS, ROUNDS = 6, 5


def measure() -> list[Row]:
    """Measure training on one thread, its batches made by one loader process on the other core."""
    with tempfile.TemporaryDirectory() as folder:
        return [_compare(name, backbone, Path(folder)) for name, backbone in MODELS.items()]


def _compare(name: str, backbone: str, folder: Path) -> Row:
    settings = Settings().scientific() | {"pretrained": False}
    batch = settings["training"]["batch_size"]
    settings["training"]["steps"] = 1000
    trainer = make_trainer(backbone, settings, torch.device("cpu"), folder)
    real = training_batches(
        dataset(folder, augment=Augmenter(settings["augment"], (0, 1))), shares(1000, batch), workers=1
    )
    constant = repeat(next(real))
    trainer.train(constant, 2)
    ours, bare = alternating((lambda: speed(trainer, real, STEPS), lambda: speed(trainer, constant, STEPS)), ROUNDS)
    real.close()
    return row(
        f"training step, {name} at {SIDE_PX} px",
        "the same model fed one constant batch",
        median(ours) / median(bare),
        0.95,
        detail=f"{median(ours):.1f} images a second, reference {median(bare):.1f}; median of {ROUNDS} times {STEPS} "
        f"steps of {batch}, one thread and one loader process",
    )


def make_trainer(
    backbone: str, settings: dict[str, Any], device: torch.device, folder: Path, compiler: Compiler | None = None
) -> Trainer:
    """Give a trainer of a new network."""
    torch.set_num_threads(1)
    precision = Precision(settings["training"]["precision"], device)
    model = build_model(backbone, SIDE_PX, settings, folder).to(device, precision.dtype)
    return Trainer(model, settings, 0, World(0, 1, device), precision, compiler)


def speed(trainer: Trainer, batches: Any, steps: int) -> float:
    """Give images per second of some further steps."""
    return trainer.train(batches, trainer.step + steps)["train/images_per_second"]

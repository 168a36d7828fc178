"""Training on a GPU from the store to the last step, against the same model fed one constant batch."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import torch
from batches import dataset, shares
from rows import Row, SkippedError, alternating, row
from steps import make_trainer, speed

from msbatch.config import Settings
from msbatch.training.augment import Augmenter
from msbatch.training.compiling import Compiler
from msbatch.training.data import training_batches

ANCHOR = 2791  # images per second, ResNet-50 on an H100: lambdal/deeplearning-benchmark
MODELS = {"ResNet-50": "resnet50", "Swin-T": "swin_tiny_patch4_window7_224"}
INPUT_PX = 224
BATCH, STEPS, ROUNDS, WARM_UP = 256, 40, 5, 20


class _Timed:
    """Batches, and how long was waited for them."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = iter(batches)
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        started = time.perf_counter()
        batch = next(self._batches)
        self.waited_s += time.perf_counter() - started
        return batch


def measure() -> list[Row]:
    """Measure both networks in bf16 at 224 px, with the default augmentation, on all cores of this machine."""
    if not torch.cuda.is_available():
        raise SkippedError("there is no GPU")
    with tempfile.TemporaryDirectory() as folder:
        return [one for name, backbone in MODELS.items() for one in _compare(name, backbone, Path(folder))]


def _compare(name: str, backbone: str, folder: Path) -> list[Row]:
    settings = Settings().scientific() | {"pretrained": False}
    settings["training"] |= {"batch_size": BATCH, "steps": 10_000, "input_px": INPUT_PX, "precision": "bf16"}
    trainer = make_trainer(backbone, settings, torch.device("cuda", 0), folder, Compiler(folder / "compiled", backbone))
    workers = max(1, len(os.sched_getaffinity(0)) - 2)
    cells = dataset(folder, augment=Augmenter(settings["augment"], (0, 1)))
    batches = training_batches(cells, shares(10_000, BATCH), workers)
    real = _Timed(batches)
    constant = repeat(next(real))
    for kind in (constant, real):
        trainer.train(kind, trainer.step + WARM_UP)
    real.waited_s = 0.0
    ours, bare = alternating((lambda: speed(trainer, real, STEPS), lambda: speed(trainer, constant, STEPS)), ROUNDS)
    batches.close()
    rate = median(ours)
    waited = real.waited_s / sum(STEPS * BATCH / one for one in ours)
    what = f"{name} at {INPUT_PX} px in bf16 with augmentation, {torch.cuda.get_device_name(0)}"
    detail = (
        f"{rate:,.0f} images a second, constant batch {median(bare):,.0f}; {workers} loader processes, batch {BATCH}"
    )
    rows = [
        row(what, "the same compiled model fed one constant batch", rate / median(bare), 0.95, detail=detail),
        row(f"{what}: waiting for input", "elapsed time of the steps", waited, 0.02, "lower"),
    ]
    anchor = row(f"{what}: images a second", "published, ResNet-50 on an H100", rate, ANCHOR)
    return [*rows, anchor] if backbone == "resnet50" else rows

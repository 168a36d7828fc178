"""Mixed precision: one object that owns autocast and gradient scaling."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn

from msbatch.errors import MsbatchError


class Precision:
    """The arithmetic of a task; for fp32 and fp64 its scaler and autocast do nothing.

    Parameters
    ----------
    name : {"auto", "fp32", "fp64", "bf16", "fp16"}
        `auto` is bf16 on a GPU that supports it, fp16 on one that does not, and fp32 on the CPU.
    device : torch.device
        Where the model is.

    Raises
    ------
    MsbatchError
        For fp16 on the CPU, which has no fp16 training.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = _resolve(name, device)
        self.dtype = torch.float64 if self.name == "fp64" else torch.float32
        self._device = device
        self._low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which the model's forward pass runs."""
        return torch.autocast(self._device.type, dtype=self._low, enabled=self._low is not None)

    def step(self, loss: torch.Tensor, model: nn.Module, optimiser: torch.optim.Optimizer, clip_norm: float) -> None:
        """Go back through `loss`, clip the gradient and take one optimiser step."""
        optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        self.scaler.step(optimiser)
        self.scaler.update()


def _resolve(name: str, device: torch.device) -> str:
    if name == "fp16" and device.type == "cpu":
        raise MsbatchError("fp16 training needs a GPU.", "Set training.precision to auto, fp32 or bf16.")
    if name != "auto":
        return name
    if device.type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"

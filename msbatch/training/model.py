"""The network: a timm backbone with one new logit, fed with raw cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn import functional

from msbatch.errors import MsbatchError
from msbatch.pretrained import find_weights
from msbatch.training.weights import load_weights


class Classifier(nn.Module):
    """A backbone behind its own preprocessing.

    Takes uint8 cells of shape (n, S, S, 3) and gives logits of shape (n,). Cells are resized to the
    backbone's input and normalised with its constants, never with the cohort's.

    Parameters
    ----------
    backbone : nn.Module
        A timm model with one output.
    input_px : int
        Height and width of its input.
    pretrained : str
        SHA-256 of the file of weights that it starts from; empty where it starts from scratch.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: nn.Module, input_px: int, pretrained: str = "") -> None:
        super().__init__()
        self.backbone = backbone
        self.input_px = input_px
        self.pretrained = pretrained
        config: Any = backbone.pretrained_cfg
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(config[name]).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Give the logit of each cell."""
        pixels = cells.permute(0, 3, 1, 2).to(self.mean.dtype)
        if pixels.shape[-1] != self.input_px:
            pixels = functional.interpolate(pixels, size=self.input_px, mode="bilinear", antialias=True)
        pixels = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self.backbone(pixels)
        return logits.squeeze(1)

    @property
    def head(self) -> nn.Module:
        """The new last layer."""
        head: Any = self.backbone.get_classifier()  # type: ignore[operator]
        return head  # type: ignore[no-any-return]


def build_model(backbone: str, store_px: int, settings: dict[str, Any], weights_dir: Path) -> Classifier:
    """Create a backbone with a new head, pretrained from local files where the settings say so.

    Parameters
    ----------
    backbone : str
        A timm name.
    store_px : int
        Side of the stored cells; the input's side where neither settings nor backbone fix it.
    settings : dict
        The scientific settings of a plan.
    weights_dir : Path
        Holds the pretrained weights.

    Raises
    ------
    MsbatchError
        If timm does not know the name, the weights are missing, damaged or of another network, or the network
        cannot take images of the input's side.
    """
    training = settings["training"]
    options: dict[str, Any] = {"num_classes": 1, "drop_rate": training["drop_rate"]}
    weights = load_weights(find_weights(weights_dir, backbone)) if settings["pretrained"] else None
    if weights is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": weights.state}}
    input_px = _input_px(backbone, store_px, training["input_px"])
    if _fixed_px(backbone) not in (None, input_px):
        options["img_size"] = input_px
    options["drop_path_rate"] = training["drop_path"]
    with torch.random.fork_rng():
        untrained = _create(backbone, {**options, "pretrained": False, "pretrained_cfg_overlay": None})
    model = Classifier(_create(backbone, options), input_px, weights.sha256 if weights else "")
    _check_size(model, backbone)
    if weights is not None:
        _check_loaded(model, untrained, backbone)
    for parameter in model.head.parameters():
        nn.init.zeros_(parameter)  # every cell starts at even odds, whatever the scale of the backbone's features
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def parameter_groups(model: Classifier, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Give the trainable parameters as optimiser groups; `lr_scale` falls with the distance from the head."""
    groups = param_groups_layer_decay(model.backbone, weight_decay=weight_decay, layer_decay=layer_decay)
    return list(groups)


def has_batchnorm(model: nn.Module) -> bool:
    """Say whether a network's result depends on which cells share a batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def _create(backbone: str, options: dict[str, Any]) -> nn.Module:
    if not timm.is_model(backbone):
        raise MsbatchError(f"timm knows no backbone named {backbone}.", "Look a name up with timm.list_models().")
    try:
        model: nn.Module = timm.create_model(backbone, **options)
    except TypeError:  # some families know no stochastic depth
        model = timm.create_model(backbone, **{k: v for k, v in options.items() if k != "drop_path_rate"})
    except RuntimeError as error:
        raise MsbatchError(f"The weights do not fit {backbone}: {str(error).splitlines()[0]}.") from None
    return model


def _check_loaded(model: Classifier, untrained: nn.Module, backbone: str) -> None:
    # timm only warns about names it cannot place: a layer that still has its initial values was not loaded.
    initial = untrained.state_dict()
    head = {id(parameter) for parameter in model.head.parameters()}
    for name, parameter in model.backbone.named_parameters():
        if parameter.ndim > 1 and id(parameter) not in head and torch.equal(parameter, initial[name]):
            raise MsbatchError(f"The weights do not fit {backbone}: they have none for {name}.")


@torch.no_grad()
def _check_size(model: Classifier, backbone: str) -> None:
    # Some networks accept another size when they are built and fail over the first image.
    try:
        model.eval()(torch.zeros((1, model.input_px, model.input_px, 3), dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        built_for = timm.get_pretrained_cfg(backbone).input_size[-1]
        raise MsbatchError(
            f"{backbone} cannot take images of {model.input_px} px: {str(error).splitlines()[0]}",
            f"It was built for {built_for} px: leave training.input_px out, or set it to that.",
        ) from None
    model.train()


def _fixed_px(backbone: str) -> int | None:
    config: Any = timm.get_pretrained_cfg(backbone) if timm.is_model(backbone) else None
    return int(config.input_size[-1]) if config is not None and config.fixed_input_size else None


def _input_px(backbone: str, store_px: int, wanted: int | None) -> int:
    return wanted or _fixed_px(backbone) or store_px

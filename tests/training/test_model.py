"""Backbones with one new logit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from msbatch.config import Settings
from msbatch.errors import MsbatchError
from msbatch.training.model import build_model, has_batchnorm, parameter_groups


def settings(pretrained: bool = False, **training: Any) -> dict[str, Any]:
    return Settings.model_validate({"training": training, "weights": {"pretrained": pretrained}}).scientific()


def random_cells(n: int, size_px: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, size_px, size_px, 3), np.uint8))


@pytest.mark.parametrize(("backbone", "input_px"), [("test_vit", 160), ("test_resnet", 48), ("test_convnext", 48)])
def test_raw_cells_give_one_logit_each(backbone: str, input_px: int, tmp_path: Path) -> None:
    model = build_model(backbone, 48, settings(), tmp_path).eval()
    assert model.input_px == input_px
    assert model(random_cells(3, 48)).shape == (3,)


def test_the_input_can_be_chosen_even_where_the_backbone_fixes_it(tmp_path: Path) -> None:
    model = build_model("test_vit", 48, settings(input_px=64), tmp_path).eval()
    assert model(random_cells(2, 48)).shape == (2,)


def test_a_backbone_whose_input_cannot_be_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match=r"efficientformer_l1 cannot take images of 128 px.*\n.*built for 224 px"):
        build_model("efficientformer_l1", 48, settings(input_px=128), tmp_path)


def test_a_new_head_starts_at_even_odds(tmp_path: Path) -> None:
    model = build_model("test_resnet", 48, settings(), tmp_path).eval()
    assert model(random_cells(3, 48)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_pretrained_weights_come_from_local_files(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = timm.create_model("test_resnet").state_dict()
    path = tmp_path / f"test_resnet{suffix}"
    torch.save(state, path) if suffix == ".pth" else safetensors.torch.save_file(state, path)
    built = build_model("test_resnet", 48, settings(pretrained=True), tmp_path).backbone.state_dict()
    head = {name for name in state if state[name].shape != built[name].shape}
    assert 0 < len(head) <= 2
    assert all(torch.equal(state[name], built[name]) for name in state if name not in head)


def test_preprocessing_uses_the_backbones_own_constants(tmp_path: Path) -> None:
    model = build_model("test_resnet", 48, settings(), tmp_path).eval()
    seen: list[torch.Tensor] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    white = torch.full((1, 48, 48, 3), 255, dtype=torch.uint8)
    model(white)
    config = timm.get_pretrained_cfg("test_resnet")
    wanted = [(1 - mean) / std for mean, std in zip(config.mean, config.std, strict=True)]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(wanted, rel=1e-5)


def test_layers_further_from_the_head_learn_more_slowly(tmp_path: Path) -> None:
    model = build_model("test_vit", 48, settings(), tmp_path)
    scale = {id(p): group["lr_scale"] for group in parameter_groups(model, 0.1, 0.5) for p in group["params"]}
    backbone: Any = model.backbone
    assert scale[id(backbone.head.weight)] == 1
    assert scale[id(backbone.patch_embed.proj.weight)] < scale[id(backbone.blocks[-1].mlp.fc1.weight)] < 1


def test_an_unknown_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match="knows no backbone named swan"):
        build_model("swan", 48, settings(), tmp_path)


def test_missing_weights_name_the_paths_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match=r"test_vit\.safetensors or .*test_vit\.pth"):
        build_model("test_vit", 48, settings(pretrained=True), tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), tmp_path / "test_resnet.safetensors")
    with pytest.raises(MsbatchError, match="do not fit test_resnet"):
        build_model("test_resnet", 48, settings(pretrained=True), tmp_path)


def test_batchnorm_is_recognised(tmp_path: Path) -> None:
    assert has_batchnorm(build_model("test_resnet", 48, settings(), tmp_path))
    assert not has_batchnorm(build_model("test_vit", 48, settings(), tmp_path))

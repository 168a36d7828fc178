"""Whether the packages that only training needs are there."""

from __future__ import annotations

from importlib.util import find_spec

from msbatch.errors import MsbatchError

TRAIN = ("torch", "torchvision", "timm", "albumentations", "safetensors", "huggingface_hub")


def require_train() -> None:
    """Refuse what needs torch where the plain install has none.

    Raises
    ------
    MsbatchError
        Naming what is missing and how to install it.
    """
    missing = [name for name in TRAIN if find_spec(name) is None]
    if missing:
        raise MsbatchError(
            f"Training needs {', '.join(missing)}, not installed here.", "Install with: pip install 'msbatch[train]'"
        )

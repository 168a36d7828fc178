"""Pretrained weights as local files, and the one command that fetches them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch

from msbatch.config import full_name
from msbatch.errors import MsbatchError
from msbatch.files import atomic_path, read_json, sha256, write_json
from msbatch.pretrained import SUFFIXES

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Weights:
    """The state dict of a file of weights, and the file's SHA-256."""

    state: dict[str, torch.Tensor]
    sha256: str


def load_weights(path: Path) -> Weights:
    """Read a state dict without running any code in it.

    Raises
    ------
    MsbatchError
        If the file is damaged, holds anything but tensors, or differs from the manifest beside it.
    DiskError
        If the disk fails.
    """
    digest = sha256(path)
    if read_manifest(path.parent).get(path.name, {"sha256": digest})["sha256"] != digest:
        raise MsbatchError(f"{path} differs from {path.parent / MANIFEST}.", "Fetch it again with: msbatch weights get")
    try:
        if path.suffix == ".safetensors":
            return Weights(safetensors.torch.load_file(path), digest)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle, zip and safetensors each have errors of their own
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise MsbatchError(f"{path} cannot be read as weights: {said}.") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise MsbatchError(f"{path} is not a state dict: it holds something other than tensors.")
    return Weights(state, digest)


def get(name: str, folder: Path) -> Path:
    """Fetch a backbone's weights through the hub's own client; the one function that uses the network.

    Parameters
    ----------
    name : str
        A timm name or a short name.
    folder : Path
        Where ``<timm name>.safetensors`` and its entry in the manifest are written.

    Raises
    ------
    MsbatchError
        If the name is unknown or the hub does not give the file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    backbone = full_name(name)
    config = timm.get_pretrained_cfg(backbone) if timm.is_model(backbone) else None
    if config is None or not config.hf_hub_id:
        raise MsbatchError(
            f"timm knows no pretrained weights for {backbone}.",
            "Look a name up with timm.list_models(pretrained=True).",
        )
    target = folder / f"{backbone}.safetensors"
    try:
        with atomic_path(target) as temporary:
            fetched = hf_hub_download(config.hf_hub_id, "model.safetensors", local_dir=f"{temporary}.download")
            Path(fetched).replace(temporary)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise MsbatchError(f"{config.hf_hub_id} could not be fetched: {str(error).splitlines()[0]}") from None
    finally:
        _remove_downloads(folder)
    _record(target, config.hf_hub_id)
    return target


def list_weights(folder: Path) -> list[dict[str, Any]]:
    """List the weight files of a folder: file, backbone, bytes, and whether the manifest knows them."""
    manifest = read_manifest(folder)
    return [
        {"file": path.name, "backbone": path.stem, "bytes": path.stat().st_size, "listed": path.name in manifest}
        for path in sorted(folder.glob("*"))
        if path.suffix in SUFFIXES
    ]


def check(folder: Path) -> list[dict[str, Any]]:
    """Compare every weight file with the manifest: status is ok, changed, missing or unlisted."""
    manifest = read_manifest(folder)
    names = sorted({*manifest, *(entry["file"] for entry in list_weights(folder))})
    return [{"file": name, "status": _status(folder / name, manifest)} for name in names]


def read_manifest(folder: Path) -> dict[str, dict[str, str]]:
    """Read the manifest of a weights folder: file name to its SHA-256 and source; empty where there is none.

    Raises
    ------
    MsbatchError
        If it is not JSON, or does not give each file its hash.
    """
    path = folder / MANIFEST
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict) or not all(_is_entry(entry) for entry in found.values()):
        raise MsbatchError(
            f"{path} does not give each file its sha256.",
            "Remove it, and fetch the weights again with: msbatch weights get",
        )
    return found


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("sha256"), str)


def _status(path: Path, manifest: dict[str, dict[str, str]]) -> str:
    if not path.is_file():
        return "missing"
    if path.name not in manifest:
        return "unlisted"
    return "ok" if sha256(path) == manifest[path.name]["sha256"] else "changed"


def _record(path: Path, source: str) -> None:
    manifest = read_manifest(path.parent)
    manifest[path.name] = {"sha256": sha256(path), "source": source}
    write_json(path.parent / MANIFEST, manifest)


def _remove_downloads(folder: Path) -> None:
    import shutil

    for leftover in folder.glob(".*.download"):
        shutil.rmtree(leftover)

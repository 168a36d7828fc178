"""Where a backbone's pretrained weights lie; needs no torch, so that a study can be checked before it starts."""

from __future__ import annotations

from pathlib import Path

from msbatch.errors import MsbatchError

SUFFIXES = (".safetensors", ".pth")


def find_weights(folder: Path, backbone: str) -> Path:
    """Find the file that holds a backbone's weights.

    Raises
    ------
    MsbatchError
        If there is none; the message names the paths looked for.
    """
    candidates = [folder / f"{backbone}{suffix}" for suffix in SUFFIXES]
    for path in candidates:
        if path.is_file():
            return path
    looked = " or ".join(str(path) for path in candidates)
    raise MsbatchError(
        f"There are no pretrained weights for {backbone}: looked for {looked}.",
        f"Fetch them with: msbatch weights get {backbone} --dir {folder}; or train from scratch with --no-pretrained.",
    )

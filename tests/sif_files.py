"""Small files that look like container images, and a program that reads and builds them."""

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from msbatch.cluster.container import SIF_HEAD, SIF_MAGIC, lock_file
from msbatch.files import sha256

LABELS = {
    "msbatch.lock_sha256": sha256(lock_file()),
    "msbatch.python": platform.python_version(),
    "msbatch.submitit": version("submitit"),
    "msbatch.torch": "2.10.0+cu128",
    "msbatch.cuda": "12.8",
    "msbatch.outside_lock": "no",
}

# `inspect` gives the labels that lie in the image; `exec` fails, as where a file is missing; `build` copies the image
# that it finds beside itself.
STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, sys
words = sys.argv[1:]
if words[0] == "inspect":
    labels = json.loads(pathlib.Path(words[-1]).read_bytes()[{SIF_HEAD.size}:].split(b"\\0")[0])
    print(json.dumps({{"data": {{"attributes": {{"labels": labels}}}}}}))
elif words[0] == "exec":
    sys.exit(f"{{words[-2]}}: {{words[-1]}}: No such file or directory")
else:
    print(*words, flush=True)
    print("DEBUG   [U=0,P=1]  cachedImage()  Caching image to /x/blob@sha256:{"ab" * 32}")
    print("2026/11/24 20:35:13 debug unpacking entry  path=usr/bin/env")
    if os.environ.get("STAND_IN_FAILS"):
        sys.exit("FATAL: " + os.environ["STAND_IN_FAILS"])
    image = pathlib.Path(__file__).parent / "built.sif"
    pathlib.Path(words[-2]).write_bytes(image.read_bytes())
"""


def write_sif(path: Path, labels: dict[str, str] | None) -> None:
    """Write a head that promises what follows it: labels, or bytes that no program can read."""
    data = (b"\xff" if labels is None else json.dumps(labels).encode()).ljust(4096, b"\0")
    numbers = [0, 0, 0, 0, 0, 0, SIF_HEAD.size, len(data)]
    head = SIF_HEAD.pack(b"#!/usr/bin/env run-singularity\n", SIF_MAGIC, b"01", b"02", bytes(16), *numbers)
    path.write_bytes(head + data)


def install_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called apptainer first on the PATH."""
    folder.mkdir()
    program = folder / "apptainer"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    write_sif(folder / "built.sif", LABELS)
    monkeypatch.setenv("PATH", str(folder), prepend=":")

"""The container image: whether it is whole, and whether it agrees with the side that submits."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msbatch.errors import MsbatchError
from msbatch.files import read_json, sha256, write_json
from msbatch.layout import data_dir

PROGRAMS = ("apptainer", "singularity")
BUILD = "Build it with: msbatch container build"

CONTENTS = "/opt/contents.tsv"  # inside the image, as the definition writes it

# The head of an image: a line that starts it, SIF_MAGIC, versions, times; last, where its data begin and their length.
SIF_HEAD = struct.Struct("<32s10s3s3s16s8q")
SIF_MAGIC = b"SIF_MAGIC\0"


@dataclass(frozen=True)
class ImageFacts:
    """What an image holds, as its labels say, and what identifies it."""

    path: Path
    sha256: str
    bytes: int
    lock_sha256: str
    python: str
    submitit: str
    torch: str
    cuda: str
    outside_lock: bool


def program(preferred: str = "") -> str:
    """Find the program that runs containers.

    Raises
    ------
    MsbatchError
        If neither apptainer nor singularity, or not the preferred one, is on the PATH.
    """
    wanted = (preferred,) if preferred else PROGRAMS
    found = next((name for name in wanted if shutil.which(name)), None)
    if found is None:
        raise MsbatchError(
            f"There is no {' or '.join(wanted)} on this machine.",
            "Load its module (cluster.modules), or run tasks without a container: --runtime none",
        )
    return found


def check(image: Path, program: str, full: bool = False, remember: bool = True) -> ImageFacts:
    """Compare an image with the submitting side.

    Parameters
    ----------
    image : Path
        The image, one file.
    program : str
        What runs containers, as `program` gives it.
    full : bool, default False
        Hash the whole image, also where its size and time are those of its record.
    remember : bool, default True
        Write its hash down beside it, where it was not known; otherwise nothing is written.

    Raises
    ------
    MsbatchError
        If the image is missing, cut off or none, or if its lock, Python or submitit differ from those of this side.
    """
    facts = read_facts(image, program, full, remember)
    lock = sha256(lock_file())
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    pairs = {
        "requirements.lock": (facts.lock_sha256[:12], lock[:12]),
        "Python": (facts.python.rpartition(".")[0], here),
        "submitit": (facts.submitit, version("submitit")),
    }
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            base = f" --base python:{here}-slim-bookworm" if name == "Python" else ""
            hint = f"{BUILD} {image}{base}"
            raise MsbatchError(f"{image} does not fit: its {name} is {theirs}, here it is {ours}.", hint)
    return facts


def read_facts(image: Path, program: str, full: bool = False, remember: bool = True) -> ImageFacts:
    """Read what an image is, without comparing it; the parameters are those of `check`.

    Raises
    ------
    MsbatchError
        If the image is missing, cut off, changed since it was recorded, or no image of msbatch.
    """
    check_whole(image)
    labels = read_labels(image, program)
    return ImageFacts(
        path=image,
        sha256=_digest(image, full, remember),
        bytes=image.stat().st_size,
        lock_sha256=labels["lock_sha256"],
        python=labels["python"],
        submitit=labels["submitit"],
        torch=labels["torch"],
        cuda=labels["cuda"],
        outside_lock=labels["outside_lock"] == "yes",
    )


def check_whole(image: Path) -> None:
    """Refuse what is no image, or only the beginning of one.

    Raises
    ------
    MsbatchError
        With what to do.
    """
    if not image.is_file():
        raise MsbatchError(f"There is no image {image}.", f"{BUILD} {image}")
    with image.open("rb") as handle:
        head = handle.read(SIF_HEAD.size)
    if len(head) < SIF_HEAD.size or head[32:42] != SIF_MAGIC:
        raise MsbatchError(f"{image} is not a container image (SIF).", f"{BUILD} {image}")
    *_, start, length = SIF_HEAD.unpack(head)
    size = image.stat().st_size
    if size < start + length:
        raise MsbatchError(
            f"{image} is cut off: it has {size} of at least {start + length} bytes.",
            "Copy it again, or build it again.",
        )


def read_labels(image: Path, program: str) -> dict[str, str]:
    """Read the labels that the build gave an image, without their prefix.

    Raises
    ------
    MsbatchError
        If the image cannot be read or was built from another definition.
    """
    done = subprocess.run([program, "inspect", "--json", str(image)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MsbatchError(f"{program} cannot read {image}: {said}", "Copy it again, or build it again.")
    labels: dict[str, str] = json.loads(done.stdout)["data"]["attributes"]["labels"]
    ours = {key.removeprefix("msbatch."): value for key, value in labels.items() if key.startswith("msbatch.")}
    missing = {"lock_sha256", "python", "submitit", "torch", "cuda", "outside_lock"} - ours.keys()
    if missing:
        raise MsbatchError(f"{image} was not built from msbatch's own definition.", f"{BUILD} {image}")
    return ours


def read_contents(image: Path, program: str) -> str:
    """Read the list that the build left in an image: Python wheels with their hashes, Debian packages.

    Raises
    ------
    MsbatchError
        If the image is missing, cut off, or has no such list.
    """
    check_whole(image)
    look = ["exec", "--cleanenv", "--contain", "--no-home", "--pwd", "/", str(image), "cat", CONTENTS]
    done = subprocess.run([program, *look], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MsbatchError(f"{image} does not say what it holds: {said}", f"{BUILD} {image}")
    return done.stdout


def record_file(image: Path) -> Path:
    """Give the file beside an image that says what it is."""
    return image.with_name(f"{image.name}.json")


def write_record(facts: ImageFacts, **further: Any) -> None:
    """Write beside an image what it is, so that nobody has to hash it again."""
    seen = facts.path.stat().st_mtime_ns
    write_json(record_file(facts.path), {**asdict(facts), "path": facts.path.name, "mtime_ns": seen, **further})
    record_file(facts.path).chmod(0o644)


def lock_file() -> Path:
    """Give the lock of the environment: a wheel carries it, a checkout has it at its top."""
    carried = data_dir("containers") / "requirements.lock"
    return carried if carried.is_file() else data_dir("containers").parent / "requirements.lock"


def _digest(image: Path, full: bool, remember: bool) -> str:
    record = read_json(record_file(image)) if record_file(image).is_file() else {}
    known = isinstance(record, dict) and {"bytes", "mtime_ns", "sha256"} <= record.keys()
    record = record if known else {}
    status = image.stat()
    if record and record["bytes"] != status.st_size:
        raise MsbatchError(
            f"{image} has {status.st_size} bytes, but {record['bytes']} were built.", "Copy it again, with its .json."
        )
    if record and record["mtime_ns"] == status.st_mtime_ns and not full:
        return str(record["sha256"])
    digest = sha256(image)
    if record and record["sha256"] != digest:
        raise MsbatchError(f"{image} is not what was built: its bytes differ.", "Copy it again, or build it again.")
    if remember:
        _remember(image, {**record, "sha256": digest, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns})
    return digest


def _remember(image: Path, record: dict[str, Any]) -> None:
    with suppress(OSError):  # a lab's image may lie where only one person writes
        if image.stat().st_uid == os.geteuid():
            write_json(record_file(image), record)
            record_file(image).chmod(0o644)

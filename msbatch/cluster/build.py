"""Build the container image from its one definition, with or without a network."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msbatch import __version__
from msbatch.cluster.container import ImageFacts, lock_file, read_facts, record_file, write_record
from msbatch.errors import MsbatchError
from msbatch.files import atomic_path
from msbatch.layout import data_dir

# The builder names the digest of its base only in its debugging output, which nobody wants to read.
NOISE = re.compile(r"(\x1b\[\d+m)?(DEBUG|VERBOSE) |[\d/]+ [\d:]+ debug ")
BASE_DIGEST = re.compile(r"Caching image to \S+@(sha256:[0-9a-f]{64})")

# Folders that are empty in every base image: the definition looks there.
WHEELS_INSIDE = "/mnt"
TORCH_INSIDE = "/media"


@dataclass(frozen=True)
class Recipe:
    """What an image is built from, beside the definition and the lock.

    Parameters
    ----------
    bootstrap, base : str
        How the builder gets the base image, and which; empty for what the definition says.
    wheels : Path, optional
        Folder with a wheel of everything in the lock: no network is used for them.
    torch_wheels : Path, optional
        Folder with another flavour of torch and all that it requires beyond the lock.
    squashfs : str
        Passed on to mksquashfs.
    """

    bootstrap: str = ""
    base: str = ""
    wheels: Path | None = None
    torch_wheels: Path | None = None
    squashfs: str = ""


def build(image: Path, recipe: Recipe, program: str, say: Callable[[str], None]) -> ImageFacts:
    """Build an image beside its place, move it there once it is whole, and record what it is.

    Parameters
    ----------
    image : Path
        Where the image belongs; an existing one is replaced.
    recipe : Recipe
        What it is built from.
    program : str
        Apptainer or singularity.
    say : callable
        Is given each line that the builder prints.

    Raises
    ------
    MsbatchError
        If a folder of wheels holds none, or the build fails; an existing image stays.
    """
    for folder in (recipe.wheels, recipe.torch_wheels):
        if folder is not None and not any(folder.glob("*.whl")):
            raise MsbatchError(f"{folder} holds no wheels (*.whl).", "Fill it with: pip download -d FOLDER ...")
    with atomic_path(image.absolute()) as temporary:
        digest = _run([program, "--debug", "build", *_options(recipe), str(temporary), str(definition())], say)
        temporary.chmod(0o755 & ~_umask())
    record_file(image).unlink(missing_ok=True)  # that of the image before this one
    facts = read_facts(image, program, full=True)
    base = recipe.base or _default("FROM")
    write_record(
        facts,
        bootstrap=recipe.bootstrap or _default("BOOTSTRAP"),
        base=base,
        base_digest=digest,
        msbatch=__version__,
    )
    return facts


def definition() -> Path:
    """Give the one definition of the image."""
    return data_dir("containers") / "msbatch.def"


def _options(recipe: Recipe) -> list[str]:
    options = ["--force", *([] if os.geteuid() == 0 else ["--fakeroot"])]
    base = str(Path(recipe.base).absolute()) if recipe.base and Path(recipe.base).exists() else recipe.base
    for name, value in {"BOOTSTRAP": recipe.bootstrap, "FROM": base}.items():
        options += ["--build-arg", f"{name}={value}"] if value else []
    for folder, inside in {recipe.wheels: WHEELS_INSIDE, recipe.torch_wheels: TORCH_INSIDE}.items():
        options += ["--bind", f"{folder.absolute()}:{inside}"] if folder else []
    return [*options, *(["--mksquashfs-args", recipe.squashfs] if recipe.squashfs else [])]


def _run(command: list[str], say: Callable[[str], None]) -> str:
    """Run the builder where the lock is; give the digest of the base, as far as it is named."""
    digest, last = "", ""
    with subprocess.Popen(
        command, cwd=lock_file().parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            digest = found[1] if (found := BASE_DIGEST.search(line)) else digest
            if not NOISE.match(line):
                last = line.strip() or last
                say(line.rstrip())
    if process.returncode:
        raise MsbatchError(
            f"The image could not be built: {last}",
            "What the builder printed says why; its disk is APPTAINER_TMPDIR, and without a network it needs --base.",
        )
    return digest


def _default(argument: str) -> str:
    found = re.search(rf"^\s+{argument}=(\S+)", definition().read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

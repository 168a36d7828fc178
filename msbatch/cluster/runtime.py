"""What tasks run in: a container program, its image, and what this node has to offer; each look says what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from msbatch import driver
from msbatch.cluster import container, node
from msbatch.config import Settings
from msbatch.errors import MsbatchError

UNPACKED = 2  # an unpacked image takes about so many times the room of the packed one

# Whether nothing can be submitted while something is wrong; and a function that gives what it found, nothing where
# there is nothing to look at, or raises what is wrong and what to do.
Look = tuple[bool, Callable[[Settings], str]]


def _program(settings: Settings) -> str:
    if settings.cluster.runtime == "none":
        return ""
    try:
        name = _container(settings)
    except MsbatchError as error:
        modules = " ".join(settings.cluster.modules)
        raise MsbatchError(error.problem, f"First: module load {modules}" if modules else error.hint) from None
    return node.version(name) or name


def _mode(settings: Settings) -> str:
    name = _container_or_none(settings)
    if name is None:
        return ""
    if node.is_setuid(name):
        return "setuid: images are mounted with its privileged part"
    if problem := node.namespaces_problem():
        raise MsbatchError(
            f"{name} is rootless, but {problem}.",
            "Ask an administrator for user namespaces, or for a setuid installation.",
        )
    return "rootless, in user namespaces"


def _mounts(settings: Settings) -> str:
    name = _container_or_none(settings)
    if name is None or node.is_setuid(name):
        return ""
    if problem := node.fuse_problem(name):
        better = "" if settings.cluster.runtime == "sandbox" else " or set cluster.runtime to sandbox"
        raise MsbatchError(
            f"{problem}: an image that is not unpacked beforehand is unpacked at every start.",
            f"Ask an administrator for squashfuse and {node.FUSE}{better}.",
        )
    return f"squashfuse and {node.FUSE} are there"


def _unpacking(settings: Settings) -> str:
    name = _container_or_none(settings)
    if name is None or settings.cluster.runtime != "sandbox":
        return ""
    if node.find_helper(name, "unsquashfs") is None:
        raise MsbatchError("there is no unsquashfs: images run packed, and start slower.", "Ask for squashfs-tools.")
    return "unsquashfs is there"


def _image(settings: Settings) -> str:
    if settings.cluster.runtime == "none":
        return ""
    name = _container_or_none(settings)
    if name is None:
        container.check_whole(settings.cluster.image)
        return f"{settings.cluster.image} is whole; what is in it cannot be read here"
    facts = container.check(settings.cluster.image, name)
    return f"{facts.path}, {node.gigabytes(facts.bytes)}, agrees with this installation"


def _python(settings: Settings) -> str:
    if settings.cluster.runtime != "none":
        return ""
    if find_spec("torch") is None:
        raise MsbatchError(
            "Tasks run this Python, which has no torch.", "Use a container, or: pip install 'msbatch[train]'"
        )
    return "tasks run this Python, which has torch"


def _gpus(settings: Settings) -> str:
    if settings.compute.device != "cuda":
        return ""
    installed = driver.read_driver(driver.VERSION_FILE)
    if installed is None:
        raise MsbatchError(
            "This machine has no NVIDIA driver: nothing is known of the GPUs.",
            "Look on a node that has some: srun --gres=gpu:1 msbatch doctor",
        )
    if problem := driver.explain_driver(_cuda(settings), installed):
        what, _, remedy = problem.partition(". ")
        raise MsbatchError(f"{what}.", remedy)
    return f"{node.gpus()} NVIDIA GPUs, driver {installed}"


def _scratch(settings: Settings) -> str:
    scratch = os.path.expandvars(settings.cluster.scratch)
    if "$" in scratch:
        raise MsbatchError(f"{scratch} is known on the nodes only.", "Nothing has to be done.")
    folder = Path(scratch)
    node.try_writing(folder)
    if settings.cluster.runtime == "none":
        return f"{folder} can be written"
    free, needed = shutil.disk_usage(folder).free, _room(settings)
    if free < needed:
        raise MsbatchError(
            f"{folder} has {node.gigabytes(free)} free; an unpacked image needs {node.gigabytes(needed)}.",
            "Set cluster.scratch.",
        )
    if node.file_system(folder) == "tmpfs":
        raise MsbatchError(f"{folder} is kept in memory: what lies there is taken from tasks.", "Set cluster.scratch.")
    return f"{folder} of this machine, {node.gigabytes(free)} free"


LOOKS: dict[str, Look] = {
    "container": (True, _program),
    "its mode": (True, _mode),
    "mounting": (False, _mounts),
    "unpacking": (False, _unpacking),
    "image": (True, _image),
    "Python": (True, _python),
    "GPUs": (False, _gpus),
    "scratch": (False, _scratch),
}


def _container(settings: Settings) -> str:
    return container.program(settings.cluster.program or "")


def _container_or_none(settings: Settings) -> str | None:
    """Find the container program, where one is used and it is here; that it is not is a check of its own."""
    if settings.cluster.runtime == "none":
        return None
    with suppress(MsbatchError):
        return _container(settings)
    return None


def _cuda(settings: Settings) -> str | None:
    """Read for which CUDA the image was built; that it cannot be read is a check of its own."""
    with suppress(MsbatchError):
        if settings.cluster.runtime != "none":
            return container.read_labels(settings.cluster.image, _container(settings))["cuda"]
    return None


def _room(settings: Settings) -> int:
    image = settings.cluster.image
    return UNPACKED * image.stat().st_size if settings.cluster.runtime == "sandbox" and image.is_file() else 0

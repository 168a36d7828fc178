"""What a frozen backbone sees in the cells of one patient, and what that belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msbatch.errors import DiskError, MsbatchError
from msbatch.files import atomic_path, read_json, sha256, write_json
from msbatch.layout import TaskDir

Embedding = NDArray[np.float32]


class EmbeddingError(MsbatchError):
    """An embedding is missing, damaged, or belongs to something else."""


@dataclass(frozen=True)
class Origin:
    """What decides an embedding, whichever run it was made for.

    Attributes
    ----------
    store : str
        SHA-256 of the store.
    fold : int
        Number of the fold that holds the patient out.
    network : str
        timm's name.
    weights : str
        SHA-256 of the file of pretrained weights, or the seed of initial ones.
    input_px : int
        Side of the network's input.
    precision : str
        Of the arithmetic.
    """

    store: str
    fold: int
    network: str
    weights: str
    input_px: int
    precision: str


def write_embedding(task: TaskDir, values: Embedding, origin: Origin, before_commit: Callable[[], None]) -> None:
    """Write an embedding and its manifest; the manifest comes last and makes it count.

    Parameters
    ----------
    values : ndarray of float32, shape (n, d)
        Of each of the patient's cells, in the order of the store.
    before_commit : callable
        Called before each file is moved into place; raising from it writes nothing.
    """
    with atomic_path(task.embedding, before_commit) as temporary, temporary.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(values))
        out.write(np.ascontiguousarray(values).data)  # np.save does not say why it could not write all
    manifest = {**vars(origin), "shape": list(values.shape), "sha256": sha256(task.embedding)}
    write_json(task.embedding_manifest, manifest, before_commit)


def find_embedding(task: TaskDir, origin: Origin) -> Path | None:
    """Give the file of a task's embedding if it is there, whole and of this origin."""
    try:
        manifest, _ = check_embedding(task)
    except (EmbeddingError, DiskError):
        return None
    return task.embedding if manifest == origin else None


def check_embedding(task: TaskDir) -> tuple[Origin, tuple[int, int]]:
    """Give what a task's embedding belongs to, and its shape; the file is read whole, but not kept.

    Raises
    ------
    EmbeddingError
        If it is missing, was changed or is no array of float32; the message names the file.
    DiskError
        If the disk fails, which says nothing of the embedding.
    """
    if not task.embedding.is_file() or not task.embedding_manifest.is_file():
        raise EmbeddingError(f"{task.embedding} is missing.")
    try:
        manifest: dict[str, Any] = dict(read_json(task.embedding_manifest))
        shape, digest = tuple(manifest.pop("shape")), manifest.pop("sha256")
        origin = Origin(**manifest)
    except DiskError:
        raise
    except (MsbatchError, KeyError, TypeError, ValueError):
        raise EmbeddingError(f"{task.embedding_manifest} is damaged.") from None
    try:
        found = sha256(task.embedding)
    except OSError as error:
        raise EmbeddingError(f"{task.embedding} cannot be read: {error.strerror}.") from None
    if found != digest:
        raise EmbeddingError(f"{task.embedding} was changed after it was written.")
    if len(shape) != 2 or _shape(task.embedding) != shape:
        raise EmbeddingError(f"{task.embedding} is damaged.")
    return origin, shape


def _shape(path: Path) -> tuple[int, ...]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # numpy parses the header as Python's own syntax, and raises whatever that does
        return ()
    return tuple(values.shape) if values.dtype == np.float32 else ()

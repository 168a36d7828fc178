"""Embeddings as files: what is read is what was written, and nothing else passes for it."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msbatch.embeddings import EmbeddingError, Origin, check_embedding, find_embedding, write_embedding
from msbatch.files import sha256
from msbatch.layout import TaskDir

ORIGIN = Origin("a" * 64, 3, "resnet50", "b" * 64, 128, "fp32")
VALUES = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def task(tmp_path: Path) -> TaskDir:
    made = TaskDir(tmp_path / "task")
    write_embedding(made, VALUES, ORIGIN, lambda: None)
    return made


def test_what_was_written_is_found_by_its_origin_and_by_no_other(task: TaskDir) -> None:
    assert task.done
    assert check_embedding(task) == (ORIGIN, (4, 3))
    found = find_embedding(task, ORIGIN)
    assert found is not None
    assert np.array_equal(np.load(found), VALUES)
    for other in ({"store": "c" * 64}, {"weights": "c" * 64}, {"fold": 4}, {"input_px": 64}, {"network": "swin"}):
        assert find_embedding(task, replace(ORIGIN, **other)) is None


def test_others_can_read_neither_file(task: TaskDir) -> None:
    assert not any(path.stat().st_mode & 0o077 for path in (task.embedding, task.embedding_manifest))


def cut(task: TaskDir) -> None:
    task.embedding.write_bytes(task.embedding.read_bytes()[:-4])


def swap(task: TaskDir) -> None:
    np.save(task.embedding, VALUES[::-1])


def garble(task: TaskDir) -> None:
    task.embedding_manifest.write_text('{"store": 1}')


def lose(task: TaskDir) -> None:
    task.embedding_manifest.unlink()


@pytest.mark.parametrize(
    ("spoil", "word"), [(cut, "changed"), (swap, "changed"), (garble, "damaged"), (lose, "missing")]
)
def test_a_spoilt_one_is_named_and_not_used(task: TaskDir, spoil: Callable[[TaskDir], None], word: str) -> None:
    spoil(task)
    with pytest.raises(EmbeddingError, match=word):
        check_embedding(task)
    assert find_embedding(task, ORIGIN) is None


class Bomb:
    """An object that would run code where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


HEADERS = {
    "a tebibyte": "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 3), }",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }",
    "not closed": "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3)",
    "nested": "(" * 20_000,
    "a call": "__import__('os').getcwd()",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (4, 3), }",
    "other numbers": "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3), }",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_an_array_of_an_adversary_is_refused_although_its_hash_fits(task: TaskDir, text: str) -> None:
    task.embedding.write_bytes(header(text) + bytes(96))
    vouch(task)
    with pytest.raises(EmbeddingError, match="is damaged"):
        check_embedding(task)


def test_an_array_of_objects_is_not_unpickled(task: TaskDir, tmp_path: Path) -> None:
    np.save(task.embedding, np.array([[Bomb(tmp_path / "ran")]], object), allow_pickle=True)
    vouch(task)
    with pytest.raises(EmbeddingError, match="is damaged"):
        check_embedding(task)
    assert not (tmp_path / "ran").exists()


def vouch(task: TaskDir) -> None:
    manifest = json.loads(task.embedding_manifest.read_text())
    task.embedding_manifest.write_text(json.dumps({**manifest, "sha256": sha256(task.embedding)}))


@pytest.mark.parametrize("text", ["[]", "3", "[" * 100_000, '{"shape": 3}', '{"shape": [4, 3], "sha256": []}'])
def test_a_manifest_of_an_adversary_is_refused(task: TaskDir, text: str) -> None:
    task.embedding_manifest.write_text(text)
    with pytest.raises(EmbeddingError, match="is damaged"):
        check_embedding(task)


def test_a_writer_that_lost_its_task_leaves_nothing(tmp_path: Path) -> None:
    def superseded() -> None:
        raise InterruptedError

    task = TaskDir(tmp_path / "task")
    with pytest.raises(InterruptedError):
        write_embedding(task, VALUES, ORIGIN, superseded)
    assert not task.done
    assert list(task.root.iterdir()) == []

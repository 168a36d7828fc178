"""Checkpoints survive what disks and killed writers do to them."""

from pathlib import Path

import pytest
import torch

from msbatch.errors import MsbatchError
from msbatch.training.checkpoint import load_checkpoint, newest_step, remove_checkpoints, save_checkpoint

IDENTITY = {"signature": "a", "backbone": "b", "fold": 0}


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(folder, step, {"identity": IDENTITY, "step": step, "w": torch.ones(3)}, lambda: None)


def loaded_step(folder: Path) -> int | None:
    content = load_checkpoint(folder, IDENTITY)
    return None if content is None else content["step"]


def test_the_newest_is_read_and_two_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 30)
    assert loaded_step(tmp_path) == 30
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["step-0000002.pt", "step-0000030.pt"]


def superseded() -> None:
    raise MsbatchError("superseded")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose_the_hash(path: Path) -> None:
    path.with_suffix(".sha256").unlink()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, lose_the_hash])
def test_a_damaged_one_is_named_and_the_older_one_serves(
    damage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1, 2)
    damage(tmp_path / "step-0000002.pt")
    assert loaded_step(tmp_path) == 1
    assert "step-0000002.pt cannot be read or is damaged" in caplog.text
    damage(tmp_path / "step-0000001.pt")
    assert loaded_step(tmp_path) is None


def test_one_of_other_settings_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(MsbatchError, match="another signature"):
        load_checkpoint(tmp_path, {**IDENTITY, "signature": "z"})


def test_a_superseded_writer_writes_nothing(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(MsbatchError, match="superseded"):
        save_checkpoint(tmp_path, 2, {"identity": IDENTITY, "step": 2}, superseded)
    assert loaded_step(tmp_path) == 1


def test_a_writer_superseded_meanwhile_removes_nothing(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MsbatchError, match="superseded"):
        remove_checkpoints(tmp_path, superseded)
    assert sorted(tmp_path.iterdir()) == before


def test_a_whole_one_is_never_replaced(tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = (tmp_path / "step-0000001.pt").stat().st_ino
    save(tmp_path, 1)
    assert (tmp_path / "step-0000001.pt").stat().st_ino == before
    truncate(tmp_path / "step-0000001.pt")
    save(tmp_path, 1)
    assert loaded_step(tmp_path) == 1


def test_damaged_later_ones_do_not_crowd_out_the_newest(tmp_path: Path) -> None:
    save(tmp_path, 30, 40)
    truncate(tmp_path / "step-0000030.pt")
    truncate(tmp_path / "step-0000040.pt")
    save(tmp_path, 10)
    assert loaded_step(tmp_path) == 10


def test_the_newest_step_is_known_by_name(tmp_path: Path) -> None:
    assert newest_step(tmp_path / "none") == 0
    save(tmp_path, 1, 20)
    assert newest_step(tmp_path) == 20
    lose_the_hash(tmp_path / "step-0000020.pt")
    assert newest_step(tmp_path) == 1


def test_a_checkpoint_that_would_run_code_is_not_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    save_checkpoint(tmp_path, 1, {"identity": Bomb()}, lambda: None)
    assert loaded_step(tmp_path) is None
    assert "step-0000001.pt cannot be read or is damaged" in caplog.text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"step": 1}, {"identity": 3}, {"identity": [1]}])
def test_one_that_belongs_to_nothing_is_passed_over(tmp_path: Path, content: dict[str, object]) -> None:
    save_checkpoint(tmp_path, 1, content, lambda: None)
    assert loaded_step(tmp_path) is None


def test_a_finished_task_leaves_none(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    remove_checkpoints(tmp_path, lambda: None)
    assert not list(tmp_path.iterdir())

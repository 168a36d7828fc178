"""Rows stacked from files against the arrays that were saved, and arrays in files without a name."""

from pathlib import Path

import numpy as np
import pytest

from msbatch.results.matrix import StackedRows, blocks, space


def save(folder: Path, *arrays: np.ndarray) -> list[Path]:
    paths = [folder / f"{number}.npy" for number in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    return paths


def draw(*cells: int, columns: int = 3) -> list[np.ndarray]:
    return [np.random.default_rng(n).normal(size=(n, columns)).astype(np.float32) for n in cells]


def test_rows_of_files_are_one_matrix(tmp_path: Path) -> None:
    parts = draw(4, 0, 1, 6)
    rows, whole = StackedRows(save(tmp_path, *parts)), np.concatenate(parts)
    assert rows.shape == whole.shape
    assert rows.ndim == 2
    np.testing.assert_array_equal(rows[2:9], whole[2:9])
    np.testing.assert_array_equal(rows[np.array([10, 0, 4, 4])], whole[[10, 0, 4, 4]])
    assert rows[0:2].dtype == np.float32


def test_a_part_of_them_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    parts = draw(4, 1, 6)
    paths, whole = save(tmp_path, *parts), np.concatenate(parts)
    rows = StackedRows(paths)
    mask = np.arange(11) % 2 == 0
    np.testing.assert_array_equal(rows.subset(mask)[0:9], whole[mask])
    np.testing.assert_array_equal(rows.subset(np.array([7, 2, 4])).subset(np.array([2, 0]))[0:2], whole[[4, 7]])
    some = rows.subset(np.arange(5))
    paths[2].unlink()
    np.testing.assert_array_equal(some[0:5], whole[:5])
    assert rows.shape == (11, 3)


def test_no_file_stays_open(tmp_path: Path) -> None:
    # One of these a patient would be more than a process may have.
    before = len([*Path("/proc/self/fd").iterdir()])
    rows = StackedRows(save(tmp_path, *draw(*[1] * 40)))
    assert rows[0:40].shape == (40, 3)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_blocks_are_all_rows_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("msbatch.results.matrix._BLOCK", 3 * 4)
    parts = draw(4, 1, 6)
    whole = np.concatenate(parts).astype(np.float64)
    for features in (whole, StackedRows(save(tmp_path, *parts))):
        found = list(blocks(features))
        assert [(rows.start, rows.stop) for rows, _ in found] == [(0, 4), (4, 8), (8, 11)]
        np.testing.assert_array_equal(np.concatenate([block for _, block in found]), whole)


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (np.zeros((2, 4), np.float32), "has 4 columns, where the first file has 3"),
        (np.zeros(3, np.float32), "is not a matrix of floats"),
        (np.zeros((2, 3), np.int64), "is not a matrix of floats"),
        (np.array([[None] * 3]), "is not a whole .npy file of numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, second: np.ndarray, problem: str) -> None:
    paths = [*save(tmp_path, draw(2)[0]), tmp_path / "other.npy"]
    np.save(paths[1], second)
    with pytest.raises(ValueError, match=rf"other\.npy {problem}"):
        StackedRows(paths)


@pytest.mark.parametrize("left", [0, 20, 140])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path: Path, left: int) -> None:
    (path,) = save(tmp_path, draw(2)[0])
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"0\.npy is not a whole \.npy file"):
        StackedRows([path])


def test_no_file_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no file"):
        StackedRows([])


def test_beyond_the_budget_an_array_is_in_a_file_that_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mapped = Path("/proc/self/maps")
    inside, outside = space((10, 3), 240), space((10, 3), 239)
    outside[:] = inside[:] = 7.0
    assert mapped.read_text().count(f"{tmp_path}/") == 1
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(outside, inside)
    del outside
    assert f"{tmp_path}/" not in mapped.read_text()


def test_a_disk_without_room_is_an_error_at_once() -> None:
    with pytest.raises(OSError, match=r"File too large|No space left"):
        space((10**13,), 0)

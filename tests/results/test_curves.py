"""Reading the curves of folds: what counts as whole, and what a mean over folds of different length is."""

import os
from pathlib import Path

import numpy as np
import pytest
from scalars import Points, rounds, train, write_scalars

from msbatch.layout import TaskDir
from msbatch.results.curves import Curve, CurvesError, band, read_curves
from msbatch.state import Attempt


def curve(points: Points) -> Curve:
    return Curve(np.array(list(points)), np.array(list(points.values())))


def test_scalars_are_read_by_tag_with_their_steps_and_the_time_of_the_last(tmp_path: Path) -> None:
    task = TaskDir(tmp_path)
    train(task, {"train/loss": rounds(8, [0.75, 0.5, 0.25]), "validation/loss": rounds(8, [0.5, 0.25, 0.5])})
    found = read_curves(task)
    assert found.curves["train/loss"].steps.tolist() == [8, 16, 24]
    assert found.curves["validation/loss"].values.tolist() == [0.5, 0.25, 0.5]
    assert found.ended == 1e9 + 24


def test_steps_that_a_later_attempt_took_again_count_once(tmp_path: Path) -> None:
    task = TaskDir(tmp_path)
    train(task, {"train/loss": rounds(8, [1, 2, 3, 4])})
    (first,) = task.tensorboard.iterdir()
    first.rename(first.with_name("events.out.tfevents.0000000001.node1.7.0"))
    write_scalars(task.tensorboard, {"train/loss": {24: 7, 32: 8}}, purge_step=17)
    assert read_curves(task).curves["train/loss"].values.tolist() == [1, 2, 7, 8]


def test_a_record_that_a_killed_writer_cut_off_is_no_damage_once_a_later_attempt_took_its_steps(tmp_path: Path) -> None:
    task = TaskDir(tmp_path)
    train(task, {"train/loss": rounds(8, [1, 2, 3])})
    (first,) = task.tensorboard.iterdir()
    first.write_bytes(first.read_bytes()[:-5])
    with pytest.raises(CurvesError, match="every round up to step 24"):
        read_curves(task)
    first.rename(first.with_name("events.out.tfevents.0000000001.node1.7.0"))
    write_scalars(task.tensorboard, {"train/loss": {24: 9}}, purge_step=17)
    assert read_curves(task).curves["train/loss"].values.tolist() == [1, 2, 9]


def flip_a_bit(task: TaskDir) -> None:
    (path,) = task.tensorboard.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_the_folder(task: TaskDir) -> None:
    task.tensorboard.rename(task.root / "elsewhere")


def write_nonsense(task: TaskDir) -> None:
    (path,) = task.tensorboard.iterdir()
    path.write_bytes(os.urandom(300))


def put_a_folder_there(task: TaskDir) -> None:
    (path,) = task.tensorboard.iterdir()
    path.unlink()
    path.mkdir()


def reach_further(task: TaskDir) -> None:
    Attempt.claim(task).write(step=48)


def lose_the_first_attempt(task: TaskDir) -> None:
    (path,) = task.tensorboard.iterdir()
    path.unlink()
    write_scalars(task.tensorboard, {"train/loss": {24: 3, 32: 2, 40: 1}}, purge_step=17)


@pytest.mark.parametrize(
    "spoil",
    [flip_a_bit, lose_the_folder, write_nonsense, put_a_folder_there, reach_further, lose_the_first_attempt],
)
def test_missing_and_damaged_files_are_refused(tmp_path: Path, spoil) -> None:
    task = TaskDir(tmp_path)
    train(task, {"train/loss": rounds(8, [5, 4, 3, 2, 1])})
    spoil(task)
    with pytest.raises(CurvesError, match="event files"):
        read_curves(task)


def test_a_last_round_may_be_shorter(tmp_path: Path) -> None:
    train(TaskDir(tmp_path), {"train/loss": {8: 3, 16: 2, 20: 1}})
    assert read_curves(TaskDir(tmp_path)).curves["train/loss"].steps.tolist() == [8, 16, 20]


def test_a_fold_that_stopped_counts_up_to_its_last_round_and_no_further() -> None:
    both = band([curve({10: 1, 20: 2, 30: 3, 40: 4}), curve({10: 3, 20: 6})])
    assert both.steps.tolist() == [10, 20, 30, 40]
    assert both.mean.tolist() == [2, 4, 3, 4]
    assert both.lowest.tolist() == [1, 2, 3, 4]
    assert both.highest.tolist() == [3, 6, 3, 4]
    assert both.folds.tolist() == [2, 2, 1, 1]


def test_folds_with_rounds_of_different_length_share_an_axis_that_begins_where_all_have_begun() -> None:
    both = band([curve({10: 1, 20: 2, 30: 3}), curve({12: 12, 24: 24, 30: 30})])
    assert both.steps.tolist() == [12, 20, 24, 30]
    assert both.mean == pytest.approx([(1.2 + 12) / 2, (2 + 20) / 2, (2.4 + 24) / 2, (3 + 30) / 2])
    assert both.folds.tolist() == [2, 2, 2, 2]


def test_the_mean_does_not_depend_on_the_order_of_folds() -> None:
    folds = [curve({10: 1, 20: 2, 30: 3}), curve({12: 12, 24: 24}), curve({7: 1, 14: 0})]
    one, other = band(folds), band(folds[::-1])
    assert np.allclose(one.mean, other.mean)
    assert one.folds.tolist() == other.folds.tolist()

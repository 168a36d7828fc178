"""Where things of a run lie, and how a run is found."""

import os
from pathlib import Path

import pytest

from msbatch.errors import MsbatchError
from msbatch.layout import JobDir, LaunchFiles, RunDir, data_dir, find_run, list_runs


def add_run(runs: Path, name: str, when_s: int) -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    os.utime(folder / "plan.json", (when_s, when_s))
    return folder


def test_everything_of_a_task_lies_in_its_folder(tmp_path: Path) -> None:
    task = RunDir(tmp_path).task("resnet50", 3)
    assert task.root == tmp_path / "tasks" / "resnet50" / "fold-03"
    parts = [task.state, task.attempts, task.checkpoints, task.tensorboard, task.predictions, task.manifest, task.log]
    assert all(part.parent == task.root for part in parts)
    assert len(set(parts)) == len(parts)


def test_everything_of_a_run_lies_in_its_folder(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    parts = [run.plan, run.settings, run.environment, run.submissions, run.code, run.jobs, run.tasks, run.results]
    parts += [run.submit_lock, run.local_lock, run.reduce_lock]
    assert all(part.parent == tmp_path for part in parts)
    assert len(set(parts)) == len(parts)


def test_the_files_of_a_start_are_those_that_the_launcher_writes(tmp_path: Path) -> None:
    files = JobDir(tmp_path / "by-hand").launch("12_5", 1)
    assert (files.number, files.submission) == ("12_5", "by-hand")
    launcher = (data_dir("jobs") / "launch.sh").read_text()
    assert "launches/$job.${SLURM_RESTART_COUNT:-0}" in launcher
    for path in (files.start, files.stop, files.end, files.beat):
        assert path.parent == tmp_path / "by-hand" / "launches"
        assert f"$LAUNCH{path.suffix}" in launcher
    assert files == LaunchFiles(tmp_path / "by-hand" / "launches" / "12_5.1")


def test_a_run_was_on_a_cluster_once_anything_was_made_ready_for_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert not run.on_cluster
    run.by_hand.root.mkdir(parents=True)
    assert not run.on_cluster
    run.by_hand.conf.touch()
    assert run.on_cluster


@pytest.mark.parametrize("backbone", ["hf-hub:someone/network", "a/b/c", "../../escape"])
def test_a_backbone_is_one_folder_whatever_its_name(tmp_path: Path, backbone: str) -> None:
    run = RunDir(tmp_path)
    assert run.task(backbone, 0).root.parent.parent == run.tasks


def test_folds_beyond_99_have_folders_of_their_own(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert len({run.task("resnet50", fold).root for fold in range(1200)}) == 1200


def test_the_newest_run_is_found_and_a_named_one_is_preferred(tmp_path: Path) -> None:
    old = add_run(tmp_path, "2026-01-02-aaaaaaaa", 200)
    new = add_run(tmp_path, "2026-01-01-bbbbbbbb", 300)
    (tmp_path / "no-run").mkdir()
    assert [run.root for run in list_runs(tmp_path)] == [old, new]
    assert find_run(None, tmp_path).root == new
    assert find_run(old, tmp_path).root == old


def test_a_run_that_is_not_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match="There is no run under"):
        find_run(None, tmp_path / "runs")
    with pytest.raises(MsbatchError, match=r"is not a run: it has no plan\.json") as refusal:
        find_run(tmp_path, tmp_path)
    assert refusal.value.hint


def test_a_run_that_lost_its_plan_is_told_from_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run" / "tasks").mkdir(parents=True)
    with pytest.raises(MsbatchError, match=r"plan\.json is gone") as refusal:
        find_run(tmp_path / "run", tmp_path)
    assert "backup" in refusal.value.hint


def test_job_scripts_ship_with_the_package() -> None:
    assert (data_dir("jobs") / "fold.py").is_file()

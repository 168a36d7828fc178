"""A whole study on the real cluster, in the container: its tables, its privacy, and chosen folds once more."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sightings import seen_in_files
from slurm_cluster import USER, Cluster
from studies import CANARY, files, make_study, newest_run, status, submit, tables, told_to_others, wait_until_idle

from msbatch.layout import RunDir

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

TWO = ("--backbones", "test_vit,test_convnext")


@dataclass(frozen=True)
class Finished:
    """A study that ran undisturbed in the container, and what others could see of it meanwhile."""

    folder: Path
    run: RunDir
    seen: str


@pytest.fixture(scope="module")
def finished(cluster: Cluster) -> Finished:
    """Run 2 backbones on 6 folds, 2 processes each, by the README's command."""
    folder = cluster.new_folder("finished")
    make_study(cluster, folder)
    said = submit(cluster, folder, *TWO).stdout
    assert "Submitted 12 tasks" in said
    seen = [said]

    def ended() -> bool:
        seen.append(_what_others_see(cluster))
        return not cluster.run("squeue", "--noheader", "--user", USER).stdout.strip()

    cluster.wait(ended, 900)
    return Finished(folder, newest_run(folder), "\n".join(seen[1:]))


def _what_others_see(cluster: Cluster) -> str:
    queue = cluster.run("squeue", "--format=%all").stdout + cluster.run("scontrol", "show", "job", "--details").stdout
    processes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            processes += [(entry / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
        except OSError:  # it ended
            continue
    return queue + "\n".join(processes)


def test_every_task_runs_once_and_the_reducer_last(cluster: Cluster, finished: Finished) -> None:
    found = status(cluster, finished.folder)
    assert [(task["phase"], task["attempt"]) for task in found["tasks"]] == [("done", 1)] * 12
    jobs = cluster.run(
        "sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", "--name", _names(finished)
    )
    states = dict(line.split("|") for line in jobs.stdout.splitlines())
    assert set(states.values()) == {"COMPLETED"}
    assert len(states) == 13


def _names(finished: Finished) -> str:
    texts = [path.read_text() for path in finished.run.jobs.glob("*/*_submission.sh")]
    return ",".join(
        line.partition("job-name=")[2] for text in texts for line in text.splitlines() if "job-name" in line
    )


def test_the_tables_are_those_of_one_machine_byte_for_byte(cluster: Cluster, finished: Finished) -> None:
    folder = cluster.new_folder("local")
    for name in ("cohort.h5", "msbatch.toml"):
        cluster.run("cp", finished.folder / name, folder)
    cluster.run("msbatch", "submit", *TWO, "--local", cwd=folder, timeout=1200)
    found = tables(finished.run)
    assert set(found) >= {"folds.csv", "cells.csv", "patients.csv"}
    assert found == tables(newest_run(folder))


def test_no_patient_is_named_where_others_look(finished: Finished) -> None:
    assert "launch.sh" in finished.seen, "the tasks were seen"
    assert "msb-" in finished.seen
    assert CANARY not in finished.seen


def test_patients_are_named_only_in_plan_predictions_and_results_which_only_the_owner_reads(finished: Finished) -> None:
    assert CANARY in finished.run.plan.read_text(), "this is what the test is about"
    assert told_to_others(finished.run) == []


def test_under_a_key_no_patient_is_named_anywhere(cluster: Cluster, folder: Path) -> None:
    make_study(cluster, folder)
    cluster.run("msbatch", "key", "new", "key", cwd=folder)
    pack = ("msbatch", "pack", "images", "--table", "cohort.csv", "-o", "cohort.h5", "--size", "48", "--overwrite")
    cluster.run(*pack, "--pseudonymise", "key", cwd=folder)
    said = submit(cluster, folder, "--backbones", "test_vit", "--folds", "0,1").stdout
    assert "Submitted 2 tasks" in said
    seen = [said]

    def ended() -> bool:
        seen.append(_what_others_see(cluster))
        return not cluster.run("squeue", "--noheader", "--user", USER).stdout.strip()

    cluster.wait(ended, 600)
    run, key = newest_run(folder), (folder / "key").read_text().strip()
    assert (run.results / "folds.csv").is_file()
    assert "launch.sh" in "\n".join(seen), "the tasks were seen"
    assert [text for text in seen if CANARY in text or key in text] == []
    assert seen_in_files(run.root, CANARY.encode(), key.encode()) == set()
    assert CANARY.encode() not in (folder / "cohort.h5").read_bytes()
    assert told_to_others(run) == []


def test_the_image_and_the_code_are_on_record(cluster: Cluster, finished: Finished) -> None:
    ledger = finished.run.submissions.read_text()
    digest = cluster.run("sha256sum", cluster.image).stdout.split()[0]
    assert f'"image_sha256": "{digest}"' in ledger
    (code,) = finished.run.code.iterdir()
    assert code.name in ledger


def test_the_same_command_again_finds_nothing_to_do(cluster: Cluster, finished: Finished) -> None:
    said = submit(cluster, finished.folder, *TWO).stdout
    assert "Nothing to submit" in said
    assert finished.run.root.name in said


def test_chosen_folds_once_more_are_two_tasks_and_change_no_other(cluster: Cluster, finished: Finished) -> None:
    chosen = [finished.run.task("test_vit", fold).root for fold in (2, 5)]
    others = [path for path in finished.run.tasks.glob("*/*") if path not in chosen]
    before, old = files(others), tables(finished.run)
    said = cluster.run(
        "msbatch", "rerun", finished.run.root, "--folds", "2,5", "--backbones", "test_vit", "--yes", cwd=finished.folder
    )
    assert "Submitted 2 tasks" in said.stdout
    wait_until_idle(cluster)
    assert files(others) == before
    assert tables(finished.run) == old
    assert [task["attempt"] for task in status(cluster, finished.folder)["tasks"]] == [1, 1, 2, 1, 1, 2] + [1] * 6


def test_two_nodes_and_the_plain_image_give_the_same_predictions(
    cluster: Cluster, finished: Finished, folder: Path
) -> None:
    _copy_study(cluster, finished, folder)
    submit(cluster, folder, "--backbones", "test_vit", "--folds", "1", "--nodes", "2", "--runtime", "sif")
    wait_until_idle(cluster)
    assert _predictions(newest_run(folder), 1) == _predictions(finished.run, 1)


def test_the_array_can_be_submitted_by_hand(cluster: Cluster, finished: Finished, folder: Path) -> None:
    _copy_study(cluster, finished, folder)
    said = cluster.run("msbatch", "submit", "--backbones", "test_vit", "--prepare", cwd=folder).stdout
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("sbatch ")]
    chosen = line.replace("--array=0-5%4", "--array=1,4")
    assert chosen != line
    cluster.run("bash", "-c", chosen, cwd=folder)
    wait_until_idle(cluster)
    assert [task["index"] for task in status(cluster, folder)["tasks"] if task["phase"] == "done"] == [1, 4]
    assert _predictions(newest_run(folder), 4) == _predictions(finished.run, 4)
    said = cluster.run("msbatch", "logs", "--fold", "4", cwd=folder).stdout
    assert "step 6/24" in said
    assert "the task ended with 0" in said
    assert told_to_others(newest_run(folder)) == []


def test_a_study_can_be_submitted_from_inside_a_job(cluster: Cluster, finished: Finished, folder: Path) -> None:
    _copy_study(cluster, finished, folder)
    inside = "msbatch submit --backbones test_vit --folds 3 --yes"
    cluster.run("sbatch", "--wait", "--array=0-1%1", "--mem=1G", f"--wrap={inside}", cwd=folder)
    wait_until_idle(cluster)
    assert [task["index"] for task in status(cluster, folder)["tasks"] if task["phase"] == "done"] == [3]
    assert _predictions(newest_run(folder), 3) == _predictions(finished.run, 3)


@pytest.mark.parametrize(
    ("option", "said"),
    [("--partition", "partition"), ("--account", "account"), ("--qos", "qos"), ("--constraint", "feature")],
)
def test_what_the_site_does_not_have_is_refused_in_its_words_with_the_key(
    cluster: Cluster, finished: Finished, folder: Path, option: str, said: str
) -> None:
    _copy_study(cluster, finished, folder)
    done = submit(cluster, folder, "--backbones", "test_vit", option, "nothing", check=False)
    assert done.returncode == 1
    assert said in done.stderr.casefold()
    assert option in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not list(newest_run(folder).jobs.iterdir())


def test_a_task_that_sees_no_gpu_stops_at_once_and_status_says_why_without_accounting(
    cluster: Cluster, finished: Finished, folder: Path, variant: Callable[..., None]
) -> None:
    variant("--no-accounting")
    _copy_study(cluster, finished, folder)
    options = ("--device", "cuda", "--processes", "1", "--threads", "1", "--folds", "0")
    submit(cluster, folder, "--backbones", "test_vit", *options)
    wait_until_idle(cluster)
    task = status(cluster, folder)["tasks"][0]
    assert task["phase"] == "failed"
    assert "The plan asks for 1 GPU(s), this machine shows 0" in task["reason"]
    assert (newest_run(folder).results / "missing.csv").is_file()


def test_arrays_are_split_where_slurm_says_and_cancel_ends_them(
    cluster: Cluster, finished: Finished, folder: Path, variant: Callable[..., None]
) -> None:
    variant("--max-array-size", "8")
    _copy_study(cluster, finished, folder)
    said = submit(cluster, folder, *TWO, "--extra", "--hold").stdout
    assert "Submitted 8 tasks" in said
    assert "Submitted 4 tasks" in said
    reducer = cluster.run("squeue", "--noheader", "--format=%E", "--user", USER).stdout
    assert reducer.count("afterany") == 2
    assert "queued" in {task["phase"] for task in status(cluster, folder)["tasks"]}
    cluster.run("msbatch", "cancel", "--yes", cwd=folder)
    wait_until_idle(cluster, 60)


def test_a_probe_is_an_array_too_and_its_tables_are_those_of_one_machine(cluster: Cluster, folder: Path) -> None:
    make_study(cluster, folder)
    assert "Submitted 6 tasks" in submit(cluster, folder, "--probe", "--backbones", "test_vit").stdout
    alone = cluster.new_folder("probe_alone")
    for name in ("cohort.h5", "msbatch.toml"):
        cluster.run("cp", folder / name, alone)
    cluster.run("msbatch", "probe", "--backbones", "test_vit", cwd=alone, timeout=600)
    wait_until_idle(cluster)
    run = newest_run(folder)
    assert {task["phase"] for task in status(cluster, folder)["tasks"]} == {"done"}
    assert told_to_others(run) == []
    assert b"test_vit.frozen" in tables(run)["patients.csv"]
    assert tables(run) == tables(newest_run(alone))


def _copy_study(cluster: Cluster, finished: Finished, folder: Path) -> None:
    for name in ("cohort.h5", "msbatch.toml"):
        cluster.run("cp", finished.folder / name, folder)


def _predictions(run: RunDir, fold: int) -> bytes:
    return run.task("test_vit", fold).predictions.read_bytes()

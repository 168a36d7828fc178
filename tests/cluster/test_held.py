"""What Slurm holds of a run, whoever submitted it."""

import subprocess
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from traces import submitted

from msbatch.cluster.held import Held, by_hand_name, held
from msbatch.cluster.ledger import record
from msbatch.cluster.slurm import SlurmError
from msbatch.files import make_dir
from msbatch.layout import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def test_what_the_ledger_says_is_told_from_other_jobs(run: RunDir, slurm: FakeSlurm) -> None:
    submitted(run, [4, 6], "12")
    submitted(run, [5], "9")
    submitted(run, [], "13", "reduce")
    mine = ("12_0|RUNNING|None|9:00|v1", "12_1|REQUEUED|None|9:00|", "13|PENDING|Dependency|9:00|")
    slurm.holds(*mine, "9|PENDING|Priority|9:00|", "55_0|RUNNING|None|9:00|v1", "120|RUNNING|None|9:00|v1")
    found = held(run)
    assert found.tasks == {4: "12_0", 6: "12_1", 5: "9"}
    assert (found.arrays, found.jobs) == (["9", "12"], ["13", "9", "12"])
    assert (found.running, found.queued, found.reducers) == (1, 2, {"13"})


def test_another_job_that_was_given_the_number_of_one_of_ours_is_not_ours(run: RunDir, slurm: FakeSlurm) -> None:
    submitted(run, [4, 6], "12")
    submitted(run, [], "13", "reduce")
    make_dir(run.by_hand.launches)
    run.by_hand.launch("77_3", 0).start.touch()
    slurm.holds("12_1|RUNNING|None|9:00|v1|other", "13|RUNNING|None|9:00|v1|other", "77_3|RUNNING|None|9:00|v1|other")
    assert held(run) == Held()


def test_nothing_is_held_of_a_run_that_ended(run: RunDir, slurm: FakeSlurm) -> None:
    assert held(run) == Held()
    submitted(run, [4], "12")
    slurm.holds("55_0|RUNNING|None|9:00|v1")
    assert held(run) == Held()


def test_a_submission_that_was_broken_off_is_found_by_its_name(run: RunDir, slurm: FakeSlurm) -> None:
    make_dir(run.root)
    record(run, "submitting", name="msb-lost", kind="fold", folder="jobs/lost", tasks=[3, 2])
    slurm.names("msb-lost", "76")
    assert held(run) == Held()
    slurm.holds("76_1|PENDING|Resources|9:00|")
    slurm.names("msb-lost", "76")
    assert held(run).tasks == {2: "76_1"}


@pytest.mark.usefixtures("slurm")
def test_an_array_by_hand_is_known_by_its_name_before_it_starts(run: RunDir, tmp_path: Path) -> None:
    make_dir(run.by_hand.root)
    run.by_hand.conf.touch()
    script = tmp_path / "by-hand.sbatch"
    for name in (by_hand_name(run), by_hand_name(RunDir(tmp_path / "another"))):
        script.write_text(f"#SBATCH --job-name={name}\n#SBATCH --array=0-1\n")
        subprocess.run(["sbatch", script], check=True)
    assert held(run).tasks == {0: "100_0", 1: "100_1"}
    assert held(run).jobs == ["100"]


def test_an_array_by_hand_is_known_by_its_first_element(run: RunDir, slurm: FakeSlurm) -> None:
    make_dir(run.by_hand.launches)
    run.by_hand.launch("77_3", 0).start.touch()
    by_hand = ("77_3|RUNNING|None|9:00|v1|msbatch", "77_11|PENDING|Resources|9:00||msbatch")
    slurm.holds(*by_hand, "78_4|PENDING|Resources|9:00||msbatch")
    assert held(run).tasks == {3: "77_3", 11: "77_11"}


def test_without_an_answer_nothing_is_said(run: RunDir, slurm: FakeSlurm) -> None:
    slurm.refuses("squeue", "squeue: error: Unable to contact slurm controller")
    with pytest.raises(SlurmError, match="does not answer"):
        held(run)

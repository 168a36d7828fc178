"""The ledger: what was submitted is known after any interruption."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbatch.cluster.ledger import Submission, aside, live, newest, read_ledger, record
from msbatch.layout import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def submitting(run: RunDir, name: str, *tasks: int) -> None:
    record(run, "submitting", name=name, kind="fold", folder=f"jobs/{name}", tasks=list(tasks))


def test_a_submission_goes_through_its_stages(run: RunDir) -> None:
    submitting(run, "a", 3, 5)
    assert [entry.open for entry in read_ledger(run)] == [True]
    record(run, "submitted", name="a", job="12")
    (entry,) = read_ledger(run)
    assert (entry.open, entry.job, entry.folder) == (False, "12", run.root / "jobs" / "a")
    assert entry.elements == {"12_0": 3, "12_1": 5}
    submitting(run, "b", 3)
    record(run, "refused", name="b", reason="no such partition")
    assert read_ledger(run)[1].refused == "no such partition"
    assert not read_ledger(run)[1].open


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "../../home"},
        {"folder": "/"},
        {"folder": "jobs/.."},
        {"folder": "jobs/a/../../.."},
        {"folder": 3},
        {"name": ["a"]},
        {"kind": "other"},
        {"tasks": 3},
        {"tasks": ["x"]},
        {"tasks": [-1]},
        {"event": {}},
    ],
)
def test_a_submission_that_msbatch_cannot_have_written_is_passed_over(run: RunDir, change: dict[str, object]) -> None:
    fields = {"event": "submitting", "name": "a", "kind": "fold", "folder": "jobs/a", "tasks": [0], **change}
    run.submissions.write_text(json.dumps(fields) + "\n")
    assert read_ledger(run) == []
    assert aside(run) == {}


@pytest.mark.parametrize("place", [3, [0], [0, "../.."], ["x", "0001"], [0, 1], [0, "a/b"], [0, ""]])
def test_a_place_that_msbatch_cannot_have_written_is_passed_over(run: RunDir, place: object) -> None:
    record(run, "aside", places=[place, [4, "0002"]])
    assert aside(run) == {4: "0002"}


@pytest.mark.parametrize("line", [b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b"3", b'"submitting"', b"null"])
def test_a_line_that_is_no_event_is_passed_over(run: RunDir, line: bytes) -> None:
    run.submissions.write_bytes(line + b"\n")
    submitting(run, "a", 1)
    assert [entry.name for entry in read_ledger(run)] == ["a"]


def test_a_task_alone_is_no_element_of_an_array(run: RunDir) -> None:
    submitting(run, "a", 7)
    record(run, "submitted", name="a", job="12")
    assert read_ledger(run)[0].element(7) == "12"


def test_the_newest_submission_that_slurm_took_counts(run: RunDir) -> None:
    for name, job in (("a", "1"), ("b", "2")):
        submitting(run, name, 0, 1)
        record(run, "submitted", name=name, job=job)
    submitting(run, "c", 0, 1)
    found = newest(read_ledger(run), 1)
    assert found is not None
    assert found.job == "2"
    assert newest(read_ledger(run), 9) is None


@given(cut=st.integers(min_value=1, max_value=60))
def test_a_line_that_was_cut_off_leaves_the_submission_open(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    run = RunDir(tmp_path_factory.mktemp("run"))
    submitting(run, "a", 0)
    record(run, "submitted", name="a", job="1")
    run.submissions.write_bytes(run.submissions.read_bytes()[:-cut])
    submitting(run, "b", 1)
    record(run, "submitted", name="b", job="2")
    by_name = {entry.name: entry for entry in read_ledger(run)}
    assert by_name["a"].open == (cut > 1)
    assert by_name["b"].job == "2"


def test_live_tasks_are_those_that_slurm_holds() -> None:
    array = Submission("a", "fold", Path("a"), (4, 5, 6), job="10")
    alone = Submission("b", "fold", Path("b"), (7,), job="11")
    unknown = Submission("c", "fold", Path("c"), (8,))
    assert live([array, alone, unknown], {"10_1", "11", "12_0"}) == {5: "10_1", 7: "11"}


def test_only_the_owner_can_read_it(run: RunDir) -> None:
    submitting(run, "a", 0)
    assert run.submissions.stat().st_mode & 0o077 == 0


def test_a_number_that_slurm_gives_again_is_the_later_jobs(run: RunDir) -> None:
    for name, tasks in (("lost by a crash", (0, 1)), ("again", (1, 4))):
        submitting(run, name, *tasks)
        record(run, "submitted", name=name, job="20")
    first, second = read_ledger(run)
    assert (first.job, first.open, first.elements) == (None, False, {})
    assert second.elements == {"20_0": 1, "20_1": 4}
    assert live([first, second], {"20_0"}) == {1: "20_0"}

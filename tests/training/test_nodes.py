"""Several nodes share one task: here two launches on one machine, each of which holds itself for a node."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from tasks import Process, end, files, finish, folder, ranks_of, scalars, start, wait_for_a_round

from msbatch.config import ComputeSettings
from msbatch.errors import MsbatchError
from msbatch.layout import RunDir
from msbatch.plan import load_plan, save_plan
from msbatch.state import read_attempts, read_state
from msbatch.training.nodes import find_meeting, this_node

TWO = {"processes": 2, "nodes": 2}
LONG = {"batch_size": 2, "steps": 100_000, "patience": 100_000}


def start_nodes(run: RunDir, launch: Path) -> tuple[Process, Process]:
    # The second node comes first: it has to wait for the first one.
    second, first = (start(run, MSBATCH_LAUNCH=launch, MSBATCH_NODES=2, MSBATCH_NODE_RANK=rank) for rank in (1, 0))
    return first, second


def test_two_nodes_predict_as_two_processes_of_one_node(make_run: Any, tmp_path: Path) -> None:
    one, two = make_run("one", compute={"processes": 2}), make_run("two", compute=TWO)
    finish(one)
    ends = [end(process) for process in start_nodes(two, tmp_path / "9.0")]
    assert [code for code, _ in ends] == [0, 0], ends
    assert folder(two).predictions.read_bytes() == folder(one).predictions.read_bytes()
    assert scalars(two) == scalars(one)
    assert [record.number for record in read_attempts(folder(two))] == [1]
    assert json.loads((tmp_path / "9.0.join").read_text())["attempt"] == 1
    assert not list(two.root.rglob("*.tmp.*"))


def test_nodes_stop_together(make_run: Any, tmp_path: Path) -> None:
    run = make_run("run", compute=TWO, **LONG)
    nodes = start_nodes(run, tmp_path / "9.0")
    wait_for_a_round(run, nodes[0])
    (tmp_path / "9.0.stop").write_text("preempted\n")
    assert [end(node)[0] for node in nodes] == [75, 75]
    assert read_state(folder(run)).reason.endswith("of 100000: preempted")
    assert not (tmp_path / "9.0.cause").exists()


def test_the_first_node_says_that_another_was_lost(make_run: Any, tmp_path: Path) -> None:
    run = make_run("run", compute=TWO, **LONG)
    first, second = start_nodes(run, tmp_path / "9.0")
    wait_for_a_round(run, first)
    os.killpg(second.pid, signal.SIGKILL)
    code, output = end(first)
    end(second)
    assert code == 1
    assert read_state(folder(run)).phase == "failed"
    assert read_state(folder(run)).reason.startswith("another process of the task, or its node, was lost"), output


def test_the_first_node_passes_on_what_another_says_of_its_end(make_run: Any, tmp_path: Path) -> None:
    run = make_run("run", compute=TWO, **LONG)
    first, second = start_nodes(run, tmp_path / "9.0")
    wait_for_a_round(run, first)
    os.kill(ranks_of(second)[0], signal.SIGKILL)
    assert [end(node)[0] for node in (first, second)] == [1, 1]
    said = f"process 1 was killed (SIGKILL), probably out of memory (on {socket.gethostname()})"
    assert (tmp_path / "9.0.cause").read_text() == f"{said}\n"
    assert read_state(folder(run)).reason.splitlines()[0] == said


def test_a_node_that_cannot_begin_says_so_to_the_launcher(make_run: Any, tmp_path: Path) -> None:
    run, broken = make_run("run", compute=TWO), make_run("broken", compute=TWO)
    plan = load_plan(run.plan)
    store = plan.store.model_copy(update={"path": "/nowhere/cohort.h5"})
    save_plan(broken.plan, plan.model_copy(update={"store": store}))
    start(run, MSBATCH_LAUNCH=tmp_path / "9.0", MSBATCH_NODES=2, MSBATCH_NODE_RANK=0)  # and srun would kill this one
    assert end(start(broken, MSBATCH_LAUNCH=tmp_path / "9.0", MSBATCH_NODES=2, MSBATCH_NODE_RANK=1))[0] == 1
    assert (tmp_path / "9.0.cause").read_text().startswith("/nowhere/cohort.h5 does not exist. (on ")


def test_another_node_ends_with_the_first_and_writes_nothing(make_run: Any, tmp_path: Path) -> None:
    run = make_run("run", compute=TWO, **LONG)
    first, second = start_nodes(run, tmp_path / "9.0")
    wait_for_a_round(run, first)
    os.killpg(first.pid, signal.SIGKILL)
    end(first)
    before = files(run)
    code, output = end(second)
    assert code == 1
    assert "another process of the task, or its node, was lost" in output
    assert files(run) == before
    assert not (tmp_path / "9.0.cause").exists()
    assert read_state(folder(run)).phase == "running"


def test_a_node_waits_for_the_first_one_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSBATCH_LAUNCH", str(tmp_path / "9.0"))
    with pytest.raises(MsbatchError, match=r"named no port in .*9\.0\.join within 0\.5 s"):
        find_meeting(0.5)
    monkeypatch.delenv("MSBATCH_LAUNCH")
    with pytest.raises(MsbatchError, match="MSBATCH_LAUNCH is not set"):
        find_meeting(0.5)


def test_processes_are_spread_evenly_over_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSBATCH_NODES", "2")
    monkeypatch.setenv("MSBATCH_NODE_RANK", "1")
    node = this_node(ComputeSettings(processes=4))
    assert (node.rank, node.count, node.processes) == (1, 2, 2)
    with pytest.raises(MsbatchError, match="3 processes cannot be spread evenly over 2 nodes"):
        this_node(ComputeSettings(processes=3))

"""What bounds a task, and how fast it is."""

import gzip
import json
import re
from typing import Any

import pytest
from tasks import PACE, finish, folder, scalars
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from msbatch.state import read_state


@pytest.mark.parametrize("processes", [1, 2])
def test_a_profiled_task_says_what_bounds_it_and_leaves_a_trace(processes: int, make_run: Any) -> None:
    plain = make_run("plain", compute={"processes": processes})
    run = make_run("run", compute={"profile": True, "processes": processes})
    finish(plain)
    output = finish(run)
    said = re.search(
        r"bound by (input|communication|compute): input (\d+)%, communication (\d+)%, compute (\d+)% of", output
    )
    assert said is not None
    shares = dict(zip(("input", "communication", "compute"), map(int, said.groups()[1:]), strict=True))
    assert shares[said[1]] == max(shares.values())
    assert (shares["communication"] > 0) == (processes > 1)
    with gzip.open(folder(run).trace, "rt") as trace:
        assert any("addmm" in event.get("name", "") for event in json.load(trace)["traceEvents"])
    assert folder(plain).predictions.read_bytes() == folder(run).predictions.read_bytes()


def test_a_task_tells_its_pace(make_run: Any) -> None:
    run = make_run("run")
    finish(run)
    events = EventAccumulator(str(folder(run).tensorboard))
    events.Reload()
    for name in PACE:
        assert [event.step for event in events.Scalars(name)] == [step for step, _ in scalars(run)["train/loss"]]
        assert all(event.value > 0 for event in events.Scalars(name))
    state = read_state(folder(run))
    assert state.images_per_second == pytest.approx(events.Scalars("train/images_per_second")[-1].value)
    assert state.input_wait is not None
    assert 0 < state.input_wait < 1

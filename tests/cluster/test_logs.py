"""Where the logs of a task lie."""

from pathlib import Path

from runs import make_run

from msbatch.cluster.logs import log_files
from msbatch.plan import load_plan
from msbatch.state import Attempt


def test_the_logs_of_an_array_by_hand_are_found_by_its_attempts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {f"P{number}": [number % 2] * 3 for number in range(6)}, {"a": {}})
    task = load_plan(run.plan).tasks[2]
    folder = run.task("a", 2)
    assert log_files(run, task) == [folder.log]
    Attempt.claim(folder, str(run.by_hand.launch("77_2", 0).prefix))
    assert log_files(run, task) == [
        folder.log,
        run.by_hand.root / "77_2_0_log.out",
        run.by_hand.root / "77_2_0_log.err",
    ]

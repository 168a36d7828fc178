"""Tasks run as a launcher runs them, and what they leave behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from msbatch.layout import RunDir, TaskDir
from msbatch.plan import load_plan
from msbatch.state import read_state

SCRIPT = Path(__file__).resolve().parents[2] / "jobs" / "fold.py"
PATIENCE_S = 250

PACE = ("train/images_per_second", "train/input_wait", "train/memory_gb")

Process = subprocess.Popen[str]

started: list[Process] = []


def folder(run: RunDir, index: int = 0) -> TaskDir:
    task = load_plan(run.plan).tasks[index]
    return run.task(task.arm, task.fold)


def start(run: RunDir, **variables: object) -> Process:
    """Start a task in a session of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in variables.items()}}
    command = [sys.executable, str(SCRIPT), str(run.root), "--task", "0"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    started.append(process)
    return process


def stop_all() -> None:
    """End whatever a failed test left running."""
    while started:
        with started.pop() as process, suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def end(process: Process) -> tuple[int, str]:
    """Wait for a task and give its exit code and output."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output


def finish(run: RunDir, **variables: object) -> str:
    code, output = end(start(run, **variables))
    assert code == 0, output
    return output


def wait_until(seen: Callable[[], bool], process: Process) -> None:
    """Wait for something that a task does."""
    deadline = time.monotonic() + PATIENCE_S
    while not seen():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_a_round(run: RunDir, process: Process) -> None:
    """Wait until a task has finished one more round of steps."""
    before = read_state(folder(run)).step
    wait_until(lambda: read_state(folder(run)).step > before, process)


def ranks_of(process: Process) -> list[int]:
    """List the processes that a task started, the first one first."""
    return children(process.pid, b"spawn_main")


def children(parent: int, word: bytes) -> list[int]:
    """List the children of a process whose command line holds a word, the oldest first."""
    found = []
    with suppress(OSError):  # it has ended
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with suppress(OSError):
                if word in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def scalars(run: RunDir) -> dict[str, list[tuple[int, float]]]:
    """Read what TensorBoard would show of a task, but for its pace."""
    events = EventAccumulator(str(folder(run).tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag not in PACE]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def files(run: RunDir) -> dict[Path, tuple[int, bytes]]:
    """Read every file of a run, and when it was written."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.root.rglob("*") if path.is_file()}

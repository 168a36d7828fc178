"""The call of one task: its log, its environment, and that it leaves no process behind."""

import os
from pathlib import Path

import pytest
from waiting import wait_until

from msbatch.cluster.jobcall import JobCall
from msbatch.lock import is_alive

SCRIPT = """
import os, signal, subprocess, sys
print("arguments", *sys.argv[1:], "devices", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if "--task 7" in " ".join(sys.argv):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    print("child", child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(sys.argv[-1]))
"""


def call(folder: Path, task: int, devices: str | None = None, owner: int | None = None) -> JobCall:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    log = folder / "task" / "log"
    return JobCall(str(script), "some run", str(log), (task,), threads=1, devices=devices, owner=owner or os.getpid())


def test_the_exit_code_comes_back_and_the_log_grows(tmp_path: Path) -> None:
    assert call(tmp_path, 0, devices="2,3")() == 0
    assert call(tmp_path, 4)() == 4
    lines = (tmp_path / "task" / "log").read_text().splitlines()
    assert lines == ["arguments some run --task 0 devices 2,3", "arguments some run --task 4 devices None"]
    assert (tmp_path / "task" / "log").stat().st_mode & 0o077 == 0, "others cannot read it"


def test_processes_of_a_killed_task_are_stopped_too(tmp_path: Path) -> None:
    assert call(tmp_path, 7)() == -9
    child = int((tmp_path / "task" / "log").read_text().split()[-1])
    wait_until(lambda: not is_alive(child), "the child to end")


def test_a_task_without_its_submission_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError, match="is gone"):
        call(tmp_path, 0, owner=2**22 + 1)()

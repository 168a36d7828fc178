"""The call that submitit pickles for Slurm: it ends as its script does, and not later than its launcher."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import wait_until

from msbatch.cluster.batchcall import BatchCall
from msbatch.lock import is_alive

SCRIPT = """
import os, signal, sys, time
print("arguments", *sys.argv[1:], "threads", os.environ["OMP_NUM_THREADS"], flush=True)
if sys.argv[1] == "dies":
    os.kill(os.getpid(), signal.SIGABRT)
if sys.argv[1] == "waits":
    print("pid", os.getpid(), flush=True)
    time.sleep(300)
sys.exit(int(sys.argv[1]))
"""


def call(folder: Path, *arguments: str) -> BatchCall:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    return BatchCall(str(script), arguments, str(folder / "task" / "log"), threads=3)


def run(folder: Path, *arguments: str, owner: int | None = None) -> "subprocess.Popen[bytes]":
    """Run the call as submitit does: unpickled in a process of its own, in a group of its own."""
    (folder / "call.pkl").write_bytes(pickle.dumps(call(folder, *arguments)))
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))()"
    environment = {**os.environ, "MSBATCH_OWNER": str(owner or os.getpid())}
    command = [sys.executable, "-c", code, str(folder / "call.pkl")]
    return subprocess.Popen(command, env=environment, start_new_session=True)


@pytest.mark.parametrize(("how", "code"), [("0", 0), ("75", 75), ("1", 1), ("dies", 128 + signal.SIGABRT)])
def test_it_ends_with_the_code_of_its_script(tmp_path: Path, how: str, code: int) -> None:
    assert run(tmp_path, how).wait(60) == code
    assert (tmp_path / "task" / "log").read_text() == f"arguments {how} threads 3\n"
    assert (tmp_path / "task" / "log").stat().st_mode & 0o077 == 0, "others cannot read it"


def test_a_log_goes_on_where_the_attempt_before_ended(tmp_path: Path) -> None:
    run(tmp_path, "1").wait(60)
    run(tmp_path, "0").wait(60)
    assert len((tmp_path / "task" / "log").read_text().splitlines()) == 2


def test_signals_of_slurm_do_not_end_it(tmp_path: Path) -> None:
    process = run(tmp_path, "waits")
    script = _pid(tmp_path)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGUSR2)
    time.sleep(0.5)
    assert process.poll() is None
    os.kill(script, signal.SIGKILL)
    assert process.wait(60) == 128 + signal.SIGKILL


def test_it_does_not_outlive_its_launcher(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as launcher:
        process = run(tmp_path, "waits", owner=launcher.pid)
        script = _pid(tmp_path)
        launcher.kill()
    assert process.wait(60) == -signal.SIGKILL
    wait_until(lambda: not is_alive(script), "the script to end")


def _pid(folder: Path) -> int:
    log = folder / "task" / "log"
    wait_until(lambda: log.exists() and "pid" in log.read_text(), "the script to begin")
    return int(log.read_text().split()[-1])

"""One command at a time."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from msbatch.errors import MsbatchError
from msbatch.lock import check_free, is_alive, run_lock


def write_holder(path: Path, host: str, pid: int) -> None:
    path.write_text(json.dumps({"host": host, "pid": pid}))


def test_a_lock_is_gone_after_use_even_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with run_lock(path):
        assert json.loads(path.read_text()) == {"host": socket.gethostname(), "pid": os.getpid()}
    assert not path.exists()
    with pytest.raises(FileNotFoundError), run_lock(path):
        (tmp_path / "nothing").read_text()
    assert not path.exists()


def test_a_living_holder_is_respected_and_named(tmp_path: Path) -> None:
    write_holder(tmp_path / "lock", socket.gethostname(), os.getppid())
    with pytest.raises(MsbatchError, match=f"process {os.getppid()} on"), run_lock(tmp_path / "lock"):
        pytest.fail("the lock was given twice")
    assert (tmp_path / "lock").exists()


def test_a_silent_holder_on_another_machine_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    write_holder(path, "elsewhere", 1)
    os.utime(path, (time.time() - 600, time.time() - 600))
    with run_lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_released_in_time_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    write_holder(path, "elsewhere", 1)
    threading.Timer(0.5, path.unlink).start()
    with run_lock(path, wait_s=60):
        assert json.loads(path.read_text())["host"] == socket.gethostname()


def test_a_holder_on_another_machine_is_respected(tmp_path: Path) -> None:
    write_holder(tmp_path / "lock", "elsewhere", 1)
    with pytest.raises(MsbatchError, match="on elsewhere") as caught, run_lock(tmp_path / "lock"):
        pytest.fail("the lock was given twice")
    assert "delete" in caught.value.hint


def test_whether_a_lock_is_free_is_told_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    check_free(path)
    write_holder(path, "elsewhere", 1)
    with pytest.raises(MsbatchError, match="process 1 on elsewhere"):
        check_free(path)
    os.utime(path, (1, 1))
    check_free(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["[1]", "3", "{}", '{"host": 1, "pid": "x"}', "[" * 100_000, "9" * 5000, "\x1b"])
def test_a_lock_of_an_adversary_is_one_of_an_unknown_holder(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.lock").write_text(content)
    with pytest.raises(MsbatchError, match="a machine that has not said its name"), run_lock(tmp_path / "a.lock"):
        pass


def test_a_dead_holder_is_replaced(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as dead:
        assert is_alive(dead.pid)
        assert dead.communicate()[0] == b""
    write_holder(tmp_path / "lock", socket.gethostname(), dead.pid)
    with run_lock(tmp_path / "lock"):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_process_that_nobody_collected_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(ended.pid)

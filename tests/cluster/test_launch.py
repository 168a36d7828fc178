"""The launcher on the node, in front of stand-ins for Slurm's commands: what it asks of the task and of Slurm."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from msbatch.cluster.sites import launch_conf
from msbatch.config import ClusterSettings
from msbatch.layout import PACKAGE, data_dir

LAUNCHER = data_dir("jobs") / "launch.sh"

# Stops when it is asked to, as a training task does, unless its first argument says otherwise.
PAYLOAD = """
import os, sys, time
from pathlib import Path
launch = os.environ["MSBATCH_LAUNCH"]
print("started", os.environ.get("MSBATCH_NODES"), "path", os.environ.get("PYTHONPATH"), flush=True)
Path("started").touch()
how = sys.argv[1]
if how.isdecimal():
    sys.exit(int(how))
if how == "fills":  # the disk: whatever is written to it now finds no room
    Path(launch + ".probe").symlink_to("/dev/full")
    sys.exit(1)
while how == "hangs" or not Path(launch + ".stop").exists():
    time.sleep(0.05)
    if how == "stops":
        Path(launch + ".beat").touch()
if how == "crashes":
    os.abort()
sys.exit(75)
"""


class Node:
    """A folder that stands for a node: stand-ins for scontrol and srun note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launches = folder / "launches"
        self.payload = folder / "payload.py"
        self.payload.write_text(PAYLOAD)
        self.weights = ""
        self.calls = folder / "calls"
        self.program("scontrol", f'echo "scontrol $*" >>{self.calls}\n[ ! -e {folder}/deaf ]')
        self.program("srun", "exec sleep 600")
        self.started: list[subprocess.Popen[str]] = []

    def start(self, how: str, restart: int = 0, end: float = 3600, **settings: Any) -> "subprocess.Popen[str]":
        site = ClusterSettings(**{"runtime": "none", "scratch": str(self.folder / "scratch"), **settings})
        conf = self.folder / "launch.conf"
        image = {"IMAGE": self.folder / "image.sif", "IMAGE_BYTES": "5", "IMAGE_SHA256": "0" * 64}
        paths = {"RUN": self.folder, "CODE": PACKAGE.parent, "STORE": "", "WEIGHTS": self.weights, **image}
        conf.touch(0o600)
        conf.write_text(launch_conf(site, paths, gpus=False))
        job = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "4"}
        times = {"SLURM_RESTART_COUNT": str(restart), "SLURM_JOB_END_TIME": str(int(time.time() + end))}
        process = subprocess.Popen(
            ["bash", str(LAUNCHER), str(conf), str(self.payload), how],
            cwd=self.folder,
            env={**os.environ, **job, **times, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, how: str, **options: Any) -> tuple[int, str]:
        process = self.start(how, **options)
        out, _ = process.communicate(timeout=60)
        return process.returncode, out

    def end(self, restart: int = 0) -> dict[str, Any]:
        return dict(json.loads((self.launches / f"7_4.{restart}.end").read_text()))

    def asked(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for process in node.started:
        subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
        subprocess.run(["pkill", "-KILL", "-f", str(node.payload)], check=False)  # has a session of its own
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited for: {what}"
        time.sleep(0.05)


def stop(node: Node, process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    wait_until((node.folder / "started").exists, "the task")
    process.send_signal(number)


@pytest.mark.parametrize("code", [0, 1, 3, 137])
def test_a_task_that_ends_by_itself_is_not_requeued(node: Node, code: int) -> None:
    assert node.run(str(code))[0] == code
    assert node.asked() == []
    assert (node.end()["exit"], node.end()["requeued"], node.end()["cause"]) == (code, False, "")
    assert not list((node.folder / "scratch").iterdir()), "the task's own folder on the node is removed"


def test_a_result_that_a_kill_left_half_written_is_removed(node: Node) -> None:
    own, other = node.folder / "7_4_0_result.pkl.save_tmp", node.folder / "7_41_0_result.pkl.save_tmp"
    own.touch(), other.touch()
    assert node.run("0", restart=1)[0] == 0
    assert (own.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize(("end", "cause"), [(240, "time limit"), (3600, "preempted")])
def test_a_warning_stops_the_task_and_requeues_this_element_only(node: Node, end: float, cause: str) -> None:
    process = node.start("stops", end=end)
    stop(node, process, signal.SIGUSR2)
    wait_until(lambda: bool(node.asked()), "requeueing")
    assert node.asked() == ["scontrol requeue 7_4"]
    assert (node.launches / "7_4.0.stop").read_text() == f"{cause}\n"
    assert (node.end()["exit"], node.end()["requeued"], node.end()["cause"]) == (75, True, cause)


def test_a_warning_that_never_comes_is_given_by_the_launcher_itself(node: Node) -> None:
    node.start("stops", end=184)  # the site's lead is 180 seconds
    wait_until(lambda: bool(node.asked()), "requeueing")
    assert (node.end()["exit"], node.end()["requeued"], node.end()["cause"]) == (75, True, "time limit")


def test_a_cancelled_task_stays_cancelled(node: Node) -> None:
    process = node.start("stops")
    stop(node, process, signal.SIGTERM)
    assert process.wait(30) == 75
    assert node.asked() == []
    assert node.end()["cause"] == "terminated"


def test_a_crash_after_a_warning_is_requeued(node: Node) -> None:
    process = node.start("crashes")
    stop(node, process, signal.SIGUSR2)
    wait_until(lambda: bool(node.asked()), "requeueing")
    assert node.end()["exit"] == 134


def test_a_task_without_a_sign_of_life_is_killed_and_requeued(node: Node) -> None:
    node.start("hangs", hang_min=0.05)
    wait_until(lambda: bool(node.asked()), "requeueing")
    assert (node.end()["exit"], node.end()["cause"]) == (137, "hung")


def test_a_task_that_does_not_stop_before_its_limit_is_killed_and_requeued(node: Node) -> None:
    process = node.start("hangs", end=23)
    stop(node, process, signal.SIGUSR2)
    wait_until(lambda: bool(node.asked()), "requeueing")
    assert (node.end()["exit"], node.end()["cause"]) == (137, "time limit")


def test_an_attempt_that_was_given_up_on_does_not_requeue_its_successor(node: Node) -> None:
    process = node.start("stops")
    (node.launches).mkdir(exist_ok=True)
    (node.launches / "7_4.1.start").touch()
    stop(node, process, signal.SIGUSR2)
    assert process.wait(30) == 75
    assert node.asked() == []


def test_a_deaf_controller_is_asked_again_and_then_the_failure_is_said(node: Node) -> None:
    (node.folder / "deaf").touch()
    process = node.start("stops")
    stop(node, process, signal.SIGUSR2)
    wait_until(lambda: len(node.asked()) >= 2, "a second try")
    assert set(node.asked()) == {"scontrol requeue 7_4"}
    (node.folder / "deaf").unlink()
    wait_until(lambda: node.end()["requeued"], "requeueing")


def test_the_task_is_given_the_frozen_code(node: Node) -> None:
    assert f"started 1 path {PACKAGE.parent}" in node.run("0")[1]


@pytest.mark.parametrize(("content", "said"), [(None, "the image is missing: "), (b"12", "cut off: ")])
def test_an_image_that_is_not_the_submitted_one_is_said(node: Node, content: bytes | None, said: str) -> None:
    if content is not None:
        (node.folder / "image.sif").write_bytes(content)
    code, out = node.run("0", runtime="sif", program="true")
    assert code == 1
    assert said in out
    assert said in node.end()["cause"]


APPTAINER = """
if [ "$2" = build ]; then
    mkdir "$4" && touch "$4/usr" "$4/dev"
else
    while [ "$1" != python ]; do image=$1 && shift; done
    echo "in $(ls -m "$image")"
    shift && exec python3 "$@"
fi
"""


def test_an_image_is_unpacked_once_and_again_when_a_cleaner_took_some_of_it(node: Node) -> None:
    node.program("apptainer", APPTAINER)
    (node.folder / "image.sif").write_bytes(b"12345")
    first, second = (node.run("0", runtime="sandbox") for _ in range(2))
    (sandbox,) = (path.parent for path in (node.folder / "scratch").glob("msbatch-*/*/dev"))
    (sandbox / "dev").unlink()
    record, elsewhere = sandbox.with_name(f"{sandbox.name}.files"), node.folder / "elsewhere"
    record.rename(elsewhere)
    elsewhere.write_text("of another\n")
    record.symlink_to(elsewhere)
    third = node.run("0", runtime="sandbox")
    assert [code for code, _ in (first, second, third)] == [0, 0, 0]
    assert ["unpacking" in out for _, out in (first, second, third)] == [True, False, True]
    assert "in dev, usr" in third[1]
    assert elsewhere.read_text() == "of another\n", "the record is made anew, not written through"


def test_weights_that_are_links_to_links_are_where_the_first_link_points(node: Node) -> None:
    node.program("apptainer", f'echo "$*" >>{node.calls}')
    (node.folder / "image.sif").write_bytes(b"12345")
    weights, cache = node.folder / "weights", node.folder / "cache"
    for name in ("weights", "cache", "cache/blobs", "cache/snap"):
        (node.folder / name).mkdir()
    blob = cache / "blobs" / "1f"
    blob.touch()
    (cache / "snap" / "a").symlink_to("../blobs/1f")
    (weights / "absolute").symlink_to(cache / "snap" / "a")
    (weights / "relative").symlink_to("../cache/snap/b")
    (cache / "snap" / "b").symlink_to("a")
    (weights / "inside").symlink_to("absolute")
    (weights / "gone").symlink_to("../cache/gone")
    node.weights = str(weights)
    assert node.run("0", runtime="sif")[0] == 0
    binds = [word for word in node.asked()[-1].split() if word.endswith(":ro") and str(cache) in word]
    assert binds == [f"{blob}:{place}:ro" for place in (cache / "snap" / "a", blob, cache / "snap" / "b")]


def test_a_damaged_image_is_not_taken_from_under_a_task_that_runs_from_it(node: Node) -> None:
    node.program("apptainer", APPTAINER)
    (node.folder / "image.sif").write_bytes(b"12345")
    running = node.start("stops", runtime="sandbox")
    wait_until((node.folder / "started").exists, "the task")
    (sandbox,) = (path.parent for path in (node.folder / "scratch").glob("msbatch-*/*/dev"))
    held = os.open(sandbox, os.O_PATH)  # as a container's mount does
    (sandbox / "dev").unlink()
    assert "unpacking" in node.run("0", restart=1, runtime="sandbox")[1]
    assert [path.name for path in Path(f"/proc/self/fd/{held}").iterdir()] == ["usr"], (
        "what the task runs from is still there"
    )
    assert node.run("0", restart=2, runtime="sandbox")[0] == 0
    assert len(list(sandbox.parent.glob("*.stale.*"))) == 1, "it is swept away by nobody while the task runs"
    running.kill()
    subprocess.run(["pkill", "-KILL", "-s", str(running.pid)], check=False)
    subprocess.run(["pkill", "-KILL", "-f", str(node.payload)], check=False)
    assert node.run("0", restart=3, runtime="sandbox")[0] == 0
    assert not list(sandbox.parent.glob("*.stale.*")), "nobody uses it any more"
    os.close(held)


def test_a_task_that_never_begins_is_not_requeued_for_ever(node: Node) -> None:
    process = node.start("hangs", end=23, restart=3)
    stop(node, process, signal.SIGUSR2)
    assert process.wait(60) == 137
    assert node.asked() == []


@pytest.mark.parametrize("name", ["", "4_submitted.pkl", "launch.conf"])
def test_nothing_is_run_that_others_can_write(node: Node, name: str) -> None:
    for file in ("4_submitted.pkl", "launch.conf"):
        (node.folder / file).touch()
    (node.folder / name).chmod(0o770)
    code, said = node.run("0")
    assert code == 1
    assert "others can write to it, so nothing of it is run" in said
    assert "others can write to it" in node.end()["cause"]
    assert not (node.folder / "started").exists()


def test_scratch_that_cannot_be_written_is_said(node: Node) -> None:
    (node.folder / "scratch").write_text("a file")
    code, _ = node.run("0")
    assert code == 1
    assert "scratch cannot be written" in node.end()["cause"]


def test_what_a_killed_launcher_left_on_the_node_is_removed_by_the_next(node: Node) -> None:
    process = node.start("stops")
    wait_until((node.folder / "started").exists, "the task")
    process.kill()
    process.wait()
    left = list((node.folder / "scratch").iterdir())
    assert len(left) == 1, "this is what the test is about"
    (node.launches / "7_4.0.stop").touch()
    node.start("stops", restart=1)
    wait_until(lambda: not left[0].exists(), "the next launcher's tidying")
    wait_until(lambda: len(list((node.folder / "scratch").iterdir())) == 1, "its own folder")
    (node.launches / "7_4.1.stop").touch()


def test_a_task_that_failed_on_a_full_disk_is_said_to_have_done_so(node: Node) -> None:
    assert node.run("fills")[0] == 1
    assert node.end()["cause"] == "the disk is full"
    assert sorted(path.suffix for path in node.launches.iterdir()) == [".end", ".ready", ".start"]

"""The image built from the project's definition, read and run by the real Apptainer as an ordinary user."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from slurm_cluster import USER, Cluster

from msbatch.cluster.container import lock_file

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


CONTAINED = ["--cleanenv", "--contain", "--no-home", "--pwd", "/"]
LOOK = """
set -u
head -c 100000000 /dev/zero >/dev/shm/big && echo shm
touch "$1/kept" && echo run
touch "$1/code/kept" 2>/dev/null || echo code
touch /usr/kept 2>/dev/null || echo image
ls "$2" >/dev/null 2>&1 || echo home
[ -z "${SECRET:-}" ] && echo environment
"""


def test_the_image_agrees_with_this_side(cluster: Cluster) -> None:
    shown = json.loads(cluster.run("msbatch", "container", "check", cluster.image, "--json").stdout)
    assert shown["python"].startswith("3.11.")
    assert shown["submitit"] == version("submitit")
    assert shown["torch"].startswith(version("torch").partition("+")[0])
    assert shown["outside_lock"] is False


def test_the_image_lists_what_it_holds(cluster: Cluster) -> None:
    lines = cluster.run("msbatch", "container", "show", cluster.image).stdout.splitlines()
    held = {(kind, name): (number, digest) for kind, name, number, digest in (line.split("\t") for line in lines)}
    lock = lock_file().read_text()
    for name in ("torch", "numpy", "submitit", "pillow", "h5py"):
        number, digest = held["wheel", name]
        assert number.partition("+")[0] == version(name).partition("+")[0]
        assert f"--hash=sha256:{digest}" in lock
    assert ("debian", "g++") in held


COMPILE = """
import torch
half = torch.compile(lambda numbers: (numbers.sin() + 1) / 2)
print(torch.allclose(half(torch.zeros(100)), torch.full((100,), 0.5)))
"""


def test_code_is_compiled_in_it_by_an_ordinary_user(cluster: Cluster, folder: Path) -> None:
    cluster.run("mkdir", "-p", folder / "compiled", folder / "private")
    place = ["--bind", f"{folder / 'private'}:/tmp", "--bind", folder]  # as a task has it: headers fill a small /tmp
    place += ["--env", f"TORCHINDUCTOR_CACHE_DIR={folder / 'compiled'}"]
    done = cluster.run("apptainer", "--silent", "exec", *CONTAINED, *place, cluster.image, "python", "-c", COMPILE)
    assert done.stdout.strip() == "True"
    assert list((folder / "compiled").rglob("*.so"))


def test_a_truncated_image_is_refused(cluster: Cluster, folder: Path) -> None:
    cut = folder / "cut.sif"
    with cluster.image.open("rb") as whole:
        cut.write_bytes(whole.read(1_000_000))
    done = cluster.run("msbatch", "container", "check", cut, check=False)
    assert done.returncode == 1
    assert "is cut off" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_an_image_of_something_else_is_refused(cluster: Cluster, folder: Path) -> None:
    (folder / "tree").mkdir()
    (folder / "tree" / "file").write_text("nothing of msbatch")
    cluster.root("chown", "-R", USER, folder)
    cluster.run("apptainer", "--silent", "build", folder / "other.sif", folder / "tree")
    done = cluster.run("msbatch", "container", "check", folder / "other.sif", check=False)
    assert done.returncode == 1
    assert "was not built from msbatch's own definition" in done.stderr


@pytest.mark.parametrize("kind", ["sif", "sandbox"])
def test_a_contained_task_sees_what_it_is_given_and_no_more(cluster: Cluster, folder: Path, kind: str) -> None:
    run = folder / "run"
    cluster.run("mkdir", "-p", run / "code")
    image = cluster.image if kind == "sif" else cluster.image.parent / "base-bookworm"
    binds = ["--bind", run, "--bind", f"{run}/code:{run}/code:ro"]
    home = cluster.run("bash", "-c", "echo $HOME").stdout.strip()
    command = ["apptainer", "--silent", "exec", *CONTAINED, *binds, image, "bash", "-c", LOOK, "look", run, home]
    seen = cluster.run("env", "SECRET=x", *command).stdout.split()
    assert seen == ["shm", "run", "code", "image", "home", "environment"]
    assert (run / "kept").is_file()
    assert not (run / "code" / "kept").exists()


def test_the_locked_environment_runs_offline_in_it(cluster: Cluster) -> None:
    code = "import os, sys, torch, timm; print(sys.prefix, torch.__version__, os.environ['HF_HUB_OFFLINE'])"
    done = cluster.run("apptainer", "--silent", "exec", *CONTAINED, cluster.image, "python", "-c", code)
    prefix, torch, offline = done.stdout.split()
    assert (prefix, offline) == ("/opt/venv", "1")
    assert torch.startswith(version("torch").partition("+")[0])
    assert (
        cluster.run("apptainer", "exec", cluster.image, "python", "-c", "import msbatch", check=False).returncode == 1
    )

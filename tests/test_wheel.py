"""The built wheel in a fresh environment without torch, outside the checkout and without a network."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from msbatch.cohort.synth import draw_cohort
from msbatch.layout import PACKAGE

CHECKOUT = PACKAGE.parent
WHEELS = CHECKOUT / ".wheels"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not WHEELS.is_dir(), reason="no .wheels folder: make test fetches the wheels of the plain install"
    ),
]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment that holds the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(CHECKOUT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("msbatch-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    offline = ["install", "--no-index", "--find-links", str(WHEELS), "--no-compile", str(wheel)]
    subprocess.run([*pip, "--python", str(folder / "venv" / "bin" / "python"), *offline], check=True)
    return folder / "venv"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    draw_cohort(folder, patients=4, cells=4, seed=0)
    return folder


@pytest.fixture(scope="module")
def installed(environment: Path, study: Path) -> Run:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        program = [str(environment / "bin" / command[0]), *command[1:]]
        return subprocess.run(program, cwd=study, env=clean, capture_output=True, text=True, check=False)

    return run


def test_the_wheel_brings_no_torch_and_carries_the_jobs(installed: Run, environment: Path) -> None:
    shown = """
import importlib.util, msbatch
from msbatch.layout import data_dir
script = data_dir("jobs") / "fold.py"
print(importlib.util.find_spec("torch"), msbatch.__file__, script, script.is_file())
"""
    torch, package, script, there = installed("python", "-c", shown).stdout.split()
    assert (torch, there) == ("None", "True")
    assert package.startswith(str(environment))
    assert script.startswith(str(environment))


def test_the_wheel_carries_what_the_container_is_built_from(installed: Run, environment: Path) -> None:
    shown = """
from msbatch.cluster.build import definition
from msbatch.cluster.container import lock_file
print(definition(), lock_file())
"""
    definition, lock = (Path(word) for word in installed("python", "-c", shown).stdout.split())
    assert definition.is_relative_to(environment)
    assert definition.read_text() == (CHECKOUT / "containers" / "msbatch.def").read_text()
    assert lock.read_text() == (CHECKOUT / "requirements.lock").read_text()
    assert lock.parent == definition.parent  # the builder looks for the lock where it is started


def test_the_light_commands_work(installed: Run, study: Path) -> None:
    steps = [
        ("--help",),
        ("--version",),
        ("pack", "images", "--table", "cohort.csv", "-o", "cohort.h5", "--workers", "2"),
        ("inspect", "--json", "--montage", "montage.png"),
        ("plan", "--backbones", "swin"),
        ("submit", "--backbones", "swin", "--no-pretrained", "--runtime", "none", "--dry-run"),
        ("status",),
        ("reduce", "--allow-partial"),
        ("report", "--allow-partial"),
    ]
    for step in steps:
        done = installed("msbatch", *step)
        assert done.returncode == 0, f"{step}: {done.stderr}"
    (run,) = (study / "runs").iterdir()
    assert (run / "results" / "folds.csv").is_file()


@pytest.mark.parametrize("command", [("submit", "--local"), ("demo",), ("weights", "list")])
def test_what_needs_torch_says_what_to_install(installed: Run, study: Path, command: tuple[str, ...]) -> None:
    before = sorted(path.name for path in study.iterdir())
    done = installed("msbatch", *command)
    assert done.returncode == 1
    assert "pip install 'msbatch[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert sorted(path.name for path in study.iterdir()) == before

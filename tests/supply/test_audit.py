"""The audit finds whatever differs from what was locked, and passes an environment that holds nothing else."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import audit
import pytest

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "sample"
version = "1.0"
"""


class Environment:
    """A package that was installed from the wheel that a lock permits."""

    def __init__(self, top: Path) -> None:
        self.site, self.wheels, self.lock = top / "site", top / "wheels", top / "some.lock"
        source = top / "source"
        (source / "sample").mkdir(parents=True)
        (source / "sample" / "__init__.py").write_text("value = 1\n")
        (source / "pyproject.toml").write_text(PROJECT)
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(self.wheels)]
        subprocess.run(build, cwd=source, check=True, capture_output=True)
        (self.wheel,) = self.wheels.iterdir()
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
        subprocess.run([*install, "--no-deps", "--target", str(self.site), str(self.wheel)], check=True)
        self.write_lock("sample==1.0")

    def write_lock(self, requirement: str) -> None:
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.lock.write_text(f"{requirement} ; python_version > '3' \\\n    --hash=sha256:{digest}\n")

    def plant(self, name: str, text: str) -> None:
        path = self.site / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def problems(self) -> list[str]:
        return list(audit.problems(self.site, self.wheels, [self.lock]))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def test_an_environment_as_locked_has_no_problem(environment: Environment) -> None:
    assert environment.problems() == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda e: e.plant("sample/__init__.py", "value = 2\n"), r"__init__\.py is not as in sample-1\.0-"),
        (lambda e: (e.site / "sample" / "__init__.py").unlink(), r"__init__\.py of sample-1\.0-.* is missing"),
        (lambda e: e.plant("hook.pth", "import os"), r"hook\.pth belongs to no package"),
        (
            lambda e: e.plant("other-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"),
            r"other 1\.0 is installed, but there is no locked wheel of it",
        ),
        (lambda e: e.wheel.unlink(), r"sample 1\.0 is installed, but there is no locked wheel of it"),
        (lambda e: e.wheel.write_bytes(e.wheel.read_bytes() + b"\0"), r"sample-1\.0-.* is not what was locked"),
        (lambda e: e.lock.write_text("sample==1.0\n"), r"some\.lock: sample 1\.0 has no hash"),
        (lambda e: e.write_lock("torch==2.9.1"), r"some\.lock: torch 2\.9\.1 is below 2\.10: CVE-2025-32434"),
    ],
)
def test_what_differs_is_named(environment: Environment, damage: Callable[[Environment], None], said: str) -> None:
    damage(environment)
    assert any(re.search(said, problem) for problem in environment.problems())


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-light.lock"])
def test_the_locks_hold_a_hash_of_everything_and_nothing_known_to_be_unsafe(name: str) -> None:
    lock = audit.TOP / name
    assert len(audit.requirements(lock)) > 20
    assert list(audit.problems_of_lock(lock)) == []


def test_an_install_without_the_lock_is_above_the_same_floors() -> None:
    project = (audit.TOP / "pyproject.toml").read_text()
    for name in ("torch", "pillow", "jinja2", "scikit-learn"):
        (least,) = re.findall(rf'"{name}>=([\d.]+)"', project)
        assert audit.Version(least) >= audit.Version(audit.FLOORS[name][0])

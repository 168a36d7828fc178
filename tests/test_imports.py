"""Help is quick because it imports nothing heavy, and the light half of the package never imports torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from msbatch.layout import PACKAGE

STAGES = ["cohort", "training", "cluster", "results"]

HEAVY = {"numpy", "h5py", "torch", "rich", "pydantic", "submitit", "PIL", "sklearn", "timm", "albumentations"}
SHOW = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["submit", "--help"], ["weights", "get", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from msbatch.cli import main
sys.argv = ["msbatch", *{arguments}]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
"""
    loaded = modules_after(code)
    assert "click" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("stage", ["cohort", "cluster", "results"])
def test_stages_beside_training_need_no_torch(stage: str) -> None:
    code = f"""
import importlib, pkgutil
import msbatch.{stage} as stage
for module in pkgutil.walk_packages(stage.__path__, "msbatch.{stage}."):
    importlib.import_module(module.name)
"""
    loaded = modules_after(code)
    assert "msbatch" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "albumentations"}


@pytest.mark.parametrize("stage", STAGES)
def test_stages_meet_only_through_files(stage: str) -> None:
    forbidden = {f"msbatch.{other}" for other in [*STAGES, "cli"] if other != stage}
    files = list((PACKAGE / stage).rglob("*.py"))
    found = {(path.name, name) for path in files for name in imported(path) for f in forbidden if is_in(name, f)}
    assert files
    assert not found


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = [
        (node.module or "", alias.name) for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    return plain | {f"{module}.{name}" for module, name in named}


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")

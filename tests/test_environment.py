"""What a run says about the installation that made it."""

import subprocess
from importlib.metadata import version
from pathlib import Path

from msbatch.environment import git_state, package_versions


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_every_package_is_named_with_its_version() -> None:
    packages = package_versions()
    assert packages["numpy"] == version("numpy")
    assert list(packages) == sorted(packages, key=str.lower)


def test_the_commit_is_named_and_edits_are_told(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("first")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_state(tmp_path) == {"commit": commit, "changed": False}
    (tmp_path / "file").write_text("second")
    assert git_state(tmp_path) == {"commit": commit, "changed": True}


def test_a_package_outside_a_checkout_claims_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert git_state(inside) is None
    assert git_state(tmp_path) is None, "a checkout without a commit"

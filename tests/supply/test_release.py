"""The release of a commit is the same file, bit for bit, whoever builds it, wherever and whenever."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from msbatch.layout import PACKAGE

CHECKOUT = PACKAGE.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="no checkout: a release is made from a commit"),
]


def release(folder: Path, umask: int, touched_s: int, **environment: str) -> dict[str, bytes]:
    """Clone the commit and build its release there; give the files by name."""
    folder.parent.mkdir()
    quiet = ["--quiet", "--no-hardlinks"]
    subprocess.run(["git", "clone", *quiet, str(CHECKOUT), str(folder)], check=True, umask=umask)
    for path in folder.glob("msbatch/**/*"):
        os.utime(path, (touched_s, touched_s))
    (folder / "msbatch" / "left_over.py").write_text("never committed = True")
    venv = sys.prefix
    make = ["make", "--silent", f"--old-file={venv}/.installed", f"VENV={venv}", "release"]
    subprocess.run(make, cwd=folder, env=os.environ | environment, umask=umask, check=True)
    return {path.name: path.read_bytes() for path in (folder / "dist").iterdir()}


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    top = tmp_path_factory.mktemp("releases")
    return [
        release(top / "a" / "msbatch", 0o022, 1_000_000_000, TZ="UTC", LC_ALL="C", PYTHONHASHSEED="1"),
        release(
            top / "b" / "another name", 0o077, 1_700_000_001, TZ="Asia/Tokyo", LC_ALL="C.UTF-8", PYTHONHASHSEED="2"
        ),
    ]


def test_two_builds_of_a_commit_are_the_same_bytes(releases: list[dict[str, bytes]]) -> None:
    first, second = releases
    assert sorted(name.rpartition(".")[2] for name in first) == ["SHA256SUMS", "gz", "whl"]
    assert first == second


def test_the_wheel_of_the_source_archive_is_the_wheel(releases: list[dict[str, bytes]], tmp_path: Path) -> None:
    built = releases[0]
    (archive,) = (name for name in built if name.endswith(".tar.gz"))
    (tmp_path / archive).write_bytes(built[archive])
    with tarfile.open(tmp_path / archive) as opened:
        opened.extractall(tmp_path, filter="data")
        made_s = {member.mtime for member in opened}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    source, (date,) = tmp_path / archive.removesuffix(".tar.gz"), made_s
    dated = os.environ | {"SOURCE_DATE_EPOCH": str(date)}
    subprocess.run(command, cwd=source, env=dated, check=True, capture_output=True)
    (wheel,) = (source / "dist").iterdir()
    assert wheel.read_bytes() == built[wheel.name]


def test_the_sums_are_those_of_the_files_and_nothing_uncommitted_is_in_them(
    releases: list[dict[str, bytes]], tmp_path: Path
) -> None:
    for name, content in releases[0].items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", *tmp_path.glob("*.whl")], capture_output=True, text=True, check=True
    )
    assert "msbatch/cli/" in listed.stdout
    assert "left_over" not in listed.stdout

"""Every locked dependency has a licence that is known and permitted."""

import subprocess
import sys
from pathlib import Path

import licences
import pytest

SCRIPT = Path(licences.__file__)


def listed(lock: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(SCRIPT), str(lock)], capture_output=True, text=True, check=False)


def make_package(site: Path, name: str, *metadata: str) -> None:
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    folder.joinpath("METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *metadata])
    )


def test_every_locked_dependency_is_permitted() -> None:
    done = listed(licences.LOCK)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == licences.locked(licences.LOCK)
    assert "FFmpeg, LGPL-2.1" in done.stdout


@pytest.mark.parametrize(
    ("stated", "permitted"),
    [
        ("License-Expression: MIT", True),
        ("License-Expression: MIT AND Zlib", True),
        ("License-Expression: GPL-3.0-only OR BSD-3-Clause", True),
        ("License-Expression: MIT AND GPL-3.0-only", False),
        ("License: AGPL-3.0", False),
        ("License: UNKNOWN", False),
        ("License: NVIDIA Proprietary Software", False),
        ("Classifier: License :: OSI Approved :: Apache Software License", True),
        ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", False),
        ("Summary: says nothing", False),
    ],
)
def test_what_is_unknown_or_not_permitted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str, permitted: bool
) -> None:
    make_package(tmp_path, "sample", stated)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "lock").write_text("sample==1.0 \\\n    --hash=sha256:00\n")
    done = listed(tmp_path / "lock")
    assert done.returncode == (0 if permitted else 1)
    assert done.stderr.startswith("sample 1.0 has no permitted licence: ") != permitted


def test_a_dependency_that_is_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("absent-package==1.0\n")
    done = listed(tmp_path / "lock")
    assert (done.returncode, done.stderr) == (1, "absent-package - has no permitted licence: not installed.\n")

"""A small synthetic cohort, a stand-in for Slurm, and a way to give commands, for tests of whole commands."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Run
from fake_slurm import FakeSlurm
from hypothesis import settings

from msbatch.cli import main
from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.synth import draw_cohort

# How long an example takes says nothing on a machine that does something else as well.
settings.register_profile("msbatch", deadline=None)
settings.load_profile("msbatch")

# A runner that was started in the background ignores interrupts, and so would everything it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Undo what a command that is given in this process does to what is written later."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a folder with images/, cohort.csv and cohort.h5: 4 patients with 6 cells of 48 px each."""
    folder = tmp_path_factory.mktemp("small_cohort")
    table = draw_cohort(folder, patients=4, cells=6, seed=2)
    pack(folder / "images", table, folder / "cohort.h5", PackOptions(size_px=48))
    return folder


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Give a stand-in for Slurm whose commands come first on the PATH."""
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(fake.folder), prepend=os.pathsep)
    return fake


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a command as a person types it; get its exit code and what it printed on both streams."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["msbatch", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, error = capsys.readouterr()
        assert "Traceback" not in error
        return int(end.value.code or 0), out, error

    return run

"""The code of a run is whole, self-sufficient and told apart by its hash."""

import subprocess
import sys
from pathlib import Path

from msbatch.cluster.freeze import code_digest, freeze_code
from msbatch.layout import PACKAGE, RunDir


def test_frozen_code_runs_by_itself_and_from_its_own_files(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    code = run.frozen(freeze_code(run))
    done = subprocess.run(
        [sys.executable, "-P", str(code / "jobs" / "fold.py"), str(tmp_path / "nothing"), "--task", "0"],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 1
    assert "nothing/plan.json does not exist" in done.stderr
    shown = "import sys; sys.path.insert(0, sys.argv[1]); import msbatch; print(msbatch.__file__)"
    where = subprocess.run([sys.executable, "-c", shown, str(code)], capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()) == code / "msbatch" / "__init__.py"


def test_the_hash_follows_the_content_and_a_damaged_copy_is_mended(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    digest = freeze_code(run)
    code = run.frozen(digest)
    assert code_digest(code) == digest
    with (code / "msbatch" / "errors.py").open("a") as out:
        out.write("# changed\n")
    assert code_digest(code) != digest
    assert freeze_code(run) == digest == code_digest(code)
    assert list(run.code.iterdir()) == [code]
    assert (code / "jobs" / "launch.sh").is_file()


def test_code_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    code = run.frozen(freeze_code(run))
    before = (code / "msbatch" / "plan.py").stat()
    freeze_code(run)
    assert (code / "msbatch" / "plan.py").stat().st_ino == before.st_ino


def test_a_killed_freeze_leaves_nothing_for_good(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    leftover = run.code / ".tmp.0123"
    leftover.mkdir(parents=True)
    freeze_code(run)
    assert not leftover.exists()

"""Who may read what commands and tasks write: the owner alone whatever the umask, or a group that was asked for."""

import grp
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Run
from runs import make_run

from msbatch import access, files
from msbatch.errors import MsbatchError
from msbatch.layout import list_runs

LABELS = {f"P{number}": [number % 2] * 3 for number in range(6)}
GROUP = grp.getgrgid(os.getegid()).gr_name


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def modes(folder: Path) -> set[tuple[bool, int]]:
    """Give the modes of a folder and all in it, each with whether it is a folder."""
    return {(path.is_dir(), mode(path)) for path in (folder, *folder.rglob("*")) if not path.is_symlink()}


def in_a_process(umask: int, code: str, *arguments: object) -> None:
    command = [sys.executable, "-c", f"import sys; from pathlib import Path\n{code}", *map(str, arguments)]
    subprocess.run(command, check=True, umask=umask)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o007])
def test_what_is_written_is_for_the_owner_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    code = "from msbatch.files import write_text; write_text(Path(sys.argv[1]) / 'a' / 'b' / 'c.txt', 'x')"
    in_a_process(umask, code, tmp_path / "new")
    assert modes(tmp_path / "new") == {(True, 0o700), (False, 0o600)}


def test_a_shared_folder_can_be_read_by_its_group_and_written_by_none_of_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", LABELS, {"a": {"P0": [1.0, 2.0, 3.0]}})
    access.share(run.root, GROUP)
    assert modes(run.root) == {(True, 0o2750), (False, 0o640)}
    access.write_as(run.root)
    files.write_text(run.results / "later" / "table.csv", "x")
    (run.results / "theirs.txt").write_text("by a library that follows the umask")
    assert modes(run.root) == {(True, 0o2750), (False, 0o640)}
    assert not access.is_shared(tmp_path)


def test_a_project_folder_of_a_group_shares_no_run_unasked(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project").chmod(0o2770)
    run = make_run(tmp_path / "project" / "run", LABELS, {"a": {}})
    access.write_as(run.root)
    files.write_text(run.results / "table.csv", "x")
    assert all(found & 0o077 == 0 for _, found in modes(run.root))


def test_a_group_that_is_not_there_or_not_mine_is_refused_with_those_that_are() -> None:
    with pytest.raises(MsbatchError, match="This machine has no group nobodys") as caught:
        access.check_group("nobodys")
    assert GROUP in str(caught.value)
    mine = {os.getegid(), *os.getgroups()}
    other = next(group.gr_name for group in grp.getgrall() if group.gr_gid not in mine)
    with pytest.raises(MsbatchError, match=f"You are not in the group {other}"):
        access.check_group(other)


def test_the_launcher_writes_for_whoever_may_read_the_run(tmp_path: Path) -> None:
    launcher = Path(__file__).parents[1] / "jobs" / "launch.sh"
    for name, shared, wanted in (("own", False, 0o600), ("ours", True, 0o640)):
        folder = files.make_dir(tmp_path / name)
        (folder / "launch.conf").write_text("TIME_MIN=1 LEAD_S=1 HANG_S=0 SCRATCH= MODULES=()\n")
        if shared:
            access.share(folder, GROUP)
        environment = {**os.environ, "SLURM_JOB_ID": "1"}
        subprocess.run(["bash", launcher, folder / "launch.conf"], env=environment, check=False, capture_output=True)
        assert mode(folder / "launches" / "1.0.start") == wanted


@pytest.fixture
def here(tmp_path: Path, cohort_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(cohort_folder / "images", tmp_path / "images")
    shutil.copy(cohort_folder / "cohort.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PACK = ("pack", "images", "--table", "cohort.csv", "--size", "48", "-o", "cohort.h5")


def test_share_opens_store_and_run_to_a_group(cli: Run, here: Path) -> None:
    assert cli(*PACK, "--share", GROUP)[0] == 0
    assert mode(here / "cohort.h5") == mode(here / "cohort.h5.sha256") == 0o640
    assert cli("plan", "cohort.h5", "--share", GROUP)[0] == 0
    assert modes(here / "runs") == {(True, 0o2750), (False, 0o640)}


def test_folders_made_for_a_group_can_be_entered_by_it_and_others_keep_what_they_let(cli: Run, here: Path) -> None:
    (here / "lab" / "runs").mkdir(parents=True, mode=0o755)
    (here / "lab").chmod(0o700)
    assert cli(*PACK[:-1], "lab/new/stores/c.h5", "--share", GROUP)[0] == 0
    assert mode(here / "lab" / "new") == mode(here / "lab" / "new" / "stores") == 0o2750
    (here / "msbatch.toml").write_text(f'[paths]\nshare = "{GROUP}"\nruns = "lab/runs"\n')
    assert cli("plan", "lab/new/stores/c.h5")[0] == 0
    assert (mode(here / "lab"), mode(here / "lab" / "runs")) == (0o700, 0o755)
    (here / "lab" / "runs").chmod(0o1700)
    assert cli("plan", "lab/new/stores/c.h5")[0] == 0
    assert mode(here / "lab" / "runs") == 0o1750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_runs_that_is_open_to_another_group_is_not_taken_from_it(cli: Run, here: Path) -> None:
    cli(*PACK)
    (here / "runs").mkdir()
    os.chown(here / "runs", -1, os.getegid() + 1)
    (here / "runs").chmod(0o770)
    code, _, error = cli("plan", "cohort.h5", "--share", GROUP)
    assert (code, len(error.splitlines())) == (1, 2)
    assert f"not open to the group {GROUP}" in error
    assert mode(here / "runs") == 0o770
    assert list(here.glob("runs/*")) == []


@pytest.mark.usefixtures("here")
def test_a_folder_that_was_begun_for_a_group_is_not_for_it_unasked(cli: Run) -> None:
    cli(*PACK)
    cli("plan", "cohort.h5", "--share", GROUP)
    (run,) = list_runs()
    run.plan.unlink()
    assert cli("plan", "cohort.h5")[0] == 0
    assert list_runs() == [run]
    assert modes(run.root) == {(True, 0o700), (False, 0o600)}


@pytest.mark.parametrize("spoil", ["link", "open", "foreign"])
def test_an_empty_folder_of_others_becomes_no_run(cli: Run, here: Path, spoil: str) -> None:
    cli(*PACK)
    cli("plan", "cohort.h5")
    (run,) = list_runs()
    shutil.rmtree(run.root)
    theirs = run.root
    if spoil == "link":
        theirs = here / "elsewhere"
        run.root.symlink_to(theirs)
    theirs.mkdir(mode=0o700)
    if spoil == "open":
        theirs.chmod(0o777)
    if spoil == "foreign":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(theirs, 65534, -1)
    assert cli("plan", "cohort.h5")[0] == 0
    assert list_runs()[0].root.name == f"{run.root.name}-2"
    assert list(theirs.iterdir()) == []


def test_a_run_that_exists_can_be_shared_and_stays_so(cli: Run, here: Path) -> None:
    cli(*PACK)
    cli("plan")
    assert modes(here / "runs") == {(True, 0o700), (False, 0o600)}
    (here / "msbatch.toml").write_text(f'[paths]\nshare = "{GROUP}"\n')
    cli("plan")
    (here / "msbatch.toml").unlink()
    cli("plan", "--backbones", "swin,resnet50")
    (run,) = list_runs()
    assert modes(run.root) == {(True, 0o2750), (False, 0o640)}
    assert "swin" in run.plan.read_text()


@pytest.mark.parametrize("command", [PACK, ("plan", "cohort.h5"), ("submit", "--local"), ("probe",)])
def test_a_group_of_others_is_refused_before_anything_is_written(
    cli: Run, here: Path, command: tuple[str, ...]
) -> None:
    before = set(here.iterdir())
    code, _, error = cli(*command, "--share", "nobodys")
    assert code == 1
    assert "This machine has no group nobodys" in error
    assert set(here.iterdir()) == before


@pytest.mark.slow
def test_a_group_can_read_all_that_tasks_and_tables_make(cli: Run, here: Path) -> None:
    cli(*PACK)
    (here / "msbatch.toml").write_text("[training]\nsteps = 6\neval_every = 3\ninput_px = 32\nbatch_size = 8\n")
    train = ("submit", "--local", "--backbones", "test_vit", "--no-pretrained", "--folds", "0", "--processes", "2")
    assert cli(*train, "--share", GROUP)[0] == 3
    assert cli("report", "--allow-partial")[0] == 0
    (run,) = list_runs()
    assert (run.results / "report.html").is_file()
    assert modes(run.root) == {(True, 0o2750), (False, 0o640)}

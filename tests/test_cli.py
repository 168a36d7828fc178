"""The commands as a person types them: what they print, what they leave behind, and their exit codes."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from commands import QUICK, Run
from sif_files import LABELS, install_stand_in, write_sif

from msbatch.cli.app import COMMANDS
from msbatch.layout import list_runs
from msbatch.plan import load_plan
from msbatch.results.boards import CURVES
from msbatch.results.curves import read_curves
from msbatch.settings_file import load_settings


@pytest.fixture
def study(tmp_path: Path, cohort_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a packed cohort the current one."""
    shutil.copy(cohort_folder / "cohort.h5", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_names_every_command_and_every_exit_code(cli: Run) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for word in (*COMMANDS, "130", "_MSBATCH_COMPLETE"):
        assert word in out


GROUPS = {"key": ("new",), "weights": ("get", "list", "check"), "container": ("build", "check")}
PLAIN = [[name] for name in COMMANDS if name not in GROUPS]


@pytest.mark.parametrize("command", PLAIN + [[name, verb] for name, verbs in GROUPS.items() for verb in verbs])
def test_every_command_explains_itself_with_an_example(cli: Run, command: list[str]) -> None:
    code, out, _ = cli(*command, "-h")
    assert code == 0
    assert f"  msbatch {' '.join(command)}" in out


def test_wrong_usage_is_2(cli: Run) -> None:
    code, _, error = cli("pack", "images")
    assert code == 2
    assert "--table" in error
    assert cli("brew")[0] == 2


def test_shell_completion_knows_the_commands() -> None:
    environment = {**os.environ, "_MSBATCH_COMPLETE": "bash_complete", "COMP_WORDS": "msbatch red", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "import sys; sys.argv = ['msbatch']; from msbatch.cli import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,reduce"]


def test_init_writes_settings_that_are_the_defaults_and_keeps_what_is_there(cli: Run, study: Path) -> None:
    defaults = load_settings(study / "absent.toml")
    assert cli("init")[0] == 0
    assert load_settings(study / "msbatch.toml") == defaults
    (study / "msbatch.toml").write_text("# mine\n")
    code, _, error = cli("init")
    assert code == 1
    assert error.startswith("Error: msbatch.toml exists already.")
    assert (study / "msbatch.toml").read_text() == "# mine\n"


def test_pack_reports_what_it_packed(cli: Run, cohort_folder: Path, tmp_path: Path) -> None:
    images, table, store = cohort_folder / "images", cohort_folder / "cohort.csv", tmp_path / "new.h5"
    code, out, error = cli("pack", str(images), "--table", str(table), "-o", str(store), "--size", "48")
    assert code == 0
    assert "4 patients" in out
    assert "24 of 24 images" in error
    before = store.read_bytes()
    code, _, error = cli("pack", str(images), "--table", str(table), "-o", str(store))
    assert code == 1
    assert "--overwrite" in error
    assert store.read_bytes() == before


def test_inspect_gives_tables_json_and_a_picture(cli: Run, study: Path) -> None:
    code, out, _ = cli("inspect", "cohort.h5")
    assert code == 0
    assert "P00" in out
    facts = json.loads(cli("inspect", "--json")[1])
    assert [patient["patient"] for patient in facts["patients"]] == ["P00", "P01", "P02", "P03"]
    assert cli("inspect", "cohort.h5", "--montage", "montage.png")[0] == 0
    assert (study / "montage.png").read_bytes().startswith(b"\x89PNG")


def test_plan_shows_folds_and_saves_them(cli: Run, study: Path) -> None:
    code, out, _ = cli("plan", "cohort.h5", "--backbones", "swin,test_vit", "--threads", "2")
    assert code == 0
    plan = load_plan(list_runs(study / "runs")[-1].plan)
    assert plan.compute.threads == 2
    for fold in plan.folds:
        assert any(line.split()[:2] == [f"{fold.number:02d}", fold.held_out] for line in out.splitlines())
    assert "swin_tiny_patch4_window7_224: tasks 0 to 3" in out
    assert "test_vit: tasks 4 to 7" in out
    shown = json.loads(cli("plan", "--backbones", "swin,test_vit", "--json")[1])
    assert shown["folds"] == plan.model_dump(mode="json")["folds"]
    assert len(list_runs(study / "runs")) == 1


def test_flags_go_over_the_environment_and_that_over_the_file(
    cli: Run, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study / "msbatch.toml").write_text("[plan]\nseed = 1\nval_patients = 0\n[compute]\nthreads = 5\n")
    monkeypatch.setenv("MSBATCH_PLAN_SEED", "2")
    monkeypatch.setenv("MSBATCH_PLAN_VAL_PATIENTS", "1")
    plan = json.loads(cli("plan", "--seed", "3", "--json")[1])
    assert plan["seed"] == 3
    assert {len(fold["validation"]) for fold in plan["folds"]} == {1}
    assert plan["compute"]["threads"] == 5


def test_a_misspelt_setting_is_named(cli: Run, study: Path) -> None:
    (study / "msbatch.toml").write_text("[training]\nstep = 3\n")
    code, _, error = cli("plan")
    assert code == 1
    assert "training.step" in error
    assert "The nearest is steps" in error
    assert len(error.splitlines()) == 2


def test_a_dry_run_shows_the_folds_and_writes_nothing(cli: Run, study: Path) -> None:
    code, out, _ = cli("submit", "--dry-run")
    assert code == 0
    assert "4 folds" in out
    assert sorted(path.name for path in study.iterdir()) == ["cohort.h5"]


@pytest.mark.usefixtures("study")
def test_a_dry_run_says_when_gpus_are_better_not_shared(cli: Run) -> None:
    def shown(*options: str) -> str:
        return cli("submit", "--dry-run", "--runtime", "none", "--no-pretrained", *options)[1]

    assert "one GPU per task" in shown("--device", "cuda")
    assert "4 GPUs share each task" in shown("--device", "cuda", "--processes", "4")
    assert "GPU per task" not in shown("--processes", "4")


def test_a_dry_run_looks_at_the_image_and_leaves_nothing_beside_it(
    cli: Run, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_stand_in(study / "programs", monkeypatch)
    write_sif(study / "msbatch.sif", LABELS)
    code, _, error = cli("submit", "--dry-run", "--no-pretrained")
    assert code == 0
    assert "Not ready yet" not in error
    assert sorted(path.name for path in study.iterdir()) == ["cohort.h5", "msbatch.sif", "programs"]
    assert "colon in its name" in cli("submit", "--dry-run", "--no-pretrained", "--image", "a:b.sif")[2]


def test_submit_without_a_cluster_points_to_local(cli: Run, study: Path) -> None:
    code, _, error = cli("submit")
    assert code == 1
    assert "--local" in error
    assert not (study / "runs").exists()


@pytest.mark.usefixtures("study")
def test_a_run_that_is_not_there_is_said_so(cli: Run) -> None:
    for command in ("status", "reduce", "report", "tensorboard"):
        code, _, error = cli(command)
        assert code == 1
        assert "There is no run under runs/" in error
    assert "is not a run" in cli("status", "cohort.h5")[2]


@pytest.mark.usefixtures("study")
def test_nothing_trained_is_incomplete(cli: Run) -> None:
    cli("plan")
    code, out, error = cli("reduce")
    assert code == 3
    assert "fold 00" in out
    assert error.startswith("Error: ")
    assert cli("reduce", "--allow-partial")[0] == 0
    assert json.loads(cli("reduce", "--allow-partial", "--json")[1])["complete"] is False


def test_a_report_of_nothing_trained_is_incomplete_and_there(cli: Run, study: Path) -> None:
    cli("plan")
    code, out, error = cli("report")
    assert code == 3
    assert error.startswith("Error: Folds are missing")
    page, verdict = out.splitlines()
    assert "Partial: 4 of 4 folds are missing" in (study / page).read_text()
    assert verdict.endswith("(The missing folds took no part in this.)") or verdict.startswith("No verdict")
    assert f"msbatch submit --run {Path(page).parents[1]} --local" in error
    assert cli("report", "--allow-partial")[0] == 0


@pytest.mark.usefixtures("study")
def test_a_run_and_a_store_do_not_go_together(cli: Run) -> None:
    cli("plan")
    (run,) = Path("runs").iterdir()
    code, _, error = cli("submit", "cohort.h5", "--run", str(run), "--local")
    assert code == 2
    assert "--run and a store do not go together" in error


@pytest.mark.usefixtures("study")
def test_a_fold_that_does_not_exist_is_refused(cli: Run) -> None:
    code, _, error = cli("submit", "--local", "--folds", "0,9")
    assert code == 1
    assert "There is no fold 9: folds are 0 to 3" in error
    assert cli("submit", "--local", "--folds", "0,x")[0] == 2


def test_a_folder_that_cannot_be_written_is_an_error_and_no_traceback(cli: Run, study: Path) -> None:
    (study / "runs").symlink_to("/proc")
    code, _, error = cli("plan")
    assert code == 1
    assert error.startswith("Error: ")


@pytest.mark.slow
def test_a_study_from_training_to_tensorboard(cli: Run, study: Path) -> None:
    (study / "msbatch.toml").write_text(QUICK)
    code, out, _ = cli("submit", "--local", "--folds", "0,3")
    assert code == 3
    (run,) = list_runs(study / "runs")
    assert f"msbatch tensorboard {run.root.relative_to(study)}" in out
    told = json.loads(cli("status", "--json")[1])
    assert [task["phase"] for task in told["tasks"]] == ["done", "waiting", "waiting", "done"]
    assert told["counts"] == {"done": 2, "waiting": 2}
    assert "2 of 4 tasks done" in cli("status")[1]
    with (run.results / "folds.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {row["fold"] for row in rows} >= {"0", "3"}
    curves = [read_curves(run.task("test_vit", fold)).curves for fold in (0, 3)]
    assert all(set(CURVES) <= set(own) for own in curves)
    wanted = {"folds/test_vit/fold-00", "folds/test_vit/fold-03"}
    assert wanted <= tensorboard_runs(study, wanted)


@pytest.mark.usefixtures("study")
def test_a_backbone_that_does_not_exist_fails_its_tasks_by_name(cli: Run) -> None:
    code, _, error = cli("submit", "--local", "--folds", "1", "--backbones", "resnet51", "--no-pretrained")
    assert code == 3
    assert "resnet51 fold 01: timm knows no backbone named resnet51" in error
    code, out, _ = cli("status")
    assert code == 0
    assert "timm knows no backbone named resnet51" in out


def tensorboard_runs(folder: Path, wanted: set[str]) -> set[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "msbatch", "tensorboard", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            assert f"http://127.0.0.1:{port}" in server.stdout.readline()
            assert f"http://127.0.0.1:{port}/?smoothing=0&" in server.stdout.readline()
            assert f"http://127.0.0.1:{port}/#custom_scalars&regexInput=summary" in server.stdout.readline()
            return first_answer(f"http://127.0.0.1:{port}/data/runs", wanted)
        finally:
            server.send_signal(signal.SIGKILL)


def first_answer(url: str, wanted: set[str]) -> set[str]:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310
                found = set(json.load(answer))
        except OSError:
            found = set()
        if wanted <= found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.mark.usefixtures("study")
def test_missing_weights_stop_a_study_before_its_first_task(cli: Run) -> None:
    code, _, error = cli("submit", "--local", "--backbones", "swin")
    assert code == 1
    assert "looked for" in error
    assert "msbatch weights get swin_tiny_patch4_window7_224" in error
    (run,) = list_runs()
    assert not run.tasks.exists()

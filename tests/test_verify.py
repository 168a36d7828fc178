"""Verify names what is damaged or gone, with the command that makes it anew; and that command gives it back."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Run
from runs import make_run, make_store

from msbatch.cli.verify import look_twice
from msbatch.embeddings import Origin, write_embedding
from msbatch.layout import RunDir, list_runs
from msbatch.lock import run_lock
from msbatch.plan import load_plan, save_plan
from msbatch.results.reduce import reduce
from msbatch.results.report.page import write_report
from msbatch.state import Attempt
from msbatch.training.checkpoint import save_checkpoint
from msbatch.verify import Finding, parts

QUICK = """
[plan]
backbones = ["test_vit"]
[training]
batch_size = 8
steps = 4
input_px = 32
tta = false
[weights]
pretrained = false
"""

LABELS = {f"P{number}": [number % 2] * 3 for number in range(6)}
LOGITS = {patient: [2.0 * label - 1 for label in own] for patient, own in LABELS.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a store and a run that has predictions, an embedding, tables and a report."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    looks = {
        patient: (rng.integers(0, 255, (3, 16, 16, 3), np.uint8), rng.normal(size=(3, 17)).astype(np.float32))
        for patient in LABELS
    }
    store = make_store(folder / "cohort.h5", LABELS, looks=looks)
    run = make_run(folder / "run", LABELS, {"resnet50": LOGITS}, store)
    plan = load_plan(run.plan).with_backbones(["resnet50.frozen"])
    save_plan(run.plan, plan)
    for task in plan.tasks:
        Attempt.claim(run.task(task.arm, task.fold)).write(phase="done")
    origin = Origin(plan.store.sha256, 0, "resnet50", "w", 4, "fp32")
    write_embedding(run.task("resnet50.frozen", 0), np.zeros((3, 2), np.float32), origin, lambda: None)
    write_report(run, reduce(run))
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(made / "run", tmp_path / "run")))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def told(cli: Run, target: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """Give the exit code, and each finding by the name of its file."""
    code, out, _ = cli("verify", str(target), "--json")
    found = json.loads(out)
    assert found["well"] == (code == 0)
    return code, {Path(each["path"]).name: each for each in found["findings"]}


def bad(findings: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: each["state"] for name, each in findings.items() if each["state"] != "note"}


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def embed_all(run: RunDir) -> None:
    """Give the other folds of the frozen backbone an embedding as well."""
    plan = load_plan(run.plan)
    for fold in range(1, 6):
        origin = Origin(plan.store.sha256, fold, "resnet50", "w", 4, "fp32")
        write_embedding(run.task("resnet50.frozen", fold), np.zeros((3, 2), np.float32), origin, lambda: None)


def test_a_run_as_it_was_written_is_well_and_stays_as_it_is(run: RunDir, cli: Run) -> None:
    embed_all(run)
    before = contents(run.root)
    code, out, error = cli("verify", str(run.root))
    assert code == 0
    assert out.splitlines()[-1].endswith("nothing damaged or missing.")
    assert "verifying" in error
    assert contents(run.root) == before


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("tasks/resnet50/fold-02/predictions.csv", "rm .*/fold-02/predictions.json && msbatch submit --run .* --local"),
        ("tasks/resnet50/fold-02/predictions.json", "rm .*/fold-02/predictions.json && msbatch submit --run"),
        ("tasks/resnet50/fold-02/state.json", "rm .*/state.json"),
        ("tasks/resnet50.frozen/fold-00/embedding.npy", "rm .*/embedding.json && msbatch submit --run"),
        ("results/cells.csv", "msbatch reduce"),
        ("results/verdict.json", "msbatch reduce"),
        ("results/report.html", "msbatch report"),
        ("results/figures/confusion.csv", "msbatch report"),
        ("plan.json", "msbatch plan"),
    ],
)
def test_what_is_damaged_is_named_with_what_makes_it_anew(run: RunDir, cli: Run, name: str, remedy: str) -> None:
    embed_all(run)
    path = run.root / name
    if name.startswith("results/figures/"):
        path = next(iter(sorted(path.parent.glob("*.csv"))))
    path.write_bytes(b"\xff" + path.read_bytes()) if path.suffix == ".json" else flip(path)
    before = contents(run.root)
    code, findings = told(cli, run.root)
    assert code == 1
    (found,) = [each for each in findings.values() if each["state"] == "damaged"]
    assert str(path) in found["problem"]
    assert re.match(remedy, found["remedy"])
    assert str(path) in cli("verify", str(run.root))[1]
    assert contents(run.root) == before


def test_what_is_gone_is_named(run: RunDir, cli: Run) -> None:
    embed_all(run)
    run.task("resnet50", 1).predictions.unlink()
    (run.results / "folds.csv").unlink()
    code, findings = told(cli, run.root)
    assert (code, bad(findings)) == (1, {"predictions.csv": "missing", "folds.csv": "missing"})
    assert findings["predictions.csv"]["remedy"] == f"msbatch submit --run {run.root} --local"


def test_on_a_cluster_a_damaged_task_is_run_again_there(run: RunDir, cli: Run) -> None:
    embed_all(run)
    (run.jobs / "one").mkdir(parents=True)
    (run.jobs / "one" / "launch.conf").touch()
    flip(run.task("resnet50", 2).predictions)
    wanted = f"msbatch rerun {run.root} --folds 2 --backbones resnet50 --fresh"
    assert told(cli, run.root)[1]["predictions.csv"]["remedy"] == wanted


def test_a_damaged_checkpoint_is_named_and_one_without_a_hash_is_a_note(run: RunDir, cli: Run) -> None:
    embed_all(run)
    run.task("resnet50", 0).manifest.unlink()
    Attempt.claim(run.task("resnet50", 0)).write(phase="running")
    folder = run.task("resnet50", 0).checkpoints
    for step in (1, 2):
        save_checkpoint(folder, step, {"step": step}, lambda: None)
    assert told(cli, run.root)[0] == 0
    (folder / "step-0000002.sha256").unlink()
    code, findings = told(cli, run.root)
    assert (code, findings["step-0000002.pt"]["state"]) == (0, "note")
    flip(folder / "step-0000001.pt")
    assert bad(told(cli, run.root)[1]) == {"step-0000001.pt": "damaged"}


def test_a_checkpoint_that_a_task_removes_meanwhile_is_no_damage(run: RunDir) -> None:
    run.task("resnet50", 0).manifest.unlink()
    folder = run.task("resnet50", 0).checkpoints
    for step in (1, 2):
        save_checkpoint(folder, step, {"step": step}, lambda: None)
    plan = load_plan(run.plan)
    looked = []
    for finding in (finding for part in parts(run, plan) for finding in part()):
        looked.append(finding)
        if finding.path.parent == folder:
            (folder / "step-0000002.pt").unlink(missing_ok=True)
    assert [finding.state for finding in looked if finding.path.parent == folder] == ["ok"]


def test_what_a_writer_moves_between_two_looks_is_looked_at_again(tmp_path: Path) -> None:
    later = [tmp_path / "moved.csv", tmp_path / "gone.csv"]

    def read() -> Iterator[Finding]:
        later[0].touch() if seen else seen.append(1)
        for path in later:
            yield Finding(path) if path.exists() else Finding(path, "missing", f"{path} is gone.")

    def open_it() -> Iterator[Finding]:
        yield Finding(later[1], problem=later[1].read_text())

    seen: list[int] = []
    found = look_twice([read, open_it], lambda _n: None)
    assert [(finding.path, finding.state) for finding in found] == [
        (later[0], "ok"),
        (later[1], "missing"),
        (later[1], "missing"),
    ]


def test_a_plan_that_was_edited_is_not_the_one_its_run_was_named_by(run: RunDir, cli: Run) -> None:
    plan = load_plan(run.plan)
    named = RunDir(run.root.rename(run.root.with_name(f"2026-01-01-{plan.signature[:8]}")))
    embed_all(named)
    assert told(cli, named.root)[0] == 0
    save_plan(named.plan, plan.model_copy(update={"seed": 1}))
    assert bad(told(cli, named.root)[1])["plan.json"] == "damaged"


def test_what_was_never_there_is_no_damage(cli: Run, tmp_path: Path) -> None:
    code, _, error = cli("verify", str(tmp_path / "cohort.h5"))
    assert (code, error.splitlines()[0]) == (1, f"Error: {tmp_path / 'cohort.h5'} does not exist.")


def test_records_that_are_gone_are_told(run: RunDir, cli: Run) -> None:
    embed_all(run)
    (run.jobs / "one").mkdir(parents=True)
    (run.jobs / "one" / "launch.conf").touch()
    run.submissions.touch()
    code, findings = told(cli, run.root)
    assert (code, findings["settings.toml"]["state"]) == (0, "note")
    run.submissions.unlink()
    code, findings = told(cli, run.root)
    assert (code, bad(findings)) == (1, {"submissions.jsonl": "missing"})


def test_a_run_of_before_there_were_hashes_is_well(run: RunDir, cli: Run) -> None:
    embed_all(run)
    (run.results / "SHA256SUMS").unlink()
    code, findings = told(cli, run.root)
    assert code == 0
    assert "No hash" in findings["results"]["problem"]


def test_a_report_that_is_older_than_the_tables_is_a_note(run: RunDir, cli: Run) -> None:
    embed_all(run)
    reduce(run)
    code, findings = told(cli, run.root)
    assert code == 0
    assert findings["report.html"]["remedy"] == f"msbatch report {run.root}"


def test_a_command_that_serves_several_files_is_given_once(run: RunDir, cli: Run) -> None:
    shutil.rmtree(run.tasks)
    _, said, _ = cli("verify", str(run.root))
    assert said.count("is not done yet") > 1
    assert said.count("msbatch submit") == 1


def test_a_task_that_is_not_done_is_no_damage(run: RunDir, cli: Run) -> None:
    shutil.rmtree(run.tasks)
    code, findings = told(cli, run.root)
    assert code == 0
    assert findings["fold-00"]["problem"].endswith("is not done yet.")


def test_leftovers_are_noted(run: RunDir, cli: Run) -> None:
    embed_all(run)
    (run.results / ".cells.csv.tmp.0123").touch()
    gone = subprocess.run(["true"], check=True)
    (run.root / "submit.lock").write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22 + gone.returncode}))
    with run_lock(run.reduce_lock):
        code, findings = told(cli, run.root)
    assert code == 0
    assert "half-written" in findings[".cells.csv.tmp.0123"]["problem"]
    assert "a process that is gone" in findings["submit.lock"]["problem"]
    assert "is held" in findings["reduce.lock"]["problem"]
    reduce(run)
    assert not (run.results / ".cells.csv.tmp.0123").exists()


def test_sha256sum_reads_the_hashes_of_the_results(run: RunDir) -> None:
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=run.results, check=False).returncode == 0


@pytest.fixture
def store(cohort_folder: Path, tmp_path: Path) -> Path:
    for name in ("cohort.h5", "cohort.h5.sha256"):
        shutil.copy(cohort_folder / name, tmp_path)
    return tmp_path / "cohort.h5"


def damage_pixels(store: Path) -> None:
    flip(store)


def truncate(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:-1000])


def lose(store: Path) -> None:
    store.unlink()


@pytest.mark.parametrize(("spoil", "state"), [(damage_pixels, "damaged"), (truncate, "damaged"), (lose, "missing")])
def test_a_spoilt_store_is_named(store: Path, cli: Run, spoil: Callable[[Path], None], state: str) -> None:
    assert told(cli, store)[0] == 0
    spoil(store)
    code, findings = told(cli, store)
    assert (code, findings["cohort.h5"]["state"]) == (1, state)
    assert findings["cohort.h5"]["remedy"].startswith("msbatch pack")


def test_a_store_without_its_hash_is_read_all_the_same(store: Path, cli: Run) -> None:
    (store.parent / "cohort.h5.sha256").unlink()
    code, findings = told(cli, store)
    assert code == 0
    assert "cannot be checked" in findings["cohort.h5.sha256"]["problem"]


# What the files of a finished run are: made anew, byte for byte, by the commands below; or not, and why.
DERIVED = ("results/", "tasks/test_vit/fold-0*/predictions.*", "tasks/test_vit/fold-0*/weights.safetensors")
RECORDS = ("plan.json", "settings.toml", "environment.json", "submissions.jsonl", "tasks/*/*/attempts/*")
VARYING = (
    "tasks/*/*/log",
    "tasks/*/*/tensorboard/*",
    "tasks/*/*/state.json",
    "results/tensorboard/*",
    "jobs/*",
    "code/*",
)


def of(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.match(pattern.replace(".", r"\.").replace("*", ".*"), name) for pattern in patterns)


def msbatch(folder: Path, words: str) -> str:
    command = [sys.executable, "-m", "msbatch", *shlex.split(words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def derived(run: RunDir) -> dict[str, bytes]:
    files = {path.relative_to(run.root).as_posix(): path for path in run.root.rglob("*") if path.is_file()}
    unknown = [name for name in files if not of(name, (*DERIVED, *RECORDS, *VARYING))]
    assert not unknown, "say of every kind of file whether it can be had again"
    return {name: path.read_bytes() for name, path in files.items() if of(name, DERIVED) and not of(name, VARYING)}


@pytest.mark.slow
def test_every_derived_file_that_is_deleted_comes_back_as_it_was(cohort_folder: Path, tmp_path: Path) -> None:
    shutil.copy(cohort_folder / "cohort.h5", tmp_path)
    (tmp_path / "msbatch.toml").write_text(QUICK)
    msbatch(tmp_path, "submit --local --jobs 2")
    msbatch(tmp_path, "report")
    (run,) = list_runs(tmp_path / "runs")
    before, sums = derived(run), "results/SHA256SUMS"
    settings = run.settings.read_bytes()
    assert "nothing damaged" in msbatch(tmp_path, f"verify {run.root}")
    run.settings.unlink()
    msbatch(tmp_path, "plan")
    assert run.settings.read_bytes() == settings
    for name in before:
        if name.startswith("results/"):
            (run.root / name).unlink()
    msbatch(tmp_path, "report")
    assert derived(run) == before
    run.task("test_vit", 0).predictions.unlink()
    run.task("test_vit", 1).manifest.unlink()
    for path in (run.task("test_vit", 2).weights, run.task("test_vit", 2).manifest):
        path.unlink()
    flip(run.task("test_vit", 3).predictions)
    code = subprocess.run(
        [sys.executable, "-m", "msbatch", "verify", str(run.root), "--json"], capture_output=True, check=False
    )
    remedies = [each["remedy"] for each in json.loads(code.stdout)["findings"] if each["state"] != "note"]
    assert code.returncode == 1
    assert len(remedies) == 4
    run.task("test_vit", 3).manifest.unlink()  # as its remedy says
    msbatch(tmp_path, f"submit --run {run.root} --local --jobs 2")
    msbatch(tmp_path, "report")
    after = derived(run)
    # The event files of a training have the time in them, and so have those of the summaries, whose hashes are here.
    assert {name: own for name, own in after.items() if name != sums} == {
        n: own for n, own in before.items() if n != sums
    }
    assert "nothing damaged" in msbatch(tmp_path, f"verify {run.root}")

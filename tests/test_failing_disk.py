"""A disk that fails, a folder that may not be written, a store that is gone: one or two lines that name the file."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from disks import read_only
from PIL import Image
from runs import make_run, make_store

from msbatch.cohort.features import FEATURES
from msbatch.embeddings import Origin, write_embedding
from msbatch.layout import RunDir, data_dir
from msbatch.plan import load_plan, save_plan
from msbatch.results.reduce import reduce
from msbatch.state import Attempt, read_state

Command = Callable[..., subprocess.CompletedProcess[str]]

LABELS = {f"P{number}": [number % 2] * 5 for number in range(4)}
LOGITS = {patient: [2.0 * label - 1 for label in own] for patient, own in LABELS.items()}
MSBATCH = ("-m", "msbatch")
FOLD, REDUCE = (str(data_dir("jobs") / name) for name in ("fold.py", "reduce.py"))
BROKEN = "Input/output error"
CLOSED = ("Read-only file system", "Permission denied")  # as root and as anybody else


def python(*words: object, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def says(done: subprocess.CompletedProcess[str], path: Path, *words: str) -> None:
    """Check that a command ended in an error of two lines: a file and what is with it, in these words or others."""
    *_, problem, _hint = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert (done.returncode, str(path) in problem) == (1, True), done.stderr
    assert any(each in problem for each in words), done.stderr


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to compile tests/eio.c with")
    shim = tmp_path_factory.mktemp("eio") / "eio.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", shim, Path(__file__).with_name("eio.c"), "-ldl"], check=True)
    return shim


@pytest.fixture
def broken(shim: Path) -> Callable[..., Command]:
    """Give Python on a machine on which a file cannot be read, or only so many bytes of it."""

    def on(path: Path, readable_bytes: int = 0) -> Command:
        return lambda *words: python(*words, LD_PRELOAD=shim, EIO_PATH=path, EIO_FROM=readable_bytes)

    return on


@pytest.fixture
def images(cohort_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cohort_folder, tmp_path / "cohort"))


@pytest.mark.parametrize("readable_bytes", [0, 500])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_the_disk_does_not_give_stops_packing(
    workers: int, readable_bytes: int, images: Path, broken: Callable[..., Command], tmp_path: Path
) -> None:
    image, new = sorted((images / "images").rglob("*.png"))[-1], tmp_path / "new"
    new.mkdir()
    pack = (*MSBATCH, "pack", images / "images", "--table", images / "cohort.csv", "-o", new / "c.h5")
    done = broken(image, readable_bytes)(*pack, "--workers", workers)
    says(done, image, BROKEN)
    assert not list(new.iterdir())


def test_a_tiff_whose_list_of_tags_the_disk_does_not_give_stops_packing(
    images: Path, broken: Callable[..., Command], tmp_path: Path
) -> None:
    image, new = sorted((images / "images").rglob("*.png"))[-1].with_suffix(".tif"), tmp_path / "new"
    new.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(image, compression="tiff_lzw")
    at = int.from_bytes(image.read_bytes()[4:8], "little")
    assert at > noise.size, "the tags lie behind the pixels"
    pack = (*MSBATCH, "pack", images / "images", "--table", images / "cohort.csv", "-o", new / "c.h5")
    says(broken(image, at)(*pack, "--workers", 1), image, BROKEN)
    assert not list(new.iterdir())


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_store_that_the_disk_does_not_give_is_not_said_to_be_damaged(
    share: float, images: Path, broken: Callable[..., Command], tmp_path: Path
) -> None:
    store = images / "cohort.h5"
    readable_bytes = int(share * store.stat().st_size)
    done = broken(store, readable_bytes)(*MSBATCH, "inspect", store, "--montage", tmp_path / "cells.png")
    says(done, store, BROKEN)
    assert len(done.stderr.splitlines()) == 2
    assert "Pack the images again" not in done.stderr
    assert not (tmp_path / "cells.png").exists()


def planned(store: Path, folder: Path) -> RunDir:
    """Draw a plan as a person does."""
    plan = (*MSBATCH, "plan", store, "--backbones", "test_vit", "--no-pretrained")
    done = subprocess.run([sys.executable, *plan], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return RunDir(next(path.parent for path in (folder / "runs").glob("*/plan.json")))


def test_a_task_names_a_store_that_the_disk_does_not_give(
    images: Path, broken: Callable[..., Command], tmp_path: Path
) -> None:
    run, store = planned(images / "cohort.h5", tmp_path), images / "cohort.h5"
    says(broken(store, 1000)(FOLD, run.root, "--task", 0), store, BROKEN)
    state = read_state(run.task("test_vit", 0))
    assert (state.phase, str(store) in state.reason, BROKEN in state.reason) == ("failed", True, True)


def test_a_task_names_the_folder_that_it_may_not_write(images: Path, tmp_path: Path) -> None:
    run = planned(images / "cohort.h5", tmp_path)
    with read_only(run.root):
        done = python(FOLD, run.root, "--task", 0)
    says(done, run.root, *CLOSED)


def test_a_task_names_a_store_that_is_gone(images: Path, tmp_path: Path) -> None:
    run = planned(images / "cohort.h5", tmp_path)
    (images / "cohort.h5").unlink()
    says(python(FOLD, run.root, "--task", 0), images / "cohort.h5", "does not exist")


CHECKPOINTS = """
import sys
from pathlib import Path
from msbatch.training.checkpoint import load_checkpoint, save_checkpoint
for step in (1, 2):
    save_checkpoint(Path(sys.argv[1]), step, {"identity": {}, "step": step}, lambda: None)
print(load_checkpoint(Path(sys.argv[1]), {})["step"])
"""


def test_a_checkpoint_that_the_disk_does_not_give_is_passed_over(
    broken: Callable[..., Command], tmp_path: Path
) -> None:
    done = broken(tmp_path / "step-0000002.pt", 100)("-c", CHECKPOINTS, tmp_path)
    assert done.stdout == "1\n", done.stderr
    assert f"{tmp_path / 'step-0000002.pt'} cannot be read or is damaged" in done.stderr


@pytest.fixture
def predicted(tmp_path: Path) -> RunDir:
    black = np.zeros((5, 64, 64, 3), np.uint8), np.ones((5, len(FEATURES)), np.float32)
    store = make_store(tmp_path / "cohort.h5", LABELS, looks=dict.fromkeys(LABELS, black))
    return make_run(tmp_path / "run", LABELS, {"resnet50": LOGITS}, store)


@pytest.fixture
def embedded(predicted: RunDir) -> RunDir:
    """Give the run a frozen backbone as well."""
    plan = load_plan(predicted.plan).with_backbones(["resnet50.frozen"])
    save_plan(predicted.plan, plan)
    for fold in plan.folds:
        origin = Origin(plan.store.sha256, fold.number, "resnet50", "w", 4, "fp32")
        write_embedding(predicted.task("resnet50.frozen", fold.number), np.eye(5, 4, dtype="f4"), origin, lambda: None)
    return predicted


MADE = (
    "tasks/resnet50/fold-01/predictions.csv",
    "tasks/resnet50/fold-01/predictions.json",
    "tasks/resnet50.frozen/fold-01/embedding.npy",
    "tasks/resnet50.frozen/fold-01/embedding.json",
)


@pytest.mark.parametrize(
    ("reducer", "name"), [*(((*MSBATCH, "reduce"), name) for name in MADE), *(((REDUCE,), name) for name in MADE[:1])]
)
def test_what_a_task_made_and_the_disk_does_not_give_leaves_the_tables_as_they_are(
    reducer: tuple[str, ...], name: str, embedded: RunDir, broken: Callable[..., Command]
) -> None:
    embedded.results.mkdir()
    (embedded.results / "verdict.json").write_text("of before")
    done = broken(embedded.root / name)(*reducer, embedded.root)
    says(done, embedded.root / name, BROKEN)
    assert len(done.stderr.splitlines()) == 2
    assert [path.read_text() for path in embedded.results.iterdir()] == ["of before"]


@pytest.mark.parametrize("name", [*MADE[::2], "results/cells.csv", "results/SHA256SUMS", "plan.json"])
def test_verify_goes_on_after_a_file_that_the_disk_does_not_give(
    name: str, embedded: RunDir, broken: Callable[..., Command]
) -> None:
    reduce(embedded)
    lost = embedded.task("resnet50", 0).predictions
    lost.unlink()
    Attempt.claim(embedded.task("resnet50", 0)).write(phase="done")
    done = broken(embedded.root / name)(*MSBATCH, "verify", embedded.root, "--json")
    found = {each["path"]: each for each in json.loads(done.stdout)["findings"] if each["state"] != "note"}
    unread = found.pop(str(embedded.root / name))
    assert (done.returncode, unread["state"], BROKEN in unread["problem"]) == (1, "unread", True)
    assert "try again later" in unread["remedy"]
    assert list(found) == ([] if name == "plan.json" else [str(lost)]), "nothing can be checked without the plan"


@pytest.mark.parametrize("name", ["cohort.h5", "cohort.h5.sha256"])
def test_verify_says_of_a_store_that_the_disk_does_not_give_that_it_cannot_be_read(
    name: str, images: Path, broken: Callable[..., Command]
) -> None:
    done = broken(images / name)(*MSBATCH, "verify", images / "cohort.h5")
    assert done.returncode == 1
    assert f"unread   {images / name}: {BROKEN}." in done.stdout
    assert "1 unread." in done.stdout
    assert "msbatch pack" not in done.stdout


def test_weights_that_the_disk_does_not_give_are_named(broken: Callable[..., Command], tmp_path: Path) -> None:
    path = tmp_path / "test_vit.safetensors"
    path.write_bytes(b"0" * 2000)
    load = "import sys, pathlib, msbatch.training.weights as w; w.load_weights(pathlib.Path(sys.argv[1]))"
    done = broken(path, 1000)("-c", load, path)
    assert f"DiskError: {path}: {BROKEN}." in done.stderr


@pytest.mark.parametrize("reducer", [(*MSBATCH, "reduce"), (REDUCE,)])
def test_a_reducer_names_the_folder_that_it_may_not_write(reducer: tuple[str, ...], predicted: RunDir) -> None:
    with read_only(predicted.root):
        done = python(*reducer, predicted.root)
    says(done, predicted.root, *CLOSED)


@pytest.mark.parametrize("reducer", [(*MSBATCH, "reduce"), (REDUCE,)])
def test_a_store_that_the_disk_does_not_give_leaves_the_tables_as_they_are(
    reducer: tuple[str, ...], predicted: RunDir, broken: Callable[..., Command]
) -> None:
    store = Path(load_plan(predicted.plan).store.path)
    predicted.results.mkdir()
    (predicted.results / "verdict.json").write_text("of before")
    says(broken(store, 1000)(*reducer, predicted.root), store, BROKEN)
    assert [path.read_text() for path in predicted.results.iterdir()] == ["of before"]


@pytest.mark.parametrize("command", [("inspect",), ("plan", "--backbones", "test_vit"), ("probe",)])
def test_a_store_that_is_not_there_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    store = tmp_path / "cohort.h5"
    done = python(*MSBATCH, command[0], store, *command[1:])
    says(done, store, "does not exist")
    assert len(done.stderr.splitlines()) == 2

"""Every reader of files that others may have written: valid files to begin with, how they are changed, how read."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from broken import BROKEN
from damage import damage_store
from mutate import change_bytes, change_json, change_text, mend_png
from PIL import Image
from runs import make_plan, make_store

from msbatch.cluster.launches import LaunchFolder
from msbatch.cluster.ledger import aside, read_ledger
from msbatch.cohort.labels import LabelRule
from msbatch.cohort.prepare import Preparation, Refusal
from msbatch.cohort.sheet import Columns
from msbatch.cohort.table import CellFile, read_cohort
from msbatch.config import Settings
from msbatch.embeddings import Origin, check_embedding, write_embedding
from msbatch.files import sha256
from msbatch.layout import JobDir, RunDir, TaskDir
from msbatch.lock import is_left_behind
from msbatch.plan import load_plan, save_plan
from msbatch.predictions import Predictions, read_predictions, write_predictions
from msbatch.results.report.paper import read_made
from msbatch.settings_file import load_settings, to_toml
from msbatch.state import Attempt, TaskState, read_attempts, read_state
from msbatch.store import Store
from msbatch.trial import try_store

OUTSIDE = "outside"  # beside the folder of the inputs: nothing there may be opened
IDENTITY = {"signature": "a" * 64, "backbone": "resnet50", "fold": 3}
SPLIT, HASH = b"\n--manifest--\n", b"@sha256@"
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")

Mutate = Callable[[random.Random, bytes, bytes], bytes]


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes
    ----------
    seeds : callable
        Makes valid files in a folder.
    mutate : callable
        Changes one, with another to take pieces of.
    read : callable
        Reads a file as msbatch does, in a folder of its own.
    """

    seeds: Callable[[Path], Sequence[bytes]]
    mutate: Mutate
    read: Callable[[Path, bytes], None]


# --- images -------------------------------------------------------------------------------------------


def _image_seeds(_: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (12, 10, 3)).astype(np.uint8))
    modes = ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16")
    made = [_saved(colour.convert("L" if mode == "I;16" else mode), mode, form) for mode in modes for form in FORMATS]
    grey = np.asarray(colour)[..., 0]
    for options in (
        {"compression": "lzw"},
        {"compression": "deflate", "predictor": True},
        {"compression": "jpeg"},
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"byteorder": ">", "compression": "packbits"},
        {"photometric": "miniswhite"},
        {"compression": "zstd", "rowsperstrip": 3},
    ):
        out = io.BytesIO()
        tifffile.imwrite(out, grey, **options)
        made.append(out.getvalue())
    return [data for data in made if data]


def _saved(image: Image.Image, mode: str, form: str) -> bytes:
    out = io.BytesIO()
    try:
        (image.convert("I;16") if mode == "I;16" else image).save(out, form)
    except (OSError, ValueError, KeyError):
        return b""
    return out.getvalue()


def _mutate_image(rng: random.Random, data: bytes, other: bytes) -> bytes:
    changed = change_bytes(rng, data, other)
    return mend_png(changed) if rng.random() < 0.8 else changed


def _read_image(folder: Path, data: bytes) -> None:
    (folder / "cell.png").write_bytes(data)
    preparation = Preparation(folder, 16, "pad")
    preparation.extent(CellFile("cell.png", 0))
    made = preparation.cell(CellFile("cell.png", 0))
    if not isinstance(made, Refusal):
        cell, canvas = made
        assert (canvas.shape, canvas.dtype) == ((16, 16, 3), np.uint8)
        assert max(cell.extent) <= preparation.max_side_px
        assert np.isfinite(cell.features).all()


# --- tables and settings --------------------------------------------------------------------------------


def _table_seeds(_: Path) -> list[bytes]:
    return [
        b"patient,label,sex,age\nA,ms,f,30\nB,control,m,40\n",
        b'\xef\xbb\xbfid;class;note\r\nA;1;"a;\nb"\r\nB;0;\r\n',
        b"path\tpatient\tlabel\nA/0.png\tA\tms\nA/1.png\tA\tcontrol\nB/0.png\tB\tms\n",
    ]


def _read_table(folder: Path, data: bytes) -> None:
    images, table = folder / "images", folder / "cohort.csv"
    for name in ("A/0.png", "A/1.png", "B/0.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    table.write_bytes(data)
    cohort = read_cohort(images, table, Columns(), LabelRule())
    for patient in cohort.patients:
        assert all((images / file.path).resolve().is_relative_to(images.resolve()) for file in patient.files)
        assert patient.identifier.strip("/.\\") == patient.identifier or "/" not in patient.identifier


def _settings_seeds(_: Path) -> list[bytes]:
    return [to_toml(Settings()).encode(), b'[plan]\nbackbones = ["swin"]\nseed = 3\n[cluster]\ntime_min = 10\n']


def _read_settings(folder: Path, data: bytes) -> None:
    (folder / "msbatch.toml").write_bytes(data)
    settings = load_settings(folder / "msbatch.toml")
    to_toml(settings)
    json.dumps(settings.scientific())


# --- store and plan -----------------------------------------------------------------------------------


def _store_seeds(folder: Path) -> list[bytes]:
    looks = {name: (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 17), np.float32)) for name in "AB"}
    path = make_store(folder / "seed.h5", {"A": [0, 0], "B": [1, 1]}, {"A": {"sex": "f"}}, looks)
    made = [path.read_bytes()]  # without checksums in its structure, so that changed bytes get far
    with h5py.File(path) as old, h5py.File(folder / "new.h5", "w", libver=("v110", "v110")) as new:
        new.attrs.update(dict(old.attrs))
        old.copy("patients", new)
    return [*made, (folder / "new.h5").read_bytes()]


def _read_store(folder: Path, data: bytes) -> None:
    (folder / "cohort.h5").write_bytes(data)
    with Store(folder / "cohort.h5") as store:
        facts: list[Any] = [store.classes, store.size, store.settings, store.feature_names, store.level]
        for patient in store.patients:
            facts += [store.label(patient), store.attributes(patient), store.cells(patient)]
            assert len(store.images(patient)) == len(store.labels(patient)) == len(store.extents(patient))
            facts += [store.features(patient), store.some_images(patient, [0]), store.images_offset(patient)]


def _read_store_after_a_trial(folder: Path, data: bytes) -> None:
    (folder / "cohort.h5").write_bytes(data)
    try_store(folder / "cohort.h5")
    _read_store(folder, data)


def _plan_seeds(folder: Path) -> list[bytes]:
    made = []
    for labels in ({"A": [0], "B": [1], "C": [0, 0], "D": [1]}, {"A": [0, 1], "B": [1], "C": [0], "D": [1, 1]}):
        save_plan(folder / "plan.json", make_plan(labels, ("resnet50", "swin.frozen")).with_seeds(2))
        made.append((folder / "plan.json").read_bytes())
    return made


def _read_plan(folder: Path, data: bytes) -> None:
    run = RunDir(folder / "run")
    run.root.mkdir(exist_ok=True)
    run.plan.write_bytes(data)
    plan = load_plan(run.plan)
    for task in plan.tasks:
        own = run.task(task.arm, task.fold).root
        assert own.parent.parent == run.tasks
        assert run.tasks.resolve() in own.resolve().parents
        assert not own.exists()
        json.dumps(plan.identity(task))
        plan.fold_of(task)
    save_plan(folder / "again.json", plan)
    assert load_plan(folder / "again.json") == plan


# --- what tasks leave -----------------------------------------------------------------------------------


def _vouched(folder: Path, data: bytes, names: tuple[str, str]) -> None:
    content, _, manifest = data.partition(SPLIT)
    (folder / names[0]).write_bytes(content)
    (folder / names[1]).write_bytes(manifest.replace(HASH, sha256(folder / names[0]).encode()))


def _pair(content: Path, manifest: Path) -> bytes:
    return content.read_bytes() + SPLIT + manifest.read_bytes().replace(sha256(content).encode(), HASH)


def _mutate_pair(change: Mutate) -> Mutate:
    def mutate(rng: random.Random, data: bytes, other: bytes) -> bytes:
        content, _, manifest = data.partition(SPLIT)
        if rng.random() < 0.6:
            content = change(rng, content, other)
        else:
            manifest = change_json(rng, manifest, other)
        return content + SPLIT + manifest

    return mutate


def _predictions_seeds(folder: Path) -> list[bytes]:
    task = TaskDir(folder)
    write_predictions(task, Predictions("A", np.array([0, 1], np.uint8), np.array([0.5, -2e9])), IDENTITY, lambda: None)
    return [_pair(task.predictions, task.manifest)]


def _read_predictions(folder: Path, data: bytes) -> None:
    _vouched(folder, data, ("predictions.csv", "predictions.json"))
    found = read_predictions(TaskDir(folder), IDENTITY)
    assert len(found.labels) == len(found.logits) == len(found.probabilities)
    assert np.isfinite(found.logits).all()


def _embedding_seeds(folder: Path) -> list[bytes]:
    task = TaskDir(folder)
    origin = Origin("a" * 64, 3, "resnet50", "b" * 64, 128, "fp32")
    write_embedding(task, np.ones((3, 2), np.float32), origin, lambda: None)
    return [_pair(task.embedding, task.embedding_manifest)]


def _read_embedding(folder: Path, data: bytes) -> None:
    _vouched(folder, data, ("embedding.npy", "embedding.json"))
    _, shape = check_embedding(TaskDir(folder))
    values = np.load(folder / "embedding.npy", allow_pickle=False)
    assert (values.shape, values.dtype) == (shape, np.float32)


def _record_seeds(folder: Path) -> list[bytes]:
    attempt = Attempt.claim(TaskDir(folder / "seeds"), "/runs/a/jobs/b/launches/7_1.0", 40)
    events = [
        {"event": "submitting", "name": "a", "kind": "fold", "folder": "jobs/a", "tasks": [0, 1]},
        {"event": "submitted", "name": "a", "job": "7"},
        {"event": "aside", "places": [[0, "earlier"]]},
        {"event": "put back", "tasks": [0]},
        {"event": "refused", "name": "a", "reason": "no"},
    ]
    end = {"exit": 0, "cause": "", "requeued": False, "host": "n", "started": 1, "ended": 2}
    made = {"packages": {"numpy": "2"}, "git": {"commit": "a", "changed": True}, "python": "3.11", "msbatch": "0.1.0"}
    return [
        json.dumps(TaskState(phase="running", step=3).model_dump()).encode(),
        (attempt.task.attempts / "0001").read_bytes(),
        "\n".join(map(json.dumps, events)).encode(),
        json.dumps(end).encode(),
        json.dumps(made).encode(),
        json.dumps({"host": "elsewhere", "pid": 1}).encode(),
    ]


def _mutate_record(rng: random.Random, data: bytes, other: bytes) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = change_json(rng, lines[place], other)
    return b"\n".join(lines)


def _read_record(folder: Path, data: bytes) -> None:
    run, task, job = RunDir(folder), TaskDir(folder), JobDir(folder)
    files = (task.state, task.attempts / "0001", run.submissions, job.launch("7_1", 0).end, run.local_lock)
    for path in (*files, run.environment):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    for record in read_attempts(task):
        assert record.number == 1
        _ = record.job, record.files, record.preempted
    LaunchFolder(job).evidence("7_1")
    for entry in read_ledger(run):
        _ = entry.elements, [entry.element(number) for number in entry.tasks if entry.job]
    aside(run)
    is_left_behind(run.local_lock)
    made = read_made(run)
    _ = made.versions, made.commit, ", ".join([*made.images, *made.codes])
    read_state(task)


# --- weights --------------------------------------------------------------------------------------------


def _weights_seeds(_: Path) -> list[bytes]:
    import safetensors.torch
    import torch

    import msbatch.training.checkpoint  # the first import takes long
    import msbatch.training.weights  # noqa: F401

    state = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2, dtype=torch.int64)}
    made = [safetensors.torch.save(state)]
    for content in (state, {"identity": IDENTITY, "step": 1, "model": state}):
        for new in (True, False):
            out = io.BytesIO()
            torch.save(content, out, _use_new_zipfile_serialization=new)
            made.append(out.getvalue())
    return made


def _read_weights(folder: Path, data: bytes) -> None:
    from msbatch.errors import MsbatchError
    from msbatch.training.checkpoint import load_checkpoint
    from msbatch.training.weights import load_weights

    checkpoint = folder / "checkpoints" / "step-0000001.pt"
    checkpoint.parent.mkdir(exist_ok=True)
    for path in (folder / "a.safetensors", folder / "a.pth", checkpoint):
        path.write_bytes(data)
    checkpoint.with_suffix(".sha256").write_text(sha256(checkpoint))
    for read in (
        lambda: load_weights(folder / "a.safetensors"),
        lambda: load_weights(folder / "a.pth"),
        lambda: load_checkpoint(checkpoint.parent, IDENTITY),
    ):
        try:
            read()
        except MsbatchError:
            continue


def readers(folder: Path) -> dict[str, Reader]:
    """Give all readers by name; `folder` is for what changing a store needs."""
    whole = _store_seeds(folder)

    def mutate_store(rng: random.Random, data: bytes, other: bytes) -> bytes:
        if rng.random() < 0.6:
            data = damage_store(rng, rng.choice(whole), folder / "scratch.h5", folder.parent / OUTSIDE)
            return data if rng.random() < 0.8 else change_bytes(rng, data, other)
        return change_bytes(rng, data, other)

    return {
        "image": Reader(_image_seeds, _mutate_image, _read_image),
        "table": Reader(_table_seeds, change_text, _read_table),
        "store": Reader(_store_seeds, mutate_store, _read_store),
        "store-after-a-trial": Reader(_store_seeds, mutate_store, _read_store_after_a_trial),
        "plan": Reader(_plan_seeds, change_json, _read_plan),
        "settings": Reader(_settings_seeds, change_text, _read_settings),
        "predictions": Reader(_predictions_seeds, _mutate_pair(change_text), _read_predictions),
        "embedding": Reader(_embedding_seeds, _mutate_pair(change_bytes), _read_embedding),
        "records": Reader(_record_seeds, _mutate_record, _read_record),
        "weights": Reader(_weights_seeds, change_bytes, _read_weights),
        **{name: Reader(lambda _: [b""], change_bytes, read) for name, read in BROKEN.items()},
    }

"""Time and memory of the reducer and the report: ``PYTHONPATH=tests python tests/benchmarks/reduce.py 30 500``.

Arguments are patients, cells of each, and pixels of a side (128). Two backbones; images are noise of each patient's
own brightness, with ten covariates' worth of nothing but sex, age and batch.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from runs import CLASSES, make_plan, predict_all

from msbatch.cohort.features import FEATURES
from msbatch.files import sha256
from msbatch.layout import RunDir
from msbatch.plan import StoreRecord, save_plan
from msbatch.schema import PATIENTS
from msbatch.store import FORMAT, VERSION

BACKBONES = ("resnet50", "swin_tiny_patch4_window7_224")


def write_store(path: Path, patients: int, cells: int, side_px: int) -> None:
    """Write a store of noise."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, size=side_px, settings="{}", features=json.dumps(FEATURES))
        file.attrs["classes"] = json.dumps(CLASSES)
        for number in range(patients):
            group = file.create_group(f"{PATIENTS}/P{number:03d}")
            traits = {"sex": "MF"[number // 2 % 2], "age": str(20 + number * 7 % 50), "batch": f"b{number % 3}"}
            group.attrs["attributes"] = json.dumps(traits)
            shape = (cells, side_px, side_px, 3)
            group["images"] = rng.integers(rng.integers(0, 60), 200, shape, dtype=np.uint8)
            group["labels"] = np.full(cells, number % 2, np.uint8)
            group["digest"], group["extent"] = np.zeros(cells, "S64"), np.full((cells, 2), side_px, np.uint16)
            group["features"] = (rng.normal(size=17) + rng.normal(size=(cells, 17))).astype(np.float32)


def write_run(root: Path, store: Path, patients: int, cells: int) -> RunDir:
    """Write a run whose backbones do well, but not on every cell."""
    rng = np.random.default_rng(1)
    labels = {f"P{number:03d}": [number % 2] * cells for number in range(patients)}
    logits = {
        name: {patient: rng.normal(2 * own[0] - 1 + rng.normal(), 1, cells).tolist() for patient, own in labels.items()}
        for name in BACKBONES
    }
    record = StoreRecord(path=str(store), sha256=sha256(store), format=VERSION)
    plan, run = make_plan(labels, BACKBONES).model_copy(update={"store": record}), RunDir(root)
    save_plan(run.plan, plan)
    predict_all(run, plan, labels, logits)
    return run


def measure(*words: str) -> None:
    """Run one command of msbatch and print what it took."""
    process = subprocess.Popen([sys.executable, "-m", "msbatch", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(f"{words[0]:<8} exit {process.returncode}  {seconds:6.1f} s of processor time  {memory:5.0f} MB", flush=True)


if __name__ == "__main__":
    patients, cells, side_px = (*map(int, sys.argv[1:]), 128)[:3]
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "cohort.h5"
        write_store(store, patients, cells, side_px)
        run = write_run(Path(name) / "run", store, patients, cells)
        measure("reduce", str(run.root))
        measure("report", str(run.root))

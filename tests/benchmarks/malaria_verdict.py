"""The verdict on frozen, pretrained features of real cells: ``python tests/benchmarks/malaria_verdict.py DATA``.

DATA is the folder of malaria_cohort24. Embeddings are those of ``tf_efficientnet_lite0`` with the ImageNet weights of a
package; the colour row is a logistic regression on the same folds.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from lite0_weights import BACKBONE, write_weights
from safetensors.torch import load_file
from sklearn.metrics import f1_score

from msbatch.cohort.folds import draw_plan
from msbatch.cohort.pack import PackOptions, pack
from msbatch.config import Settings
from msbatch.results.analysis import study_cohort
from msbatch.results.subjects import Embedding, read_subjects
from msbatch.results.tables import patient_auc
from msbatch.store import Store


@torch.inference_mode()
def embed(store: Store, weights: Path) -> Embedding:
    """Give the network's pooled features of all cells."""
    model = timm.create_model(BACKBONE, num_classes=0)
    model.load_state_dict(load_file(weights), strict=False)
    model.eval()
    mean, std = (torch.tensor(model.default_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    images = torch.from_numpy(np.concatenate([store.images(patient) for patient in store.patients]))
    parts = [model((part.permute(0, 3, 1, 2) / 255 - mean) / std) for part in images.split(64)]
    return Embedding(np.arange(len(images)), torch.cat(parts).numpy().astype(np.float64))


def main(data: Path, folder: Path) -> None:
    """Pack, embed, test, and print."""
    options = PackOptions(patient="patient_id", label="patient_status", positive="infected")
    store = pack(data, data / "manifest.csv", folder / "cohort.h5", options).output
    plan = draw_plan(store, Settings())
    with Store(store) as opened:
        started = time.perf_counter()
        own = embed(opened, write_weights(folder / "weights"))
        print(f"embedding {len(own.rows)} cells: {time.perf_counter() - started:.1f} s")
        subjects = read_subjects(opened, {BACKBONE: own})
    started = time.perf_counter()
    cohort = study_cohort(plan, subjects, {}, [])
    print(f"nuisance rows and tests: {time.perf_counter() - started:.1f} s")
    for row, results in cohort.nuisance.items():
        if not results:
            print(f"{row:<7} {cohort.unscored[row]}")
            continue
        truth, calls = zip(*((fold.label, fold.call) for fold in results.values()), strict=True)
        print(f"{row:<7} patient AUC {patient_auc(results.values())}  F1 {f1_score(truth, calls):.3f}")
    for row, tests in cohort.tests.beyond.items():
        print(f"beyond {row:<7} {'  '.join(f'{name} p {test.p}' for name, test in tests.items())}")
    print("association    ", "  ".join(f"{name} p {test.p}" for name, test in cohort.tests.association.items()))
    print("\n".join((cohort.verdict.sentence, *cohort.verdict.further)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(sys.argv[1]), Path(name))

"""A frozen task: what the backbone, as it comes, sees in the held-out patient's cells."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from msbatch.embeddings import Embedding, Origin, find_embedding, write_embedding
from msbatch.errors import MsbatchError
from msbatch.layout import TaskDir
from msbatch.store import Store
from msbatch.training.ddp import World
from msbatch.training.job import Job
from msbatch.training.model import Classifier, build_model
from msbatch.training.precision import Precision

BATCH = 64

log = logging.getLogger(__name__)


def embed(world: World, job: Job) -> None:
    """Embed the held-out patient's cells, or take over what another run has of the same store and weights.

    A pretrained, frozen backbone has seen no label of the cohort, so each patient is embedded once for all folds.

    Raises
    ------
    MsbatchError
        If the backbone gives numbers that are not finite.
    """
    world.beat()
    asked = job.plan.settings["training"]["precision"]
    precision = Precision("fp32" if asked == "auto" else asked, world.device)  # the same on every device
    network = _network(job, world, precision)
    origin = _origin(job, network, precision)
    values = _made_before(job, origin) if world.rank == 0 else None
    if not world.any(values is not None):
        values = _embed(network, job, world, precision)
    if world.rank == 0 and values is not None:
        write_embedding(job.folder, values, origin, job.attempt.check)
        job.attempt.write(phase="done", reason="")


@torch.inference_mode()
def _embed(network: Classifier, job: Job, world: World, precision: Precision) -> Embedding:
    cells = job.held_out()
    share = np.arange(len(cells))[world.rank :: world.size]
    backbone: Any = network.backbone
    width = getattr(backbone, "head_hidden_size", backbone.num_features)
    parts = [torch.empty((0, width))]  # of a process without a cell
    for start in range(0, len(share), BATCH):
        world.beat()
        batch = torch.from_numpy(cells.take(share[start : start + BATCH]))
        with precision.autocast():
            parts.append(network(batch.to(world.device)).float().cpu())
    values = world.gather(torch.cat(parts), len(cells)).numpy()
    if not np.isfinite(values).all():
        raise MsbatchError(
            f"{job.task.network} gives numbers that are not finite for cells of this patient.",
            "Compare its weights with their manifest: msbatch weights check",
        )
    return np.asarray(values, np.float32)


def _made_before(job: Job, origin: Origin) -> Embedding | None:
    """Look beside this run for an embedding of the same origin."""
    fold, arm, tasks, run = job.folder.root, *job.folder.root.parents[:3]
    for folder in sorted(run.parent.glob(f"*/{tasks.name}/{arm.name}/{fold.name}")):
        found = find_embedding(TaskDir(folder), origin)
        with suppress(OSError):  # it may be set aside just now
            if found is not None:
                values: Embedding = np.load(found, allow_pickle=False)
                log.info("Embedded before, in %s.", folder)
                return values
    return None


def _origin(job: Job, network: Classifier, precision: Precision) -> Origin:
    return Origin(
        store=job.plan.store.sha256,
        fold=job.task.fold,
        network=job.task.network,
        weights=network.pretrained or f"initial ones of seed {job.seed}",
        input_px=network.input_px,
        precision=precision.name,
    )


def _network(job: Job, world: World, precision: Precision) -> Classifier:
    with Store(job.store) as store:
        store_px = store.size
    built = _built(job.task.network, store_px, job.seed, json.dumps(job.plan.settings), Path(job.plan.weights_dir))
    return built.to(world.device, precision.dtype)


@lru_cache(maxsize=1)  # of the tasks of one process most have the same backbone
def _built(network: str, store_px: int, seed: int, settings: str, weights_dir: Path) -> Classifier:
    torch.manual_seed(seed)
    model = build_model(network, store_px, json.loads(settings), weights_dir)
    model.backbone.reset_classifier(0)  # type: ignore[operator]
    return model.eval()

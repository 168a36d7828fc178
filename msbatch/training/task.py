"""One task from its plan to its predictions."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.multiprocessing.spawn import ProcessException
from torch.utils.tensorboard import SummaryWriter

from msbatch.errors import MsbatchError
from msbatch.files import atomic_path, remove_temporary
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Fold, Plan, Task, load_plan
from msbatch.predictions import Predictions, write_predictions
from msbatch.state import Attempt
from msbatch.store import Store, verify_store
from msbatch.training.augment import Augmenter
from msbatch.training.checkpoint import load_checkpoint, remove_checkpoints, save_checkpoint
from msbatch.training.data import BalancedOrder, TrainingCells, load_cells, training_batches
from msbatch.training.ddp import World, check_devices, launch
from msbatch.training.loop import Progress, Trainer, run_rounds
from msbatch.training.model import Classifier, build_model, has_batchnorm
from msbatch.training.precision import Precision
from msbatch.training.predict import predict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What every process of a task needs to know."""

    plan: Plan
    task: Task
    folder: TaskDir
    attempt: Attempt

    @property
    def fold(self) -> Fold:
        """The fold of this task."""
        return self.plan.folds[self.task.fold]

    @property
    def identity(self) -> dict[str, Any]:
        """What this task's checkpoints and predictions belong to."""
        return {"signature": self.plan.signature, "backbone": self.task.backbone, "fold": self.task.fold}


def run_task(run: RunDir, index: int) -> None:
    """Train one task, or resume it, and write its predictions; do nothing if it has them.

    Parameters
    ----------
    run : RunDir
        The run.
    index : int
        The task's number in the plan.

    Raises
    ------
    MsbatchError
        If the task cannot be done; its state says so too.
    """
    plan = load_plan(run.plan)
    if index not in range(len(plan.tasks)):
        raise MsbatchError(f"{run.root} has no task {index}: its tasks are 0 to {len(plan.tasks) - 1}.")
    task = plan.tasks[index]
    folder = run.task(task.backbone, task.fold)
    if folder.manifest.is_file() and folder.predictions.is_file():
        log.info("%s fold %d has its predictions already.", task.backbone, task.fold)
        return
    job = Job(plan, task, folder, Attempt.claim(folder))
    try:
        _attempt(job)
    except MsbatchError as error:
        job.attempt.write(phase="failed", reason=str(error))
        raise
    except (OSError, RuntimeError, ProcessException) as error:
        reason = _in_words(error)
        job.attempt.write(phase="failed", reason=reason)
        raise MsbatchError(
            f"{task.backbone} fold {task.fold} failed: {reason}", "Submit again to resume it."
        ) from error


def _attempt(job: Job) -> None:
    remove_temporary(job.folder.root)
    job.attempt.write(phase="running", reason="")
    check_devices(job.plan.compute)
    verify_store(Path(job.plan.store.path), job.plan.store.sha256)
    _check_batch(job.plan)
    launch(_work, job.plan.compute, job)


def _check_batch(plan: Plan) -> None:
    batch, processes = plan.settings["training"]["batch_size"], plan.compute.processes
    if batch % processes:
        raise MsbatchError(
            f"A batch of {batch} cannot be shared evenly by {processes} processes.", "Change training.batch_size."
        )


def _work(world: World, job: Job) -> None:
    """Do the work of one process of a task."""
    settings, training = job.plan.settings, job.plan.settings["training"]
    precision = Precision(training["precision"], world.device)
    trainer = Trainer(_model(job, world, precision), settings, job.plan.seed, world, precision)
    saved = load_checkpoint(job.folder.checkpoints, job.identity)
    if saved is not None:
        trainer.restore(saved)
        log.info("Resuming from step %d of %d.", trainer.step, trainer.steps)
    _train(job, world, trainer)
    _predict(job, world, trainer, training["tta"])


def _model(job: Job, world: World, precision: Precision) -> Classifier:
    torch.manual_seed(job.plan.seed)
    with Store(Path(job.plan.store.path)) as store:
        store_px = store.size
    model = build_model(job.task.backbone, store_px, job.plan.settings, Path(job.plan.weights_dir))
    if world.size > 1 and has_batchnorm(model):
        model = _synchronised(model, world)
    return model.to(world.device, precision.dtype)


def _synchronised(model: Classifier, world: World) -> Classifier:
    if world.device.type == "cuda":
        converted: Classifier = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    log.warning(
        "BatchNorm cannot be synchronised on the CPU: each of %d processes normalises its own share of the batch, "
        "so results depend on the number of processes.",
        world.size,
    )
    return model


def _train(job: Job, world: World, trainer: Trainer) -> None:
    seed = (job.plan.seed, job.task.fold)
    with Store(Path(job.plan.store.path)) as store:
        training, validation = load_cells(store, job.fold.training), load_cells(store, job.fold.validation)
    order = BalancedOrder(training.labels, training.patients, (*seed, 0))
    dataset = TrainingCells(training, order, Augmenter(job.plan.settings["augment"], (*seed, 1)))
    batch_size = trainer.settings["batch_size"]
    batches = training_batches(
        dataset, range(trainer.step, trainer.steps), batch_size, world.rank, world.size, job.plan.compute.workers
    )
    round_steps = min(trainer.settings["eval_every"], -(-len(training) // batch_size))
    writer = SummaryWriter(str(job.folder.tensorboard), purge_step=trainer.step + 1) if world.rank == 0 else None

    def report(progress: Progress) -> None:
        if writer is not None:
            _record(job, trainer, progress, writer)

    run_rounds(trainer, batches, validation, round_steps, job.fold.early_stopping, report)
    if writer is not None:
        writer.close()


def _record(job: Job, trainer: Trainer, progress: Progress, writer: SummaryWriter) -> None:
    for name, value in progress.scalars.items():
        writer.add_scalar(name, value, progress.step)
    writer.flush()
    content = {"identity": job.identity, **trainer.state()}
    save_checkpoint(job.folder.checkpoints, progress.step, content, job.attempt.check)
    job.attempt.write(step=progress.step, steps=trainer.steps, best_validation=progress.best_validation)
    shown = "  ".join(f"{name} {value:.4g}" for name, value in progress.scalars.items())
    log.info("step %d/%d  %s", progress.step, trainer.steps, shown)


def _predict(job: Job, world: World, trainer: Trainer, tta: bool) -> None:
    model = trainer.load_best()
    with Store(Path(job.plan.store.path)) as store:
        cells = load_cells(store, [job.fold.held_out])
    logits = predict(model, cells, world, trainer.precision, tta)
    if world.rank == 0:
        _finish(job, model, Predictions(job.fold.held_out, cells.labels, logits))


def _finish(job: Job, model: Classifier, predictions: Predictions) -> None:
    with atomic_path(job.folder.weights, job.attempt.check) as temporary:
        save_file({name: value.contiguous() for name, value in model.backbone.state_dict().items()}, temporary)
    write_predictions(job.folder, predictions, job.identity, job.attempt.check)
    job.attempt.write(phase="done", reason="")
    remove_checkpoints(job.folder.checkpoints)


def _in_words(error: Exception) -> str:
    if isinstance(error, ProcessException):
        return str(error).strip().splitlines()[-1]
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"

"""What each process of a task does: build the network, train it, predict the held-out patient."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
from torch import nn

from msbatch.errors import MsbatchError, StoppedError
from msbatch.plan import Plan
from msbatch.predictions import Predictions
from msbatch.store import Store
from msbatch.training import stop
from msbatch.training.augment import Augmenter, changes
from msbatch.training.checkpoint import load_checkpoint
from msbatch.training.compiling import Compiler
from msbatch.training.data import BalancedOrder, Batches, Cells, TrainingCells, shares_of, training_batches
from msbatch.training.ddp import World
from msbatch.training.job import Job
from msbatch.training.loop import Trainer, run_rounds
from msbatch.training.model import Classifier, build_model, has_batchnorm
from msbatch.training.precision import Precision
from msbatch.training.predict import predict
from msbatch.training.prefetch import to_device
from msbatch.training.profiling import profiled
from msbatch.training.record import Recorder, write_outcome
from msbatch.training.resident import resident_batches

UNTYPICAL = 5  # steps of a phase, during which memory and kernels are still looked for

log = logging.getLogger(__name__)


def work(world: World, job: Job) -> None:
    """Do the work of one process of a task."""
    world.beat()
    _check_resident(job.plan)
    settings, training = job.plan.settings, job.plan.settings["training"]
    precision = Precision(training["precision"], world.device)
    compiler = Compiler(job.run.compiled, job.task.backbone) if job.plan.compute.compile else None
    trainer = Trainer(_model(job, world, precision), settings, job.seed, world, precision, compiler)
    saved = load_checkpoint(job.folder.checkpoints, job.identity)
    if saved is not None:
        trainer.restore(saved)
        log.info("Resuming from step %d of %d.", trainer.step, trainer.steps)
    _train(job, trainer)
    _predict(job, trainer, training["tta"])


def _check_resident(plan: Plan) -> None:
    made = changes(plan.settings["augment"])
    if plan.compute.resident and made:
        raise MsbatchError(
            "Cells that stay on the device (compute.resident) cannot be augmented: that is done on the CPU.",
            f"Leave out --resident, or set to 0 in [augment]: {', '.join(made)}.",
        )


def _model(job: Job, world: World, precision: Precision) -> Classifier:
    torch.manual_seed(job.seed)
    with Store(job.store) as store:
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


def _train(job: Job, trainer: Trainer) -> None:
    training, validation = job.cells()
    round_steps = min(trainer.settings["eval_every"], -(-len(training) // trainer.settings["batch_size"]))
    with closing(Recorder(job, trainer)) as recorder, closing(_batches(job, trainer, training)) as batches:

        def pause() -> None:
            _stop_if_asked(trainer, recorder)

        heeding = _with_pauses(_watched(job, trainer, batches), pause)
        run_rounds(trainer, heeding, validation, round_steps, job.fold.early_stopping, recorder.end_round)
        pause()


def _batches(job: Job, trainer: Trainer, training: Cells) -> Batches:
    seed, policy, world = (job.seed, job.task.fold), job.plan.settings["augment"], trainer.world
    strata = job.strata(job.fold.training)[training.patients]
    order = BalancedOrder(training.labels, training.patients, (*seed, 0), strata)
    steps = range(trainer.step, trainer.steps)
    shares = shares_of(steps, trainer.settings["batch_size"], world.rank, world.size)
    if job.plan.compute.resident:
        return resident_batches(training, order, shares, world.device)
    augment = Augmenter(policy, (*seed, 1)) if changes(policy) else None
    batches = training_batches(TrainingCells(training, order, augment), shares, job.plan.compute.workers)
    return to_device(batches, world.device)


def _watched(job: Job, trainer: Trainer, batches: Batches) -> Batches:
    timed = trainer.pace.timed(batches)
    if not (job.plan.compute.profile and job.leads_arm and trainer.world.rank == 0):
        return timed
    start = max(trainer.phases[-1].start - trainer.step, 0) + UNTYPICAL
    return profiled(timed, start, trainer.world.device, job.folder.trace)


def _with_pauses(batches: Batches, pause: Callable[[], None]) -> Batches:
    """Call `pause` before every step."""
    for batch in batches:
        pause()
        yield batch


def _stop_if_asked(trainer: Trainer, recorder: Recorder) -> None:
    """Write a checkpoint and stop, all processes at the same step, once the launcher asks one of them to."""
    world = trainer.world
    world.beat()
    if not world.any(bool(stop.cause())):
        return
    trainer.settle()
    recorder.save()
    world.barrier()  # a process that ended earlier would be taken for failed, and the one that writes be killed
    why = stop.cause() or "asked for on another node"
    raise StoppedError(f"stopped at step {trainer.step} of {trainer.steps}: {why}")


def _predict(job: Job, trainer: Trainer, tta: bool) -> None:
    model = trainer.load_best()
    cells = job.held_out()
    logits = predict(model, cells, trainer.world, trainer.precision, tta)
    if trainer.world.rank == 0:
        write_outcome(job, model, Predictions(job.fold.held_out, cells.labels, logits, trainer.pretrained))

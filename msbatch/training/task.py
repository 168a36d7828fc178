"""One task from its plan to its predictions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch import nn

from msbatch.errors import MsbatchError, StoppedError
from msbatch.layout import RunDir, TaskDir
from msbatch.plan import Plan, Task, load_plan
from msbatch.predictions import Predictions
from msbatch.state import Attempt
from msbatch.store import Store, verify_store
from msbatch.training import stop
from msbatch.training.augment import Augmenter
from msbatch.training.checkpoint import load_checkpoint, newest_step
from msbatch.training.data import BalancedOrder, Batches, Cells, TrainingCells, training_batches
from msbatch.training.ddp import Crew, World, check_devices, launch
from msbatch.training.faults import as_told
from msbatch.training.job import Job
from msbatch.training.loop import Trainer, run_rounds
from msbatch.training.model import Classifier, build_model, has_batchnorm
from msbatch.training.nodes import Node, find_meeting, host_meeting, this_node
from msbatch.training.precision import Precision
from msbatch.training.predict import predict
from msbatch.training.record import Recorder, write_outcome

log = logging.getLogger(__name__)


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
    StoppedError
        If the launcher asked the task to stop; it waits to be resumed from its checkpoint.
    SupersededError
        If a newer attempt owns the task; this one wrote nothing since.
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
    node = this_node(plan.compute)
    try:
        _lead(plan, task, folder, node) if node.rank == 0 else _assist(plan, task, folder, node)
    except Exception as error:
        raise as_told(error) from None


def _lead(plan: Plan, task: Task, folder: TaskDir, node: Node) -> None:
    """Make a new attempt at a task and write down how it ends."""
    attempt = Attempt.claim(folder, stop.launch(), newest_step(folder.checkpoints))
    try:
        attempt.clean()
        attempt.write(phase="running", reason="")
        attempt.check_progress()
        with host_meeting(attempt.number) if node.count > 1 else nullcontext() as meeting:
            _attempt(Job(plan, task, folder, attempt), Crew(plan.compute, node, meeting))
    except Exception as error:
        told = as_told(error)
        _write_end(attempt, told)
        raise told from None


def _assist(plan: Plan, task: Task, folder: TaskDir, node: Node) -> None:
    """Share in the first node's attempt, which alone writes the files of the task."""
    meeting = find_meeting()
    _attempt(Job(plan, task, folder, Attempt(folder, meeting.attempt)), Crew(plan.compute, node, meeting))


def _write_end(attempt: Attempt, told: MsbatchError) -> None:
    attempt.check()  # whatever ended a superseded attempt, the newer one may well be the cause
    try:
        attempt.write(phase="waiting" if isinstance(told, StoppedError) else "failed", reason=str(told))
    except OSError as error:
        log.error("%s could not be written: %s", attempt.task.state, error.strerror)


def _attempt(job: Job, crew: Crew) -> None:
    check_devices(crew)
    stop.beat()
    verify_store(job.store, job.plan.store.sha256)
    stop.beat()
    _check_batch(job.plan)
    launch(_work, crew, job)


def _check_batch(plan: Plan) -> None:
    batch, processes = plan.settings["training"]["batch_size"], plan.compute.processes
    if batch % processes:
        raise MsbatchError(
            f"A batch of {batch} cannot be shared evenly by {processes} processes.", "Change training.batch_size."
        )


def _work(world: World, job: Job) -> None:
    """Do the work of one process of a task."""
    world.beat()
    settings, training = job.plan.settings, job.plan.settings["training"]
    precision = Precision(training["precision"], world.device)
    trainer = Trainer(_model(job, world, precision), settings, job.plan.seed, world, precision)
    saved = load_checkpoint(job.folder.checkpoints, job.identity)
    if saved is not None:
        trainer.restore(saved)
        log.info("Resuming from step %d of %d.", trainer.step, trainer.steps)
    _train(job, trainer)
    _predict(job, trainer, training["tta"])


def _model(job: Job, world: World, precision: Precision) -> Classifier:
    torch.manual_seed(job.plan.seed)
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
    training, validation = job.cells(job.fold.training), job.cells(job.fold.validation)
    round_steps = min(trainer.settings["eval_every"], -(-len(training) // trainer.settings["batch_size"]))
    with closing(Recorder(job, trainer)) as recorder, closing(_batches(job, trainer, training)) as batches:

        def pause() -> None:
            _stop_if_asked(trainer, recorder)

        heeding = _with_pauses(batches, pause)
        run_rounds(trainer, heeding, validation, round_steps, job.fold.early_stopping, recorder.end_round)
        pause()


def _batches(job: Job, trainer: Trainer, training: Cells) -> Batches:
    seed = (job.plan.seed, job.task.fold)
    order = BalancedOrder(training.labels, training.patients, (*seed, 0))
    dataset = TrainingCells(training, order, Augmenter(job.plan.settings["augment"], (*seed, 1)))
    steps, world = range(trainer.step, trainer.steps), trainer.world
    return training_batches(
        dataset, steps, trainer.settings["batch_size"], world.rank, world.size, job.plan.compute.workers
    )


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
    cells = job.cells([job.fold.held_out])
    logits = predict(model, cells, trainer.world, trainer.precision, tta)
    if trainer.world.rank == 0:
        write_outcome(job, model, Predictions(job.fold.held_out, cells.labels, logits))

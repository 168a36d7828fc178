"""Everything a task writes, by its first process alone, and never once a newer attempt owns the task."""

from __future__ import annotations

import logging

from safetensors.torch import save
from torch.utils.tensorboard import SummaryWriter

from msbatch.files import atomic_path, sha256
from msbatch.predictions import WEIGHTS, Predictions, write_predictions
from msbatch.training.checkpoint import remove_checkpoints, save_checkpoint
from msbatch.training.job import Job
from msbatch.training.loop import Progress, Trainer
from msbatch.training.model import Classifier

log = logging.getLogger(__name__)


class Recorder:
    """Writes down how training goes; in every process but the first it does nothing.

    Parameters
    ----------
    job : Job
        The task.
    trainer : Trainer
        What is trained; scalars of later steps than its own, of an attempt that got further, count no more.
    """

    def __init__(self, job: Job, trainer: Trainer) -> None:
        self.job = job
        self.trainer = trainer
        self._scalars = self._open() if trainer.world.rank == 0 else None

    def end_round(self, progress: Progress) -> None:
        """Write the scalars of a round, then its checkpoint and the task's state."""
        if self._scalars is None:
            return
        self.job.attempt.check()
        for name, value in progress.scalars.items():
            self._scalars.add_scalar(name, value, progress.step)
        self._scalars.flush()
        self.save(**{name: progress.scalars[f"train/{name}"] for name in ("images_per_second", "input_wait")})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in progress.scalars.items())
        log.info("step %d/%d  %s", progress.step, self.trainer.steps, shown)

    def save(self, **pace: float) -> None:
        """Write a checkpoint of this step, and the step to the task's state; before the first step there is none.

        The pace of a round that ended goes to the state as well.
        """
        if self._scalars is None or self.trainer.step == 0:
            return
        step, attempt = self.trainer.step, self.job.attempt
        content = {"identity": self.job.identity, **self.trainer.state()}
        save_checkpoint(self.job.folder.checkpoints, step, content, attempt.check)
        attempt.write(step=step, steps=self.trainer.steps, best_validation=self.trainer.best["loss"], **pace)

    def close(self) -> None:
        """Close the file of scalars."""
        if self._scalars is not None:
            self._scalars.close()

    def _open(self) -> SummaryWriter:
        self.job.attempt.check()
        return SummaryWriter(str(self.job.folder.tensorboard), purge_step=self.trainer.step + 1)


def write_outcome(job: Job, model: Classifier, predictions: Predictions) -> None:
    """Write the weights and the predictions that they made; the checkpoints are needed no more."""
    check = job.attempt.check
    with atomic_path(job.folder.weights, check) as temporary:
        # Its save_file would put a file of its own in place of this one.
        temporary.write_bytes(save({name: value.contiguous() for name, value in model.backbone.state_dict().items()}))
    write_predictions(job.folder, predictions, {**job.identity, WEIGHTS: sha256(job.folder.weights)}, check)
    job.attempt.write(phase="done", reason="")
    remove_checkpoints(job.folder.checkpoints, check)

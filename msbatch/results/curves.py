"""Training curves of folds, from their event files, and what a whole backbone's curves have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub.errors import OpError

from msbatch.errors import MsbatchError, failing_disk_named
from msbatch.layout import TaskDir
from msbatch.state import read_state


class CurvesError(MsbatchError):
    """A task's event files are missing or damaged."""


@dataclass(frozen=True)
class Curve:
    """One scalar over training.

    Attributes
    ----------
    steps : ndarray of int64, shape (n,)
        Increasing.
    values : ndarray of float64, shape (n,)
        At these steps.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class FoldCurves:
    """All scalars of one task, by tag, and when the last was written, in seconds since 1970."""

    curves: dict[str, Curve]
    ended: float


@dataclass(frozen=True)
class Band:
    """One scalar of many folds on a common step axis.

    Attributes
    ----------
    steps : ndarray of int64, shape (n,)
        The axis.
    mean, lowest, highest : ndarray of float64, shape (n,)
        Over the folds that still train.
    folds : ndarray of int64, shape (n,)
        How many those are.
    """

    steps: NDArray[np.int64]
    mean: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    folds: NDArray[np.int64]


def read_curves(task: TaskDir) -> FoldCurves:
    """Read a finished task's scalars, of all its attempts; steps that a later attempt took again count once.

    Raises
    ------
    CurvesError
        If they are missing, or do not tell of every round up to the step that the task reached.
    DiskError
        If the disk fails.
    """
    reached = read_state(task).step
    points: dict[str, dict[int, float]] = {}
    ended = 0.0
    for event in _events(task.tensorboard):
        if event.session_log.status == SessionLog.START:
            points = {tag: {step: own[step] for step in own if step < event.step} for tag, own in points.items()}
        for value in event.summary.value:
            points.setdefault(value.tag, {})[event.step] = value.simple_value
            ended = event.wall_time
    curves = {tag: _curve(own) for tag, own in points.items() if own}
    _check_whole(curves, reached)
    return FoldCurves(curves, ended)


def band(curves: Sequence[Curve]) -> Band:
    """Put the curves of folds on one axis.

    Rounds differ in length between folds, as their training sets do: between its rounds a fold lies on the straight
    line that joins them. The axis begins where all folds have begun. A fold that stopped early counts up to its
    last round and no further: to carry its last value on would invent training that did not take place.

    Parameters
    ----------
    curves : sequence of Curve
        One per fold, at least one.
    """
    start = max(curve.steps[0] for curve in curves)
    axis = np.unique(np.concatenate([curve.steps for curve in curves]))
    axis = axis[axis >= start]
    rows = np.array([np.interp(axis, curve.steps, curve.values, right=np.nan) for curve in curves])
    training = axis <= np.array([curve.steps[-1] for curve in curves])[:, None]
    return Band(
        steps=axis,
        mean=np.mean(rows, axis=0, where=training),
        lowest=np.min(rows, axis=0, where=training, initial=np.inf),
        highest=np.max(rows, axis=0, where=training, initial=-np.inf),
        folds=training.sum(axis=0),
    )


def _events(folder: Path) -> Iterator[Event]:
    """Give the events of a folder, file after file; the last record of a writer that was killed may be cut off."""
    files = sorted(folder.glob("*tfevents*"))  # names begin with the time
    if not files:
        raise CurvesError("It has no event files.")
    try:
        for path in files:
            with failing_disk_named(path):
                yield from map(Event.FromString, RawEventFileLoader(str(path)).Load())
    except (OSError, OpError, DecodeError) as error:
        raise CurvesError(f"Its event files cannot be read: {type(error).__name__}.") from None


def _curve(points: dict[int, float]) -> Curve:
    steps = sorted(points)
    return Curve(np.array(steps, np.int64), np.array([points[step] for step in steps], np.float64))


def _check_whole(curves: dict[str, Curve], reached: int) -> None:
    """Check that every curve has a value for each round; TensorBoard's reader passes over what is damaged."""
    for curve in curves.values():
        rounds = np.diff(curve.steps, prepend=0)
        if curve.steps[-1] != reached or np.any(rounds[:-1] != rounds[0]) or rounds[-1] > rounds[0]:
            raise CurvesError(f"Its event files do not tell of every round up to step {reached}.")
    if not curves:
        raise CurvesError("Its event files hold no scalars.")

"""Event files and states as training leaves them, without training and without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from msbatch.layout import TaskDir
from msbatch.state import Attempt

Points = Mapping[int, float]  # step to value


def train(task: TaskDir, curves: Mapping[str, Points], last: int | None = None) -> None:
    """Write all of a finished task: its scalars, and the step it reached."""
    write_scalars(task.tensorboard, curves)
    steps = [step for points in curves.values() for step in points]
    Attempt.claim(task).write(phase="done", step=last or max(steps), steps=240)


def write_scalars(folder: Path, curves: Mapping[str, Points], purge_step: int = 1, wall_time: float = 1e9) -> None:
    """Write what torch's SummaryWriter writes during one attempt."""
    writer = EventFileWriter(str(folder))
    writer.add_event(Event(step=purge_step, wall_time=wall_time, file_version="brain.Event:2"))
    writer.add_event(Event(step=purge_step, wall_time=wall_time, session_log=SessionLog(status=SessionLog.START)))
    for tag, points in curves.items():
        for step, value in points.items():
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=wall_time + step, summary=summary))
    writer.close()


def rounds(length: int, values: Sequence[float]) -> dict[int, float]:
    """Give one value per round of so many steps."""
    return {length * number: value for number, value in enumerate(values, 1)}

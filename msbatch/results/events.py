"""Event files for TensorBoard, written without TensorFlow and torch: the same content gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import metadata as pr_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from msbatch.files import atomic_path

Entry = tuple[int, Any]  # a step and a Summary.Value

THRESHOLDS = 201  # of a precision-recall curve, evenly from 0 to 1

_FORMAT = "brain.Event:2"


def write_events(folder: Path, entries: Iterable[Entry], wall_time: float) -> None:
    """Write one event file.

    TensorBoard's own EventFileWriter would put this machine's name and the time of writing into it. A running
    TensorBoard looks for new names, not for new content: so the name tells of the time that is given.

    Parameters
    ----------
    folder : Path
        The folder of one TensorBoard run.
    entries : iterable of (step, Summary.Value)
        Descriptions and kinds are kept with the first entry of a tag alone, which is where TensorBoard looks.
    wall_time : float
        What TensorBoard takes for the time of every entry, in seconds since 1970.
    """
    described: set[str] = set()
    path = folder / f"events.out.tfevents.{int(wall_time):010d}.summary"
    with atomic_path(path) as temporary, temporary.open("wb") as out:
        writer = RecordWriter(out)
        writer.write(Event(wall_time=wall_time, file_version=_FORMAT).SerializeToString())
        for step, value in entries:
            if value.tag in described:
                value.ClearField("metadata")
            described.add(value.tag)
            event = Event(wall_time=wall_time, step=step, summary=Summary(value=[value]))
            writer.write(event.SerializeToString(deterministic=True))


def scalar(tag: str, number: float, description: str = "") -> Any:
    """Make one point of a chart."""
    return _value(tag, np.float32(number), scalar_metadata.create_summary_metadata("", description))


def text(tag: str, markdown: str) -> Any:
    """Make a text."""
    return _value(tag, markdown.encode(), text_metadata.create_summary_metadata("", ""))


def image(tag: str, png: bytes, size: tuple[int, int], description: str) -> Any:
    """Make an image of a width and height."""
    width, height = (str(side).encode() for side in size)
    return _value(tag, [width, height, png], image_metadata.create_summary_metadata("", description))


def pr_curve(tag: str, labels: NDArray[np.uint8], scores: NDArray[np.float64], description: str) -> Any:
    """Make a precision-recall curve.

    Parameters
    ----------
    tag : str
        Its name.
    labels : ndarray of uint8, shape (n,)
        True class, 0 or 1; both occur.
    scores : ndarray of float64, shape (n,)
        Probability of class 1; a case is called positive where it is at least the threshold.
    description : str
        As Markdown.
    """
    thresholds = np.linspace(0, 1, THRESHOLDS)
    tp, fp = (_at_least(scores[labels == value], thresholds) for value in (1, 0))
    rows = [tp, fp, fp[0] - fp, tp[0] - tp, tp / np.maximum(1, tp + fp), tp / tp[0]]
    about = pr_metadata.create_summary_metadata("", description, THRESHOLDS)
    return _value(tag, np.array(rows, np.float32), about)


def layout(categories: Sequence[Any]) -> Any:
    """Make the layout of the custom-scalars dashboard, from categories of charts."""
    content = layout_pb2.Layout(category=categories).SerializeToString()
    return _value(layout_metadata.CONFIG_SUMMARY_TAG, content, layout_metadata.create_summary_metadata())


def lines(title: str, tag: str) -> Any:
    """Make a chart of one tag of every run; the tag is a regular expression."""
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[tag]))


def margin(title: str, tag: str, lower: str, upper: str) -> Any:
    """Make a chart of one tag between two others."""
    series = layout_pb2.MarginChartContent.Series(value=tag, lower=lower, upper=upper)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def category(title: str, charts: Sequence[Any]) -> Any:
    """Put charts under a title."""
    return layout_pb2.Category(title=title, chart=charts)


def trial(name: str, settings: Mapping[str, bool | float | str], metrics: Mapping[str, str], began: float) -> list[Any]:
    """Make what the hparams dashboard needs: one row of settings, and which scalars of the run stand beside it.

    Parameters
    ----------
    name : str
        Of the row.
    settings : mapping of str to bool, float or str
        By name.
    metrics : mapping of str to str
        Tags of scalars, and what to show them as.
    began : float
        In seconds since 1970.
    """
    columns = [hparams.Metric(tag, display_name=shown) for tag, shown in metrics.items()]
    experiment = hparams.hparams_config_pb([hparams.HParam(key) for key in settings], columns, began)
    row = hparams.hparams_pb(settings, name, began)
    values = [*experiment.value, *row.value]
    for value in values:  # its settings are a map, which each process would write in an order of its own
        plugin = value.metadata.plugin_data
        plugin.content = HParamsPluginData.FromString(plugin.content).SerializeToString(deterministic=True)
    return values


def _value(tag: str, content: Any, about: Any) -> Any:
    return Summary.Value(tag=tag, tensor=make_tensor_proto(content), metadata=about)


def _at_least(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")

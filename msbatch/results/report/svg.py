"""Drawings as SVG inside the page: in the page's own letters, and the same bytes for the same data."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

INK, GREY, FAINT = "#1f2328", "#57606a", "#c8cdd3"
CLASS_COLOURS = ("#0072b2", "#b8500a")  # told apart by every kind of colour vision; each has a shape of its own too
CLASS_MARKERS = ("o", "s")
SERIES = ("#0072b2", "#b8500a", "#007a58", "#8f4a78", "#6b5900", "#1f2328")

PX_PER_IN = 96
WIDTH_IN = 4.4  # a phone shows it at nearly its own size, a page beside another one

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # the browser has letters for every script, and text stays text
    "text.parse_math": False,  # a name with $ in it is a name
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

_NOISE = re.compile(
    r'<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>| id="[a-zA-Z0-9.]+_[0-9]+"|<!--.*?-->',
    re.DOTALL,
)
_FONT = re.compile(r"font: ([0-9.]+px) [^;\"]*")
_HEAD = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')


@dataclass(frozen=True)
class Figure:
    """A drawing, what it shows and does not show, and its data.

    Attributes
    ----------
    name : str
        Of the file of its data.
    title, caption : str
        Above and below it.
    svg : Markup
        Itself.
    key : tuple of (str, str)
        What its marks mean: the CSS class of a sample, and words.
    note : str
        What is said of this drawing alone, where the caption holds for several.
    header, rows : list
        Its data; empty where a table of the run holds them already.
    source : str
        The file that holds them, relative to the results.
    """

    name: str
    title: str
    caption: str
    svg: Markup
    key: tuple[tuple[str, str], ...] = ()
    note: str = ""
    header: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    source: str = ""


@contextmanager
def drawing(height_in: float, width_in: float = WIDTH_IN) -> Iterator[Canvas]:
    """Give an empty drawing, in one style whatever the user's own settings are."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of the letters that text is measured with
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield Canvas(figsize=(width_in, height_in))


def to_svg(canvas: Canvas, name: str, description: str) -> Markup:
    """Turn a drawing into an element of the page; call it within `drawing`.

    Parameters
    ----------
    canvas : Canvas
        The drawing.
    name : str
        No other drawing of the page has it.
    description : str
        For those who do not see it.
    """
    mpl.rcParams["svg.hashsalt"] = name
    out = io.StringIO()
    FigureCanvasSVG(canvas)
    canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = _FONT.sub(r"font-size: \1", _NOISE.sub("", out.getvalue()))
    box = _HEAD.search(text)
    if box is None:
        raise ValueError("matplotlib wrote no SVG")
    head = Markup('<svg viewBox="{}" role="img" aria-label="{}" style="max-width: {:.0f}px">')
    return head.format(box[1], description, canvas.get_figwidth() * PX_PER_IN) + Markup(text[box.end() :].strip())  # noqa: S704


def shorten(text: str, most: int = 20) -> str:
    """Give a name that fits beside an axis, without line breaks and what else is no letter; wide ones count twice."""
    plain = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text).strip()
    widths = [2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in plain]
    if sum(widths) <= most:
        return plain
    kept = next(place for place in range(len(plain)) if sum(widths[: place + 1]) > most - 1)
    return f"{plain[:kept]}…"


def share_axis(axes: Axes, label: str) -> None:
    """Lay out a horizontal axis of shares from 0 to 1."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel(label)
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)


def name_axis(axes: Axes, names: Sequence[str]) -> None:
    """Lay out a vertical axis of names, the first one on top."""
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def name_margin(names: Sequence[str]) -> float:
    """Give the share of a drawing's width that names need beside an axis."""
    longest = max((len(shorten(name)) for name in names), default=0)
    return min(0.42, (0.18 + 0.078 * longest) / WIDTH_IN)

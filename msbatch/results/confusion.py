"""A small picture of calls against truth."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from msbatch.results.metrics import Counts

SIZE_PX = (400, 340)  # TensorBoard shows images about 310 wide

_GRID = (104, 92, 388, 296)  # left, top, right, bottom
_INK, _PAPER, _GREY, _FULL = (25, 25, 35), (255, 255, 255), (110, 110, 120), (31, 97, 161)

Colour = tuple[int, int, int]
Point = tuple[float, float]


def draw_confusion(title: str, note: str, classes: Sequence[str], counts: Counts) -> bytes:
    """Draw a matrix, truth in rows and calls in columns; each row is shaded by its shares.

    Parameters
    ----------
    title, note : str
        Above and below the matrix.
    classes : sequence of str
        The negative class, then the positive one.
    counts : Counts
        What is counted.

    Returns
    -------
    bytes
        A PNG of `SIZE_PX`.
    """
    image = Image.new("RGB", SIZE_PX, _PAPER)
    draw = ImageDraw.Draw(image)
    _write(draw, (SIZE_PX[0] / 2, 20), title, 19, SIZE_PX[0] - 16)
    _write(draw, (SIZE_PX[0] / 2, 320), note, 15, SIZE_PX[0] - 16, _GREY)
    _draw_names(draw, classes)
    for row, own in enumerate(((counts.tn, counts.fp), (counts.fn, counts.tp))):
        for column, number in enumerate(own):
            _draw_field(draw, row, column, number, sum(own))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _draw_names(draw: ImageDraw.ImageDraw, classes: Sequence[str]) -> None:
    left, top, right, bottom = _GRID
    _write(draw, ((left + right) / 2, top - 44), "called", 15, right - left, _GREY)
    _write(draw, (left / 2, top - 18), "truth", 15, left - 16, _GREY)
    for index, name in enumerate(classes):
        place = (index + 0.5) / 2
        _write(draw, (left + place * (right - left), top - 18), name, 17, (right - left) / 2 - 8)
        _write(draw, (left / 2, top + place * (bottom - top)), name, 17, left - 24)


def _draw_field(draw: ImageDraw.ImageDraw, row: int, column: int, number: int, whole: int) -> None:
    left, top, right, bottom = _GRID
    width, height = (right - left) // 2, (bottom - top) // 2
    x, y = left + column * width, top + row * height
    share = number / whole if whole else 0.0
    ink = _PAPER if share > 0.5 else _INK
    draw.rectangle((x, y, x + width, y + height), _shade(share), _GREY)
    _write(draw, (x + width / 2, y + height / 2 - 12), f"{number}", 27, width - 10, ink)
    said = f"{share:.0%} of row" if whole else "none in truth"
    _write(draw, (x + width / 2, y + height / 2 + 20), said, 15, width - 10, ink)


def _shade(share: float) -> Colour:
    red, green, blue = (round(paper + share * (full - paper)) for paper, full in zip(_PAPER, _FULL, strict=True))
    return red, green, blue


def _write(
    draw: ImageDraw.ImageDraw, centre: Point, words: str, size: float, width: float, colour: Colour = _INK
) -> None:
    """Write a line about its centre, smaller where it would be wider than it may."""
    font = ImageFont.load_default(size)
    wide = draw.textlength(words, font)
    if wide > width:
        font = ImageFont.load_default(size * width / wide)
    draw.text(centre, words, colour, font, anchor="mm")

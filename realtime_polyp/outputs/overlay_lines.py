"""Sizes and lines of the overlay, the same for the screen and for saved pictures."""

import math
from dataclasses import dataclass

from realtime_polyp.outputs.labels import Rect

EDGE_COLOUR = (0, 0, 0)
"""Every line and letter has an edge of this colour: one of the two contrasts with any mucosa."""

_LINE_PER_SIZE, _TEXT_PER_SIZE = 1 / 270, 1 / 30
_OUTLINE = 0.75  # of a line's width
_CORNER = 0.3  # of a side: length of the corners that mark a held polyp
_SMALLEST_GAP = 2.0  # line widths between two corners


@dataclass(frozen=True)
class Look:
    """Sizes on the surface that is drawn on, px.

    Attributes:
        line: width of a box's line.
        outline: width of an outline, which lies on the polyp and is finer.
        edge: width of the dark edge on each side of it.
        text: height of the font.
    """

    line: float
    outline: float
    edge: float
    text: float


def look_of(width_px: float, height_px: float) -> Look:
    """The sizes for a picture that is drawn at this size: in proportion to it, in whole px, and never too fine."""
    size = min(width_px, height_px)
    line = max(2, round(size * _LINE_PER_SIZE))
    return Look(line, max(2, line * _OUTLINE), max(1, round(line / 2)), max(13.0, size * _TEXT_PER_SIZE))


def gap_of(look: Look) -> float:
    """How far the frame of a polyp lies from its outline, px: side by side, with one dark edge between them."""
    return (look.line + look.outline) / 2 + look.edge


def bars_of(box: Rect, look: Look, *, held: bool) -> tuple[Rect, ...]:
    """The lines of a box as filled areas: a whole frame, or the four corners alone for a polyp that is held.

    They lie on whole px, or lines of one box would differ in width.
    """
    x1, y1, x2, y2 = (math.floor(value + 0.5) for value in box)
    half = look.line / 2
    horizontal, vertical = ([(x1, x2)], [(y1, y2)]) if not held else (_ends(x1, x2, look), _ends(y1, y2, look))
    return (
        *((a - half, y - half, b + half, y + half) for y in (y1, y2) for a, b in horizontal),
        *((x - half, a - half, x + half, b + half) for x in (x1, x2) for a, b in vertical),
    )


def within(box: Rect, area: Rect, look: Look) -> Rect:
    """A box moved inwards where its lines would leave the picture."""
    margin = look.line / 2 + look.edge
    x1, x2 = (min(max(x, area[0] + margin), area[2] - margin) for x in (box[0], box[2]))
    y1, y2 = (min(max(y, area[1] + margin), area[3] - margin) for y in (box[1], box[3]))
    return x1, y1, x2, y2


def _ends(low: float, high: float, look: Look) -> list[tuple[float, float]]:
    """The two ends of a side, with a gap between them that is wider than their edges."""
    gap = 2 * look.edge + (1 + _SMALLEST_GAP) * look.line
    length = max(0.0, min(_CORNER * (high - low), (high - low - gap) / 2))
    return [(low, low + length), (high - length, high)]


def leader_of(label: Rect, box: Rect) -> tuple[tuple[float, float], tuple[float, float]]:
    """The shortest line from a label to its box."""
    ends = []
    for low, high, first, last in ((label[0], label[2], box[0], box[2]), (label[1], label[3], box[1], box[3])):
        if high < first:
            ends.append((high, first))
        elif last < low:
            ends.append((low, last))
        else:
            middle = (max(low, first) + min(high, last)) / 2
            ends.append((middle, middle))
    (x1, x2), (y1, y2) = ends
    return (x1, y1), (x2, y2)

"""A bright bar at the edge of the picture on the side of each polyp that appears: seen from the corner of the eye."""

import time
from collections.abc import Callable, Iterable
from typing import Literal

from PyQt5.QtCore import QRectF
from PyQt5.QtGui import QColor, QPainter

from realtime_polyp.outputs.labels import Rect
from realtime_polyp.outputs.overlay import SHOWN_COLOUR
from realtime_polyp.outputs.overlay_lines import EDGE_COLOUR
from realtime_polyp.viewer.paint import Surface

SIGNAL_S = 1.5
"""For how long a bar is shown."""

Side = Literal["left", "top", "right", "bottom"]
_THICKNESS = 1 / 55  # of the smaller side of the picture
_LEAST_LENGTH = 0.18  # of the edge


class EdgeSignals:
    """The bars of the polyps that appeared within the last moments. clock: the present time, s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: list[tuple[float, Rect]] = []

    def start(self, boxes: Iterable[Rect]) -> None:
        """Signal polyps that appear now. boxes: xyxy, source px."""
        self._started += [(self._clock(), box) for box in boxes]

    def clear(self) -> None:
        self._started = []

    def boxes(self) -> list[Rect]:
        """The boxes, xyxy source px, that are signalled at present."""
        now_s = self._clock()
        self._started = [one for one in self._started if now_s - one[0] < SIGNAL_S]
        return [box for _, box in self._started]

    def paint(self, painter: QPainter, surface: Surface) -> None:
        for box in self.boxes():
            rect, edge = bar_of(surface.moved(box), surface.picture)
            painter.fillRect(rect.adjusted(-edge, -edge, edge, edge) & surface.picture, QColor(*EDGE_COLOUR))
            painter.fillRect(rect, QColor(*SHOWN_COLOUR))


def side_of(box: Rect, picture: QRectF) -> Side:
    """The side of the picture that a box is nearest to."""
    distances: dict[Side, float] = {
        "left": (box[0] - picture.left()) / picture.width(),
        "right": (picture.right() - box[2]) / picture.width(),
        "top": (box[1] - picture.top()) / picture.height(),
        "bottom": (picture.bottom() - box[3]) / picture.height(),
    }
    return min(distances, key=lambda side: distances[side])


def bar_of(box: Rect, picture: QRectF) -> tuple[QRectF, float]:
    """The bar beside a box, and the width of its dark edge, px: as long as the box, at the picture's nearest edge."""
    side, thick = side_of(box, picture), min(picture.width(), picture.height()) * _THICKNESS
    upright = side in ("left", "right")
    low, high, whole = (1, 3, picture.height()) if upright else (0, 2, picture.width())
    first = picture.top() if upright else picture.left()
    length = min(whole, max(box[high] - box[low], whole * _LEAST_LENGTH))
    start = min(max((box[low] + box[high] - length) / 2, first), first + whole - length)
    if upright:
        x = picture.left() if side == "left" else picture.right() - thick
        return QRectF(x, start, thick, length), thick / 4
    y = picture.top() if side == "top" else picture.bottom() - thick
    return QRectF(start, y, length, thick), thick / 4

"""The legend: what the number, the per cent and the colours over the picture mean. Key L; open at the first start."""

from collections.abc import Callable

import numpy as np
from PyQt5.QtCore import QPoint, QPointF, QRect, QRectF, Qt
from PyQt5.QtGui import QColor, QFontMetricsF, QMouseEvent, QPainter, QPaintEvent
from PyQt5.QtWidgets import QWidget

from realtime_polyp.outputs.labels import LabelPlacer
from realtime_polyp.outputs.overlay import SHOWN_COLOUR, BoxShape, Shapes
from realtime_polyp.outputs.overlay_lines import Look
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.paint import Surface, font_px, paint_shapes
from realtime_polyp.viewer.polyp_list import paint_flag, paint_verdict
from realtime_polyp.viewer.theme import BACKGROUND, BAR, DIM, LINE, TEXT

_ROWS = (
    ("shown", "Green frame", "a polyp is found in this picture"),
    ("held", "Amber corners", "found a moment ago, not in this picture"),
    ("outline", "Cyan outline", "how far the polyp reaches"),
    ("label", "2  89 %", "polyp number 2; how certain the program is"),
    ("bar", "Green bar at the edge", "a new polyp, on this side of the picture"),
    ("flag", "Violet flag in the list", "a marked moment, to look at later"),
)
_JUDGED_ROWS = (
    ("accepted", "Green tick", "a person said: it is a polyp"),
    ("rejected", "Red cross", "a person said: a false alarm"),
)
_MUCOSA = (176, 98, 88)
_TALLEST = 0.66  # of the canvas
_FOOT = "L hides and shows this legend"


class Legend(QWidget):
    """A panel on the canvas, in the size that fits it. A click closes it.

    on_close: called when the user closes it. judges: polyps are judged in this window; the signs for that are listed.
    """

    def __init__(self, canvas: Canvas, on_close: Callable[[], None], *, judges: bool = False) -> None:
        super().__init__(canvas)
        self._canvas, self._on_close = canvas, on_close
        self._rows = (*_ROWS, *_JUDGED_ROWS) if judges else _ROWS
        self.setObjectName("legend")
        self._size, self._is_open = 16.0, False
        self.hide()

    def toggle(self) -> None:
        if self._is_open:
            self.dismiss()
        else:
            self.open()

    def open(self) -> None:
        self._is_open = True
        self.fit()
        self.make_way()
        self._canvas.update()

    def dismiss(self) -> None:
        self._is_open = False
        self.hide()
        self._on_close()
        self._canvas.update()

    def make_way(self) -> None:
        """While it is open: go to the corner where it covers least of badges and polyps.

        It is hidden while a condition is written over the picture, which must be read first.
        """
        self.setVisible(self._is_open and not self._canvas.condition.covers)
        if self.isHidden():
            return
        areas = self._canvas.areas_to_see()
        corners = [self.pos(), *self._corners()]  # where it lies comes first: it only moves for less
        covered = [sum(_common_px(QRectF(QRect(corner, self.size())), area) for area in areas) for corner in corners]
        best = corners[covered.index(min(covered))]
        if best != self.pos():
            self.move(best)
            self._canvas.update()

    def fit(self) -> None:
        """Take the size and the place for the canvas as it is: the lower left corner."""
        width, height = self._canvas.width(), self._canvas.height()
        lines = len(self._rows) * 2.6 + 3.2
        self._size = max(11.0, min(height / 30, width / 42, _TALLEST * height / lines))
        needed = self._width_of(self._size)
        if needed > 0.92 * width:
            self._size *= 0.92 * width / needed
            needed = self._width_of(self._size)
        self.resize(round(needed), round(self._size * lines))
        self.move(self._corners()[0])

    def _corners(self) -> list[QPoint]:
        """Where it can lie: the lower and the upper corners, the left ones first."""
        margin = round(0.6 * self._size)
        right = max(margin, self._canvas.width() - self.width() - margin)
        bottom = max(0, self._canvas.height() - self.height() - margin)
        return [QPoint(x, y) for y in (bottom, margin) for x in (margin, right)]

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.dismiss()

    def paintEvent(self, event: QPaintEvent) -> None:
        size = self._size
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        painter.setPen(QColor(LINE))
        painter.setBrush(QColor(BACKGROUND))
        painter.drawRect(QRectF(0.5, 0.5, self.width() - 1, self.height() - 1))
        for index, (kind, title, meaning) in enumerate(self._rows):
            top = size * (0.9 + 2.6 * index)
            _paint_sample(painter, kind, QRectF(size, top, 4 * size, 2.2 * size))
            _write(painter, title, size * 6, top + 1.0 * size, font=size, colour=TEXT, bold=True)
            _write(painter, meaning, size * 6, top + 2.15 * size, font=size * 0.9, colour=TEXT)
        _write(painter, _FOOT, size, self.height() - 0.9 * size, font=size * 0.85, colour=DIM)

    def _width_of(self, size: float) -> float:
        texts = [(title, size, True) for _, title, _ in self._rows]
        texts += [(meaning, size * 0.9, False) for *_, meaning in self._rows]
        widths = [QFontMetricsF(font_px(font, bold=bold)).horizontalAdvance(text) for text, font, bold in texts]
        return float(7.5 * size + max(widths))


def _common_px(a: QRectF, b: QRectF) -> float:
    """The area that two rectangles share, px."""
    common = a.intersected(b)
    return float(common.width() * common.height())


def _write(painter: QPainter, text: str, x: float, y: float, *, font: float, colour: str, bold: bool = False) -> None:
    painter.setFont(font_px(font, bold=bold))
    painter.setPen(QColor(colour))
    painter.drawText(QPointF(x, y), text)


def _paint_sample(painter: QPainter, kind: str, area: QRectF) -> None:
    """A piece of a picture with the sign in it, drawn as over the real picture; the flag as in the list."""
    painter.fillRect(area, QColor(BAR) if kind == "flag" else QColor(*_MUCOSA))
    width, height = area.width(), area.height()
    if kind in ("accepted", "rejected"):
        paint_verdict(painter, kind == "accepted", area.center(), 0.42 * height)
        return
    if kind == "flag":
        paint_flag(painter, area)
        return
    if kind == "bar":
        painter.fillRect(
            QRectF(area.left(), area.top() + height * 0.2, height * 0.16, height * 0.6), QColor(*SHOWN_COLOUR)
        )
        return
    box = (0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height)
    turn = np.linspace(0, 2 * np.pi, 40)
    round_ = np.stack([width * (0.5 + 0.3 * np.cos(turn)), height * (0.5 + 0.32 * np.sin(turn))], axis=1)
    boxes = {
        "shown": (BoxShape(box, "", held=False),),
        "held": (BoxShape(box, "", held=True),),
        "label": (BoxShape((0.1 * width, 0.6 * height, 0.9 * width, 1.4 * height), "2  89 %", held=False),),
    }.get(kind, ())
    outlines = (round_.astype(np.float32),) if kind == "outline" else ()
    surface = Surface(QRectF(area), 1.0, QRectF(area), look=Look(height / 12, height / 14, height / 24, height * 0.36))
    painter.save()
    painter.setClipRect(area)
    paint_shapes(painter, Shapes(boxes, outlines, fill=False), surface, LabelPlacer())
    painter.restore()
    painter.setPen(Qt.NoPen)

"""Paints what persons drew over the picture: white, so that it cannot be taken for the program's."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QFontMetricsF, QPainter, QPen, QPolygonF

from realtime_polyp.metrics.run_lengths import RunLengths, decode
from realtime_polyp.review.actions import Box
from realtime_polyp.viewer.editing_tools import Point, contours_of
from realtime_polyp.viewer.judging import PolypBox
from realtime_polyp.viewer.paint import Surface, font_px
from realtime_polyp.viewer.polyp_list import paint_verdict

DRAWN = "#ffffff"
_EDGE = "#000000"
_LINE, _HANDLE, _SIGN, _FONT = 1 / 300, 1 / 110, 1 / 34, 1 / 36  # of the picture's height


def paint_polyp(
    painter: QPainter, surface: Surface, one: PolypBox, outline: RunLengths | None, *, chosen: bool
) -> None:
    """Paint a person's box with its name, or the verdict at the program's own box; handles where it is chosen."""
    rect = _rect(surface, one.box)
    height = surface.picture.height()
    if outline is not None:
        _paint_contours(painter, surface, contours_of(decode(outline)))
    if one.drawn:
        paint_box(painter, surface, one.box)
        _paint_name(painter, one.name, rect, height)
    if one.verdict is not None and not (one.drawn and one.polyp < 0 and one.verdict):
        radius = max(9.0, height * _SIGN)
        paint_verdict(painter, one.verdict, QPointF(rect.right() + 1.4 * radius, rect.center().y()), radius)
    if chosen:
        _paint_handles(painter, rect, max(3.0, height * _HANDLE))


def paint_box(painter: QPainter, surface: Surface, box: Box, *, dashed: bool = False) -> None:
    """Paint a white box with a dark edge."""
    rect = _rect(surface, box)
    painter.save()
    painter.setBrush(Qt.NoBrush)
    for pen in _pens(surface):
        pen.setStyle(Qt.DashLine if dashed and pen.color() == QColor(DRAWN) else Qt.SolidLine)
        painter.setPen(pen)
        painter.drawRect(rect)
    painter.restore()


def paint_brush(
    painter: QPainter, surface: Surface, contours: Iterable[NDArray[np.int32]], at: Point | None, radius_px: float
) -> None:
    """Paint an outline that is being painted, and the brush at the mouse."""
    _paint_contours(painter, surface, contours)
    if at is not None:
        painter.save()
        painter.setRenderHint(QPainter.Antialiasing)
        painter.setBrush(Qt.NoBrush)
        for pen in _pens(surface):
            painter.setPen(pen)
            painter.drawEllipse(_point(surface, at), radius_px * surface.scale, radius_px * surface.scale)
        painter.restore()


def paint_corners(painter: QPainter, surface: Surface, corners: Sequence[Point], at: Point | None) -> None:
    """Paint a polygon that is being drawn, with a line to the mouse."""
    points = [_point(surface, one) for one in (*corners, *((at,) if at else ()))]
    painter.save()
    painter.setRenderHint(QPainter.Antialiasing)
    painter.setBrush(Qt.NoBrush)
    for pen in _pens(surface):
        painter.setPen(pen)
        painter.drawPolyline(QPolygonF(points))
    for corner in points[: len(corners)]:
        painter.fillRect(QRectF(corner.x() - 3, corner.y() - 3, 6, 6), QColor(DRAWN))
    painter.restore()


def _paint_contours(painter: QPainter, surface: Surface, contours: Iterable[NDArray[np.int32]]) -> None:
    painter.save()
    painter.setRenderHint(QPainter.Antialiasing)
    painter.setBrush(Qt.NoBrush)
    for contour in contours:
        polygon = QPolygonF([_point(surface, (x + 0.5, y + 0.5)) for x, y in contour.tolist()])
        for pen in _pens(surface):
            painter.setPen(pen)
            painter.drawPolygon(polygon)
    painter.restore()


def _paint_name(painter: QPainter, name: str, rect: QRectF, height: float) -> None:
    font = font_px(max(13.0, height * _FONT), bold=True)
    metrics = QFontMetricsF(font)
    high = metrics.height() * 1.1
    top = rect.top() - high if rect.top() > high else rect.bottom()
    area = QRectF(rect.left(), top, metrics.horizontalAdvance(name) + high * 0.6, high)
    painter.fillRect(area, QColor(DRAWN))
    painter.setFont(font)
    painter.setPen(QColor(_EDGE))
    painter.drawText(area, Qt.AlignCenter, name)


def _paint_handles(painter: QPainter, rect: QRectF, size: float) -> None:
    painter.save()
    painter.setPen(QPen(QColor(_EDGE), 1))
    painter.setBrush(QColor(DRAWN))
    for x in (rect.left(), rect.center().x(), rect.right()):
        for y in (rect.top(), rect.center().y(), rect.bottom()):
            if (x, y) != (rect.center().x(), rect.center().y()):
                painter.drawRect(QRectF(x - size / 2, y - size / 2, size, size))
    painter.restore()


def _pens(surface: Surface) -> tuple[QPen, QPen]:
    """A wide dark pen, and a narrow white one over it."""
    width = max(1.5, surface.picture.height() * _LINE)
    return QPen(QColor(_EDGE), width + 2.0), QPen(QColor(DRAWN), width)


def _rect(surface: Surface, box: Box) -> QRectF:
    left, top, right, bottom = surface.moved(box)
    return QRectF(left, top, right - left, bottom - top)


def _point(surface: Surface, point: Point) -> QPointF:
    return QPointF(surface.picture.x() + point[0] * surface.scale, surface.picture.y() + point[1] * surface.scale)

"""The icons of the buttons, drawn as paths in a 24 x 24 box: sharp at any pixel ratio, without fonts or files."""

from collections.abc import Callable

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QIcon, QPainter, QPainterPath, QPen, QPixmap, QPolygonF

from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.theme import ACCENT, DIM, TEXT

BOX = 24
_RATIOS = (1, 2, 3)


def icon(name: str) -> QIcon:
    """Draw an icon. Raises KeyError for a name that is not in DRAWINGS."""
    qicon = QIcon()
    for ratio in _RATIOS:
        for mode, state, colour in (
            (QIcon.Normal, QIcon.Off, TEXT), (QIcon.Normal, QIcon.On, ACCENT), (QIcon.Disabled, QIcon.Off, DIM),
        ):  # fmt: skip
            qicon.addPixmap(_pixmap(DRAWINGS[name], ratio, colour), mode, state)
    return qicon


def _pixmap(draw: Callable[[QPainter], None], ratio: int, colour: str) -> QPixmap:
    pixmap = QPixmap(BOX * ratio, BOX * ratio)
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.Antialiasing)
    painter.setPen(QPen(QColor(colour), 2, Qt.SolidLine, Qt.RoundCap, Qt.RoundJoin))
    painter.setBrush(Qt.NoBrush)
    draw(painter)
    painter.end()
    return pixmap


def _filled(painter: QPainter, *points: tuple[float, float]) -> None:
    painter.setBrush(painter.pen().color())
    painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in points]))


def _play(painter: QPainter) -> None:
    _filled(painter, (7, 4), (20, 12), (7, 20))


def _pause(painter: QPainter) -> None:
    painter.fillRect(QRectF(5, 4, 5, 16), painter.pen().color())
    painter.fillRect(QRectF(14, 4, 5, 16), painter.pen().color())


def _step(painter: QPainter) -> None:
    painter.fillRect(QRectF(4, 4, 4, 16), painter.pen().color())
    _filled(painter, (12, 5), (20, 12), (12, 19))


def _again(painter: QPainter) -> None:
    painter.drawArc(QRectF(4, 4, 16, 16), 60 * 16, 280 * 16)
    _filled(painter, (12, 2), (17, 5), (12, 8.5))


def _back(painter: QPainter) -> None:
    _filled(painter, (12, 5), (5, 12), (12, 19))
    _filled(painter, (20, 5), (13, 12), (20, 19))


def _forward(painter: QPainter) -> None:
    _filled(painter, (4, 5), (11, 12), (4, 19))
    _filled(painter, (12, 5), (19, 12), (12, 19))


def _step_back(painter: QPainter) -> None:
    painter.fillRect(QRectF(16, 4, 4, 16), painter.pen().color())
    _filled(painter, (12, 5), (4, 12), (12, 19))


def _next_alarm(painter: QPainter) -> None:
    """To a box around a polyp."""
    _filled(painter, (2, 7), (8, 12), (2, 17))
    painter.setBrush(Qt.NoBrush)
    painter.drawRect(QRectF(11, 5, 11, 14))
    painter.drawEllipse(QRectF(14, 9.5, 5, 5))


def _previous_alarm(painter: QPainter) -> None:
    painter.translate(BOX, 0)
    painter.scale(-1, 1)
    _next_alarm(painter)


def _replay(painter: QPainter) -> None:
    """Back by ten seconds."""
    painter.drawArc(QRectF(3, 4, 18, 18), -170 * 16, 260 * 16)
    _filled(painter, (13, 0.5), (8, 4), (13, 7.5))
    painter.setFont(font_px(10, bold=True))
    painter.drawText(QRectF(3, 5, 18, 17), Qt.AlignCenter, "10")


def _faster(painter: QPainter) -> None:
    _forward(painter)


def _overlay(painter: QPainter) -> None:
    """A box around a polyp."""
    for x, y, toward_x, toward_y in ((3, 3, 1, 1), (21, 3, -1, 1), (3, 21, 1, -1), (21, 21, -1, -1)):
        painter.drawPolyline(QPolygonF([QPointF(x + 5 * toward_x, y), QPointF(x, y), QPointF(x, y + 5 * toward_y)]))
    painter.drawEllipse(QRectF(8, 8, 8, 8))


def _outline(painter: QPainter) -> None:
    painter.drawPath(_blob())


def _fill(painter: QPainter) -> None:
    colour = QColor(painter.pen().color())
    colour.setAlpha(120)
    painter.setBrush(colour)
    painter.drawPath(_blob())


def _boxes(painter: QPainter) -> None:
    painter.drawRect(QRectF(4, 5, 16, 14))


def _labels(painter: QPainter) -> None:
    """A label above the corner of a box."""
    painter.drawPolyline(QPolygonF([QPointF(3, 21), QPointF(3, 15), QPointF(21, 15), QPointF(21, 21)]))
    painter.setBrush(painter.pen().color())
    painter.drawRoundedRect(QRectF(3, 4, 13, 6), 1, 1)


def _legend(painter: QPainter) -> None:
    """A list of signs and their meanings."""
    for y in (5, 12, 19):
        painter.drawRect(QRectF(3, y - 1.5, 3, 3))
        painter.drawLine(QPointF(11, y), QPointF(21, y))


def _blob() -> QPainterPath:
    path = QPainterPath(QPointF(5, 14))
    path.cubicTo(2, 6, 9, 2, 15, 5)
    path.cubicTo(22, 8, 23, 17, 16, 20)
    path.cubicTo(11, 22, 6, 20, 5, 14)
    return path


def _sound(painter: QPainter) -> None:
    painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in ((3, 9), (7, 9), (12, 4), (12, 20), (7, 15), (3, 15))]))
    painter.drawArc(QRectF(11, 8, 7, 8), -60 * 16, 120 * 16)
    painter.drawArc(QRectF(10, 4, 12, 16), -60 * 16, 120 * 16)


def _camera(painter: QPainter) -> None:
    painter.drawRoundedRect(QRectF(2, 7, 20, 13), 2, 2)
    painter.drawPolyline(QPolygonF([QPointF(8, 7), QPointF(9.5, 4), QPointF(14.5, 4), QPointF(16, 7)]))
    painter.drawEllipse(QRectF(8, 9.5, 8, 8))


def _record(painter: QPainter) -> None:
    """A red light."""
    colour = painter.pen().color()
    painter.drawEllipse(QRectF(3, 3, 18, 18))
    painter.setBrush(colour)
    painter.drawEllipse(QRectF(8, 8, 8, 8))


def _keep(painter: QPainter) -> None:
    """A bookmark."""
    painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in ((6, 3), (18, 3), (18, 21), (12, 16), (6, 21))]))


def _full(painter: QPainter) -> None:
    for x, y, toward_x, toward_y in ((3, 5, 1, 1), (21, 5, -1, 1), (3, 19, 1, -1), (21, 19, -1, -1)):
        painter.drawPolyline(QPolygonF([QPointF(x + 6 * toward_x, y), QPointF(x, y), QPointF(x, y + 5 * toward_y)]))


def _help(painter: QPainter) -> None:
    painter.drawRoundedRect(QRectF(2, 6, 20, 13), 2, 2)
    for x in (6, 10, 14, 18):
        painter.drawPoint(QPointF(x, 10.5))
    painter.drawLine(QPointF(7, 15), QPointF(17, 15))


DRAWINGS: dict[str, Callable[[QPainter], None]] = {
    "play": _play, "pause": _pause, "step": _step, "again": _again, "back": _back, "forward": _forward,
    "step back": _step_back, "next alarm": _next_alarm, "previous alarm": _previous_alarm, "replay": _replay,
    "faster": _faster,
    "overlay": _overlay, "boxes": _boxes, "outline": _outline, "labels": _labels, "fill": _fill,
    "sound": _sound, "legend": _legend, "record": _record, "keep": _keep,
    "snapshot": _camera, "full screen": _full, "help": _help,
}  # fmt: skip

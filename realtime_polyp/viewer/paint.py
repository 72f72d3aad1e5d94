"""Paint boxes, outlines and conditions over the picture, as vectors."""

import math

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QBrush, QColor, QFont, QFontMetricsF, QPainter, QPainterPath, QPen, QPolygonF

from realtime_polyp.outputs.overlay import (
    FILL_OPACITY,
    HELD_COLOUR,
    MASK_COLOUR,
    SHOWN_COLOUR,
    BoxShape,
    Colour,
    Shapes,
)
from realtime_polyp.viewer.condition import Condition
from realtime_polyp.viewer.theme import TEXT, TONES

_LINES_PER_HEIGHT = 360  # as in overlay.draw: picture height per line width
_LABEL_PER_HEIGHT = 40


def paint_shapes(painter: QPainter, shapes: Shapes, shown: QRectF, scale: float) -> None:
    """Paint the overlay. shown: the area of the picture on the widget. scale: widget px per source px."""
    painter.save()
    painter.setRenderHint(QPainter.Antialiasing)
    painter.setClipRect(shown)
    width = max(1.5, shown.height() / _LINES_PER_HEIGHT)
    _paint_outlines(painter, shapes, shown, scale, width)
    for box in shapes.boxes:
        _paint_box(painter, box, shown, scale, width)
    painter.restore()


def _paint_outlines(painter: QPainter, shapes: Shapes, shown: QRectF, scale: float, width: float) -> None:
    fill = QColor(*MASK_COLOUR)
    fill.setAlphaF(FILL_OPACITY)
    painter.setBrush(QBrush(fill) if shapes.fill else Qt.NoBrush)
    painter.setPen(_pen(MASK_COLOUR, width))
    for outline in shapes.outlines:
        points = [QPointF(shown.x() + x * scale, shown.y() + y * scale) for x, y in outline.tolist()]
        painter.drawPolygon(QPolygonF(points))


def _paint_box(painter: QPainter, box: BoxShape, shown: QRectF, scale: float, width: float) -> None:
    colour = HELD_COLOUR if box.held else SHOWN_COLOUR
    x1, y1, x2, y2 = (value * scale for value in box.box)
    rect = QRectF(shown.x() + x1, shown.y() + y1, x2 - x1, y2 - y1)
    painter.setBrush(Qt.NoBrush)
    pen = _pen(colour, width)
    pen.setStyle(Qt.DashLine if box.held else Qt.SolidLine)
    painter.setPen(pen)
    painter.drawRect(rect)
    if box.label:
        _paint_label(painter, box.label, rect, shown, colour, width)


def _paint_label(painter: QPainter, label: str, rect: QRectF, shown: QRectF, colour: Colour, width: float) -> None:
    """Paint black text on the box's colour, above the box, or inside it at the picture's upper edge."""
    font = font_px(max(13.0, shown.height() / _LABEL_PER_HEIGHT), bold=True)
    metrics = QFontMetricsF(font)
    text_width, text_height = metrics.horizontalAdvance(label) + 10, metrics.height() + 2
    x = min(max(shown.left(), rect.left() - width / 2), shown.right() - text_width)
    y = rect.top() - text_height
    if y < shown.top():
        y = max(shown.top(), rect.top())
    background = QRectF(x, y, text_width, text_height)
    painter.fillRect(background, QColor(*colour))
    painter.setFont(font)
    painter.setPen(Qt.black)
    painter.drawText(background, Qt.AlignCenter, label)


def paint_cover(painter: QPainter, area: QRectF, condition: Condition) -> None:
    """Write a condition large in the centre, over a dimmed picture."""
    painter.save()
    painter.setRenderHint(QPainter.Antialiasing)
    painter.fillRect(area, QColor(0, 0, 0, 175))
    size = min(max(20.0, area.height() / 14), area.width() / 14)
    tone = QColor(TONES[condition.tone])
    middle = area.center().y()
    painter.setBrush(tone)
    painter.setPen(Qt.NoPen)
    painter.drawEllipse(QPointF(area.center().x(), middle - 1.6 * size), size / 4, size / 4)
    _draw_centred(painter, condition.title, QRectF(area.x(), middle - size, area.width(), 1.5 * size), size, tone)
    below = QRectF(area.x() + area.width() * 0.1, middle + 0.75 * size, area.width() * 0.8, area.height() / 2 - size)
    _draw_centred(painter, condition.detail, below, max(14.0, size * 0.4), QColor(TEXT), bold=False)
    painter.restore()


def _draw_centred(
    painter: QPainter, text: str, area: QRectF, size: float, colour: QColor, *, bold: bool = True
) -> None:
    painter.setFont(font_px(size, bold=bold))
    painter.setPen(colour)
    painter.drawText(area, int(Qt.AlignHCenter | Qt.AlignTop | Qt.TextWordWrap), text)


def paint_badge(painter: QPainter, area: QRectF, condition: Condition) -> None:
    """Write a condition in a pill at the top of the picture, which is not dimmed."""
    painter.save()
    painter.setRenderHint(QPainter.Antialiasing)
    font = font_px(min(max(15.0, area.height() / 34), 26.0), bold=True)
    metrics = QFontMetricsF(font)
    text = f"{condition.title}  \u2013  {condition.detail}" if condition.detail else condition.title
    text = metrics.elidedText(text, Qt.ElideRight, area.width() * 0.9 - 3 * metrics.height())
    height = metrics.height() * 1.6
    pill = QRectF(0, 0, metrics.horizontalAdvance(text) + 1.75 * height, height)
    pill.moveCenter(QPointF(area.center().x(), area.top() + 14 + height / 2))
    path = QPainterPath()
    path.addRoundedRect(pill, height / 2, height / 2)
    painter.fillPath(path, QColor(11, 13, 16, 215))
    painter.setPen(Qt.NoPen)
    painter.setBrush(QColor(TONES[condition.tone]))
    painter.drawEllipse(QPointF(pill.left() + 0.75 * height, pill.center().y()), height / 6, height / 6)
    painter.setPen(QColor(TONES[condition.tone]))
    painter.setFont(font)
    painter.drawText(pill.adjusted(height * 1.1, 0, 0, 0), int(Qt.AlignLeft | Qt.AlignVCenter), text)
    painter.restore()


def font_px(size: float, *, bold: bool = False) -> QFont:
    """The default font at a size in px, at least 8."""
    font = QFont()
    font.setPixelSize(max(8, math.floor(size)))
    font.setBold(bold)
    return font


def _pen(colour: Colour, width: float) -> QPen:
    pen = QPen(QColor(*colour), width)
    pen.setJoinStyle(Qt.MiterJoin)
    return pen

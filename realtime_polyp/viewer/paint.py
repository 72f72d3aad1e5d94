"""Paint boxes, outlines, labels and covering conditions over the picture, as vectors."""

import math
from dataclasses import dataclass

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QBrush, QColor, QFont, QFontMetricsF, QPainter, QPen, QPolygonF

from realtime_polyp.outputs.labels import Label, LabelPlacer, Place, Rect
from realtime_polyp.outputs.overlay import (
    FILL_OPACITY,
    LABEL_DARK,
    BoxShape,
    Colour,
    Shapes,
    labelled_boxes,
    moved,
)
from realtime_polyp.outputs.overlay_lines import EDGE_COLOUR, Look, bars_of, leader_of, look_of, within
from realtime_polyp.viewer.condition import Condition
from realtime_polyp.viewer.theme import TEXT, TONES

_LABEL_HEIGHT, _LABEL_PAD = 1.2, 0.3  # of the font's height, as in overlay.draw


@dataclass(frozen=True)
class Surface:
    """Where the overlay is painted, in px of the widget.

    Attributes:
        picture: the area of the picture.
        scale: widget px per source px.
        labels: the area in which labels may lie.
        taken: areas of badges, which no label covers.
        look: sizes; None: those for the picture.
    """

    picture: QRectF
    scale: float
    labels: QRectF
    taken: tuple[Rect, ...] = ()
    look: Look | None = None

    def moved(self, rect: Rect) -> Rect:
        """An area of the source on the widget."""
        return moved(rect, self.scale, self.picture.x(), self.picture.y())


def paint_shapes(painter: QPainter, shapes: Shapes, surface: Surface, placer: LabelPlacer) -> None:
    """Paint the overlay. placer: the one of the previous pictures, so that labels stay where they are."""
    picture = surface.picture
    look = surface.look or look_of(picture.width(), picture.height())
    painter.save()
    painter.setClipRect(picture)
    painter.setRenderHint(QPainter.Antialiasing)
    _paint_outlines(painter, shapes, surface, look)
    painter.setRenderHint(QPainter.Antialiasing, False)
    for box in shapes.boxes:
        if box.framed:
            _paint_frame(painter, box, surface, look)
    painter.setClipping(False)
    if labelled := labelled_boxes(shapes):
        _paint_labels(painter, labelled, shapes, surface, look, placer)
    painter.restore()


def _paint_outlines(painter: QPainter, shapes: Shapes, surface: Surface, look: Look) -> None:
    left, top, scale = surface.picture.x(), surface.picture.y(), surface.scale
    fill = QColor(*shapes.colour)
    fill.setAlphaF(FILL_OPACITY)
    for outline in shapes.outlines:
        polygon = QPolygonF([QPointF(left + x * scale, top + y * scale) for x, y in outline.tolist()])
        if shapes.fill:
            painter.setPen(Qt.NoPen)
            painter.setBrush(QBrush(fill))
            painter.drawPolygon(polygon)
        if shapes.lined:
            painter.setBrush(Qt.NoBrush)
            for colour, width in ((EDGE_COLOUR, look.outline + 2 * look.edge), (shapes.colour, look.outline)):
                painter.setPen(_pen(colour, width))
                painter.drawPolygon(polygon)


def _paint_frame(painter: QPainter, box: BoxShape, surface: Surface, look: Look) -> None:
    bars = bars_of(within(surface.moved(box.box), _rect(surface.picture), look), look, held=box.held)
    for colour, grow in ((EDGE_COLOUR, look.edge), (box.colour, 0.0)):
        for bar in bars:
            painter.fillRect(_grown(bar, grow), QColor(*colour))


def _paint_labels(
    painter: QPainter,
    labelled: dict[int, BoxShape],
    shapes: Shapes,
    surface: Surface,
    look: Look,
    placer: LabelPlacer,
) -> None:
    font = font_px(look.text, bold=True)
    metrics = QFontMetricsF(font)
    painter.setFont(font)
    labels = [
        Label(
            number,
            surface.moved(box.box),
            metrics.horizontalAdvance(box.label) + 2 * _LABEL_PAD * look.text,
            _LABEL_HEIGHT * look.text,
        )
        for number, box in labelled.items()
    ]
    polyps = shapes.polyps(surface.scale, surface.picture.x(), surface.picture.y())
    places = placer.place(labels, _rect(surface.labels), polyps=polyps, taken=surface.taken)
    for label in labels:
        _paint_label(painter, labelled[label.number], places[label.number], label.box, look)


def _paint_label(painter: QPainter, box: BoxShape, place: Place, at: Rect, look: Look) -> None:
    """Dark letters on the box's colour; for a held polyp, letters of its colour on a dark ground."""
    if not place.touches:
        (x1, y1), (x2, y2) = leader_of(place.rect, at)
        for colour, width in ((EDGE_COLOUR, look.line + 2 * look.edge), (box.colour, look.line)):
            painter.setPen(_pen(colour, width))
            painter.drawLine(QPointF(x1, y1), QPointF(x2, y2))
    painter.fillRect(_grown(place.rect, 0), QColor(*EDGE_COLOUR))
    painter.fillRect(_grown(place.rect, -look.edge), QColor(*box.colour))
    if box.held:
        painter.fillRect(_grown(place.rect, -look.edge - look.line), QColor(*LABEL_DARK))
    painter.setPen(QColor(*(box.colour if box.held else EDGE_COLOUR)))
    painter.drawText(_grown(place.rect, 0), Qt.AlignCenter, box.label)


def _rect(area: QRectF) -> Rect:
    return area.left(), area.top(), area.right(), area.bottom()


def _grown(rect: Rect, by: float) -> QRectF:
    return QRectF(QPointF(rect[0] - by, rect[1] - by), QPointF(rect[2] + by, rect[3] + by))


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

"""The picture: letterboxed, scaled once per frame, with its overlay painted as vectors."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, QRectF, QSize, Qt
from PyQt5.QtGui import QColor, QImage, QPainter, QPaintEvent
from PyQt5.QtWidgets import QSizePolicy, QWidget

from realtime_polyp.field_of_view import Image
from realtime_polyp.geometry import shrink
from realtime_polyp.outputs.labels import LabelPlacer, Rect
from realtime_polyp.outputs.overlay import NO_SHAPES, OverlayStyle, Shapes, moved, shapes_of
from realtime_polyp.packets import Frame
from realtime_polyp.viewer.badges import BadgeLayer, Notes
from realtime_polyp.viewer.condition import READY, Condition
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted
from realtime_polyp.viewer.edge_signal import EdgeSignals
from realtime_polyp.viewer.paint import Surface, paint_cover, paint_shapes
from realtime_polyp.viewer.theme import BACKGROUND

_LARGEST_PANEL = 0.45  # of the canvas: under a larger panel there is no other place for a label


class Canvas(QWidget):
    """Paints one frame. At 1:1 and without overlay, every pixel is the source's."""

    def __init__(self, style: OverlayStyle) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Ignored)
        self.setAttribute(Qt.WA_OpaquePaintEvent)
        self.setMinimumSize(160, 120)
        self.setMouseTracking(True)
        self._style, self._overlay_on = style, True
        self._condition, self._notes = READY, Notes()
        self.signals = EdgeSignals()
        self.extra: Callable[[QPainter, Surface], None] | None = None  # paints more over the picture
        self.is_blind: Callable[[], bool] = lambda: False  # whether the results are hidden, though there are some
        self.replaced: Callable[[], frozenset[int]] = frozenset  # tracks that are not drawn: something else is
        self._covered = (0, 0)
        self._badges, self._placer = BadgeLayer(), LabelPlacer()
        self._displayed: DisplayedFrame | None = None
        self._shapes: tuple[DisplayedFrame, OverlayStyle, Shapes] | None = None
        self._scaled: tuple[Frame, tuple[int, int], float, Image, QImage] | None = None
        self._painted = Painted(picture=False, overlay=False)
        self._mapped = False

    @property
    def on_screen(self) -> bool:
        """Whether the widget has been painted at least once."""
        return self._mapped

    def show_frame(self, displayed: DisplayedFrame) -> Painted:
        """Paint immediately, not from the event loop; returns what reached the screen."""
        self._displayed = displayed
        self._painted = Painted(picture=False, overlay=False)
        self.repaint()
        return self._painted

    def set_style(self, style: OverlayStyle, *, overlay_on: bool) -> None:
        self._style, self._overlay_on = style, overlay_on
        self.update()

    def set_condition(self, condition: Condition) -> None:
        if condition != self._condition:
            self._condition = condition
            self.update()

    def set_notes(self, notes: Notes) -> None:
        if notes != self._notes:
            self._notes = notes
            self.update()

    def set_covered(self, top_px: int, bottom_px: int) -> None:
        """Keep badges and labels out of the upper and the lower part, which something else covers."""
        self._covered = (top_px, bottom_px)
        self.update()

    def shapes(self) -> Shapes:
        """The shapes that are drawn over the picture."""
        displayed = self._displayed
        if displayed is None or displayed.result is None or not self._shows_overlay:
            return NO_SHAPES
        replaced = self.replaced()
        if replaced:
            tracks = tuple(track for track in displayed.result.tracks if track.id not in replaced)
            return shapes_of(replace(displayed.result, tracks=tracks), self._style)
        if self._shapes is None or self._shapes[0] is not displayed or self._shapes[1] != self._style:
            self._shapes = (displayed, self._style, shapes_of(displayed.result, self._style))
        return self._shapes[2]

    def boxes_on_widget(self) -> list[QRectF]:
        """The boxes that are drawn, in px of the widget."""
        if self._displayed is None:
            return []
        area = self.picture_rect()
        scale = area.width() / self._displayed.frame.image.shape[1]
        rects = [moved(box.box, scale, area.x(), area.y()) for box in self.shapes().boxes]
        return [QRectF(QPointF(x1, y1), QPointF(x2, y2)) for x1, y1, x2, y2 in rects]

    @property
    def condition(self) -> Condition:
        return self._condition

    def areas_to_see(self) -> list[QRectF]:
        """What nothing may cover: badges and boxes, widget px."""
        return [*self._badges.areas, *self.boxes_on_widget()]

    def picture_rect(self) -> QRectF:
        """The area of the picture on the widget: as large as fits, with its proportions, on whole device pixels."""
        if self._displayed is None:
            return QRectF(self.rect())
        ratio = self.devicePixelRatioF()
        left, top, width, height = letterbox(self._displayed.frame.image, self.width() * ratio, self.height() * ratio)
        return QRectF(left / ratio, top / ratio, width / ratio, height / ratio)

    @property
    def covered_px(self) -> int:
        """Height of the lower part that something else covers."""
        return self._covered[1]

    @property
    def style(self) -> OverlayStyle:
        return self._style

    @property
    def _shows_overlay(self) -> bool:
        return self._overlay_on and not self._condition.blanks and not self.is_blind()

    def source_px(self, widget_px: float) -> float:
        """A length on the widget in px of the source."""
        return widget_px / self._scale_of(self.picture_rect())

    def source_point(self, at: QPointF) -> tuple[float, float]:
        """A point of the widget in px of the source."""
        area = self.picture_rect()
        scale = self._scale_of(area)
        return (at.x() - area.x()) / scale, (at.y() - area.y()) / scale

    def _scale_of(self, area: QRectF) -> float:
        """Widget px per source px."""
        return area.width() / self._displayed.frame.image.shape[1] if self._displayed else 1.0

    def sizeHint(self) -> QSize:
        return QSize(1280, 720)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(event.rect(), QColor(BACKGROUND))
        area, picture = QRectF(self.rect()), self.picture_rect()
        free = area.adjusted(0, self._covered[0], 0, -self._covered[1])
        taken = self._badges.update(free, picture, self.devicePixelRatioF(), self._condition, self._notes)
        overlay = False
        if self._displayed is not None:
            overlay = self._paint_frame(painter, self._displayed, picture, free, taken + self._panels())
        if self._condition.covers:
            paint_cover(painter, area, self._condition)
        self._badges.paint(painter)
        painter.end()
        self._painted = Painted(picture=self._displayed is not None, overlay=overlay)
        self._mapped = True

    def _paint_frame(
        self, painter: QPainter, displayed: DisplayedFrame, area: QRectF, labels: QRectF, taken: list[Rect]
    ) -> bool:
        """Paint the picture and its overlay; returns whether the overlay is on, with or without a polyp."""
        ratio = self.devicePixelRatioF()
        size = (round(area.height() * ratio), round(area.width() * ratio))
        painter.drawImage(QPointF(area.topLeft()), self._scaled_image(displayed.frame, size, ratio))
        surface = Surface(area, area.width() / displayed.frame.image.shape[1], labels, tuple(taken))
        paint_shapes(painter, self.shapes(), surface, self._placer)
        overlay = displayed.result is not None and self._shows_overlay
        if overlay:
            self.signals.paint(painter, surface)
        if self.extra:
            self.extra(painter, surface)
        return overlay

    def _panels(self) -> list[Rect]:
        """The areas of the legend and of other panels, while they are open; not of one that covers the picture."""
        panels = [child.geometry() for child in self.children() if isinstance(child, QWidget) and child.isVisible()]
        most = _LARGEST_PANEL * self.width() * self.height()
        panels = [panel for panel in panels if panel.width() * panel.height() < most]
        return [(rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1) for rect in panels]

    def _scaled_image(self, frame: Frame, size: tuple[int, int], ratio: float) -> QImage:
        """The frame at the screen's size (h, w) px.

        It is cached until frame or size change, with the buffer that the QImage borrows.
        """
        if self._scaled is None or self._scaled[0] is not frame or self._scaled[1:3] != (size, ratio):
            pixels = np.ascontiguousarray(frame.image if frame.image.shape[:2] == size else shrink(frame.image, size))
            image = as_qimage(pixels)
            image.setDevicePixelRatio(ratio)  # set before the image is shared, or every pixel is copied
            self._scaled = (frame, size, ratio, pixels, image)
        return self._scaled[4]


def letterbox(image: NDArray[np.uint8], width_px: float, height_px: float) -> tuple[int, int, int, int]:
    """Fit an image (H, W, 3) into an area; returns left, top, width, height in whole px, at least 1 x 1."""
    rows, columns = image.shape[:2]
    scale = min(width_px / columns, height_px / rows)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    return int((width_px - width) // 2), int((height_px - height) // 2), width, height


def as_qimage(pixels: Image) -> QImage:
    """Wrap pixels (H, W, 3) RGB in a QImage without a copy; the caller must keep them alive."""
    height, width = pixels.shape[:2]
    return QImage(  # type: ignore[no-any-return,call-overload]  # accepts any buffer, but the stubs say bytes
        pixels.data, width, height, pixels.strides[0], QImage.Format_RGB888
    )

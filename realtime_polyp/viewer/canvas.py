"""The picture: letterboxed, scaled once per frame, its overlay painted over it as vectors."""

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, QRectF, QSize, Qt
from PyQt5.QtGui import QColor, QImage, QPainter, QPaintEvent
from PyQt5.QtWidgets import QSizePolicy, QWidget

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.overlay import NO_SHAPES, OverlayStyle, Shapes, shapes_of
from realtime_polyp.packets import Frame
from realtime_polyp.preprocess.letterbox import shrink
from realtime_polyp.viewer.condition import READY, Condition
from realtime_polyp.viewer.paint import paint_badge, paint_cover, paint_shapes
from realtime_polyp.viewer.theme import BACKGROUND
from realtime_polyp.viewer.view import Painted, View

_QUIET = ("running", "seeking")  # conditions the status line says well enough


class Canvas(QWidget):
    """Paints a view. Without an overlay, and at 1:1, every pixel of the picture is the source's."""

    def __init__(self, style: OverlayStyle) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Ignored)
        self.setAttribute(Qt.WA_OpaquePaintEvent)
        self.setMinimumSize(160, 120)
        self._style, self._overlay_on = style, True
        self._condition = READY
        self._view: View | None = None
        self._shapes: tuple[View, OverlayStyle, Shapes] | None = None
        self._scaled: tuple[Frame, tuple[int, int], float, Image, QImage] | None = None
        self._painted = Painted(picture=False, overlay=False)
        self._mapped = False

    @property
    def on_screen(self) -> bool:
        """It has been painted since it was last shown."""
        return self._mapped

    def show_view(self, view: View) -> Painted:
        """Paint at once, not when the event loop gets to it; says what reached the screen."""
        self._view = view
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

    def shapes(self) -> Shapes:
        """What is drawn over the present picture."""
        view = self._view
        if view is None or view.result is None or not self._overlay_on or self._condition.blanks:
            return NO_SHAPES
        if self._shapes is None or self._shapes[0] is not view or self._shapes[1] != self._style:
            self._shapes = (view, self._style, shapes_of(view.result, self._style))
        return self._shapes[2]

    def picture_rect(self) -> QRectF:
        """Where the picture is on the widget: as large as fits, proportions kept, on whole device pixels."""
        if self._view is None:
            return QRectF(self.rect())
        ratio = self.devicePixelRatioF()
        left, top, width, height = letterbox(self._view.frame.image, self.width() * ratio, self.height() * ratio)
        return QRectF(left / ratio, top / ratio, width / ratio, height / ratio)

    def sizeHint(self) -> QSize:
        return QSize(1280, 720)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(event.rect(), QColor(BACKGROUND))
        overlay = False
        if self._view is not None:
            overlay = self._paint_view(painter, self._view)
        area = self.picture_rect()
        if self._condition.covers:
            paint_cover(painter, QRectF(self.rect()), self._condition)
        elif self._condition.name not in _QUIET:
            paint_badge(painter, area, self._condition)
        painter.end()
        self._painted = Painted(picture=self._view is not None, overlay=overlay)
        self._mapped = True

    def _paint_view(self, painter: QPainter, view: View) -> bool:
        """The picture and its overlay; whether the overlay may be seen, be there a polyp or not."""
        area = self.picture_rect()
        ratio = self.devicePixelRatioF()
        size = (round(area.height() * ratio), round(area.width() * ratio))
        painter.drawImage(QPointF(area.topLeft()), self._scaled_image(view.frame, size, ratio))
        paint_shapes(painter, self.shapes(), area, area.width() / view.frame.image.shape[1])
        return view.result is not None and self._overlay_on and not self._condition.blanks

    def _scaled_image(self, frame: Frame, size: tuple[int, int], ratio: float) -> QImage:
        """The frame at the screen's size (h, w) px; kept, with the buffer that the QImage borrows, until either
        changes."""
        if self._scaled is None or self._scaled[0] is not frame or self._scaled[1:3] != (size, ratio):
            pixels = np.ascontiguousarray(frame.image if frame.image.shape[:2] == size else shrink(frame.image, size))
            image = as_qimage(pixels)
            image.setDevicePixelRatio(ratio)  # only while new: on a shared image it copies every pixel
            self._scaled = (frame, size, ratio, pixels, image)
        return self._scaled[4]


def letterbox(image: NDArray[np.uint8], width_px: float, height_px: float) -> tuple[int, int, int, int]:
    """left, top, width, height of an image (H, W, 3) shown as large as it fits, in whole pixels, at least one."""
    rows, columns = image.shape[:2]
    scale = min(width_px / columns, height_px / rows)
    width, height = max(1, round(columns * scale)), max(1, round(rows * scale))
    return int((width_px - width) // 2), int((height_px - height) // 2), width, height


def as_qimage(pixels: Image) -> QImage:
    """A QImage on the buffer (H, W, 3) RGB, which the caller must keep alive."""
    height, width = pixels.shape[:2]
    return QImage(  # type: ignore[no-any-return,call-overload]  # any buffer will do, the stubs say bytes
        pixels.data, width, height, pixels.strides[0], QImage.Format_RGB888
    )

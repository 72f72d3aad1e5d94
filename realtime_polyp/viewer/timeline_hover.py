"""What the mouse finds on the timeline: a small picture, the time, and what is known of that moment."""

from PyQt5.QtCore import QPoint, QRect, Qt
from PyQt5.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent
from PyQt5.QtWidgets import QWidget

from realtime_polyp.field_of_view import Image
from realtime_polyp.viewer.canvas import as_qimage
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.picture_service import THUMBNAIL_PX
from realtime_polyp.viewer.theme import BACKGROUND, DIM, TEXT

_TIME_PX, _TEXT_PX, _MARGIN = 16, 13, 6


class TimelineHover(QWidget):
    """A panel above the timeline. It lies over the picture and takes no mouse events."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WA_TransparentForMouseEvents)
        self.hide()
        self._image: Image | None = None
        self._time = self._text = ""
        self._ratio = 9 / 16

    def show_at(self, above: QPoint, time: str, text: str, image: Image | None, scale: float) -> None:
        """Show the panel with its lower edge above a point of the window. image: None while it is being decoded."""
        self._time, self._text, self._scale = time, text, scale
        if image is not None:
            self._image, self._ratio = image, image.shape[0] / image.shape[1]
        self._is_old = image is None
        width, tall = round(THUMBNAIL_PX * scale), round(THUMBNAIL_PX * scale * self._ratio)
        lines = QFontMetrics(font_px(_TIME_PX * scale, bold=True)).height()
        lines += QFontMetrics(font_px(_TEXT_PX * scale)).height() if text else 0
        margin = round(_MARGIN * scale)
        rect = QRect(0, 0, width + 2 * margin, tall + lines + 3 * margin)
        parent = self.parentWidget()
        left = min(max(0, above.x() - rect.width() // 2), max(0, parent.width() - rect.width()))
        self.setGeometry(left, max(0, above.y() - rect.height()), rect.width(), rect.height())
        self.raise_()
        self.show()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.SmoothPixmapTransform)
        painter.fillRect(self.rect(), QColor(BACKGROUND))
        margin = round(_MARGIN * self._scale)
        picture = QRect(margin, margin, self.width() - 2 * margin, round((self.width() - 2 * margin) * self._ratio))
        painter.fillRect(picture, QColor(0, 0, 0))
        if self._image is not None:
            painter.setOpacity(0.35 if self._is_old else 1.0)  # of the moment before, until this one is decoded
            painter.drawImage(picture, as_qimage(self._image))
            painter.setOpacity(1.0)
        painter.setPen(QColor(DIM))
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        font = font_px(_TIME_PX * self._scale, bold=True)
        painter.setFont(font)
        painter.setPen(QColor(TEXT))
        line = QRect(margin, picture.bottom() + margin, picture.width(), QFontMetrics(font).height())
        painter.drawText(line, Qt.AlignCenter, self._time)
        if self._text:
            font = font_px(_TEXT_PX * self._scale)
            painter.setFont(font)
            line = QRect(margin, line.bottom() + 1, picture.width(), QFontMetrics(font).height())
            text = QFontMetrics(font).elidedText(self._text, Qt.ElideRight, line.width())
            painter.drawText(line, Qt.AlignCenter, text)
        painter.end()

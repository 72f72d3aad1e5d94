"""Shows the last seconds of a live picture again, in a corner, while the live picture goes on beside it."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from PyQt5.QtCore import QRectF, Qt, QTimer
from PyQt5.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen
from PyQt5.QtWidgets import QWidget

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.labels import LabelPlacer
from realtime_polyp.outputs.overlay import Shapes
from realtime_polyp.viewer.canvas import Canvas, as_qimage
from realtime_polyp.viewer.displayed import DisplayedFrame
from realtime_polyp.viewer.keys import REPLAY_S
from realtime_polyp.viewer.paint import Surface, font_px, paint_shapes
from realtime_polyp.viewer.replay import Kept, ReplayBuffer
from realtime_polyp.viewer.theme import BACKGROUND, TONES

_SHARE = 0.42  # of the canvas's width and height
_BORDER, _CLEAR = 3, 10
_TICK_MS = 12


class LiveReplay:
    """Keeps what is shown of a live source, and shows it again. canvas: where the live picture is."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._buffer, self.panel = ReplayBuffer(REPLAY_S), ReplayPanel(canvas)

    def add(self, displayed: DisplayedFrame, shapes: Shapes) -> None:
        """Keep what is on the screen now."""
        self._buffer.add(displayed.frame, shapes)
        if displayed.result is not None:
            left, _, right, _ = displayed.result.field_of_view.box
            self.panel.on_left = left > displayed.frame.image.shape[1] - right

    def toggle(self) -> bool:
        """Start, or end; False where there is nothing to show."""
        if self.leave():
            return True
        moments = self._buffer.moments()
        if len(moments) > 1:
            self.panel.start(moments)
        return len(moments) > 1

    def leave(self) -> bool:
        """End; False if it was not shown."""
        shown = bool(self.panel.isVisible())
        self.panel.stop()
        return shown

    def step(self, by: int) -> bool:
        """Go on by so many pictures; False while it is not shown."""
        shown = bool(self.panel.isVisible())
        if shown:
            self.panel.step(by)
        return shown

    def close(self) -> None:
        """End its threads."""
        self._buffer.close()
        self.panel.close_decoder()


class ReplayPanel(QWidget):
    """A panel in a lower corner of the canvas, which is its parent. Mouse events pass through."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self.setAttribute(Qt.WA_TransparentForMouseEvents)
        self.hide()
        self.on_left = False
        """The left corner hides less of the mucosa than the right one."""
        self._moments: list[Kept] = []
        self._at = 0
        self._began_s = 0.0
        self._paused = False
        self._image: Image | None = None
        self._shown = -1
        self._placer = LabelPlacer()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="replay")  # the live picture does not wait for it
        self._decoding: tuple[int, Future[Image]] | None = None
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.PreciseTimer)
        self._timer.timeout.connect(self._tick)

    def start(self, moments: list[Kept]) -> None:
        """Show these moments at the speed at which they happened, again and again until `stop`."""
        self._moments, self._at, self._paused, self._shown = moments, 0, False, -1
        self._began_s = time.monotonic()
        self.place()
        self.raise_()
        self.show()
        self._timer.start(_TICK_MS)
        self._tick()

    def stop(self) -> None:
        """Hide the panel and forget the moments."""
        self._timer.stop()
        self.hide()
        self._moments, self._image, self._decoding = [], None, None

    def step(self, by: int) -> None:
        """Stand still, and go on by so many pictures, back where negative."""
        self._paused = True
        self._at = min(max(0, self._at + by), len(self._moments) - 1)
        self._tick()

    def close_decoder(self) -> None:
        self._timer.stop()
        self._decoder.shutdown(wait=False)

    def place(self) -> None:
        """Lie in a lower corner, with the proportions of the picture."""
        parent = self.parentWidget()
        ratio = 9 / 16 if self._image is None else self._image.shape[0] / self._image.shape[1]
        width = min(parent.width() * _SHARE, parent.height() * _SHARE * 1.25 / ratio)
        self.setGeometry(
            _CLEAR if self.on_left else round(parent.width() - width) - _CLEAR,
            round(parent.height() - width * ratio) - _CLEAR,
            round(width),
            round(width * ratio),
        )

    def _tick(self) -> None:
        """Ask for the picture that is due, and show it when it is there."""
        if not self._moments:
            return
        if not self._paused:
            self._at = self._due()
        if self._decoding and self._decoding[1].done():
            at, decoded = self._decoding
            self._decoding = None
            if at < len(self._moments):
                image = decoded.result()
                is_other_shape = self._image is None or image.shape != self._image.shape
                self._image, self._shown = image, at
                if is_other_shape:
                    self.place()
                self.update()
        if self._decoding is None and self._at != self._shown:
            self._decoding = (self._at, self._decoder.submit(self._moments[self._at].image))

    def _due(self) -> int:
        first_s, length_s = self._moments[0].at_s, self._moments[-1].at_s - self._moments[0].at_s
        at_s = first_s + (time.monotonic() - self._began_s) % (length_s + 1.0)  # the last picture stays for a second
        return max((i for i, one in enumerate(self._moments) if one.at_s <= at_s), default=0)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.SmoothPixmapTransform)
        area = QRectF(self.rect())
        painter.fillRect(area, QColor(BACKGROUND))
        tone = QColor(TONES["warn"])
        if self._image is not None and self._shown < len(self._moments):
            moment = self._moments[self._shown]
            painter.drawImage(area, as_qimage(self._image))
            paint_shapes(painter, moment.shapes, Surface(area, area.width() / moment.width, area), self._placer)
            ago_s = time.monotonic() - moment.at_s
            self._paint_badge(painter, f"REPLAY   {ago_s:.1f} s ago", tone)
        painter.setPen(QPen(tone, 2 * _BORDER))
        painter.setBrush(Qt.NoBrush)
        painter.drawRect(area)
        painter.end()

    def _paint_badge(self, painter: QPainter, text: str, tone: QColor) -> None:
        """Dark letters on amber, in the upper left corner."""
        font = font_px(min(max(15.0, self.height() / 12), 34.0), bold=True)
        metrics = QFontMetricsF(font)
        badge = QRectF(
            0, 0, metrics.horizontalAdvance("REPLAY   00.0 s ago") + metrics.height(), metrics.height() * 1.3
        )
        painter.fillRect(badge, tone)
        painter.setFont(font)
        painter.setPen(QColor(BACKGROUND))
        painter.drawText(badge, Qt.AlignCenter, text)

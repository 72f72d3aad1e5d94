"""The timeline of a recording: shows what is where, and goes to any frame of it.

Click: go there. Drag the playhead, or anywhere while the whole recording is shown: search. Wheel: zoom. Drag a zoomed
timeline: earlier or later part. Shift and drag: loop a stretch. It never takes the keyboard: keys go to the window.
"""

from collections.abc import Callable, Iterable
from typing import Literal

from PyQt5.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, pyqtSignal
from PyQt5.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QPolygonF, QResizeEvent, QWheelEvent
from PyQt5.QtWidgets import QSizePolicy, QWidget

from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.picture_service import Thumbnails
from realtime_polyp.viewer.shown_alarms import Span
from realtime_polyp.viewer.theme import BAR
from realtime_polyp.viewer.timeline_content import TimelineContent
from realtime_polyp.viewer.timeline_hover import TimelineHover
from realtime_polyp.viewer.timeline_paint import Lanes, height_px, lanes_of, paint_timeline
from realtime_polyp.viewer.timeline_view import whole

_ZOOM_STEP = 1.6
_CLICK_PX = 4  # a press that moves less is a click
_GRAB_PX = 8  # so near to the playhead, a press takes hold of it
_PAN_SHARE = 0.5
_Drag = Literal["none", "search", "pan", "loop", "overview"]


class Timeline(QWidget):
    """duration_s: of the recording, s. rate_hz: frames per second, if known. on_seek: called with a time, s.
    on_loop: called with the start and the end of a stretch, s."""

    _thumbnail_ready = pyqtSignal()

    def __init__(
        self,
        duration_s: float,
        rate_hz: float | None,
        *,
        on_seek: Callable[[float], None],
        on_loop: Callable[[float, float], None] = lambda start_s, end_s: None,
    ) -> None:
        super().__init__()
        self._on_seek, self._on_loop = on_seek, on_loop
        self.view = whole(duration_s, rate_hz)
        self.content = TimelineContent()
        self.position_s = 0.0
        self._scale = 1.0
        self._static: QPixmap | None = None
        self._drag: _Drag = "none"
        self._pressed: QPoint = QPoint()
        self._pressed_s = self._dragged_s = 0.0
        self._hover_x: int | None = None
        self._hover_y = 0
        self._hover: TimelineHover | None = None
        self._thumbnails: Thumbnails | None = None
        self._thumbnail_ready.connect(self._show_hover)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.NoFocus)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self.setAttribute(Qt.WA_OpaquePaintEvent)
        self._fit()

    def use_thumbnails(self, thumbnails: Callable[[Callable[[], None]], Thumbnails]) -> None:
        """Show small pictures under the mouse. thumbnails: opens them; its argument is called when one is ready."""
        self._thumbnails = thumbnails(self._thumbnail_ready.emit)

    def set_scale(self, scale: float) -> None:
        """See `theme.scale_of`."""
        self._scale = scale
        self._fit()

    def set_content(self, content: TimelineContent) -> None:
        """Draw this from now on."""
        if content is not self.content:
            changed = content.rows != self.content.rows
            self.content = content
            if changed:
                self._fit()
            self._redraw()

    def set_position(self, position_s: float) -> None:
        """Move the playhead, and turn the page where it left the view."""
        if self._drag == "search" or position_s == self.position_s:
            return
        old_s, self.position_s = self.position_s, position_s
        view = self.view.follow(position_s) if self._drag == "none" and self._hover_x is None else self.view
        if view != self.view:
            self.view = view
            self._redraw()
            return
        for time_s in (old_s, position_s):
            self.update(self._playhead_rect(time_s))

    def zoom(self, steps: int, at_s: float | None = None) -> None:
        """Zoom in by steps, out where negative, around a time: the playhead where None."""
        self._set_view(self.view.zoom(_ZOOM_STEP**steps, self.position_s if at_s is None else at_s))

    def pan(self, pages: float) -> None:
        """Show a later part, an earlier one where negative; a page is what is shown."""
        self._set_view(self.view.pan(pages * _PAN_SHARE * self.view.length_s))

    def time_at(self, x: float) -> float:
        """The time at a place of the widget, s."""
        lanes = self._lanes()
        return self.view.to_s(x - lanes.left, lanes.width)

    def sizeHint(self) -> QSize:
        return QSize(600, height_px(self._scale, self.content.rows))

    def close_thumbnails(self) -> None:
        """Stop decoding."""
        if self._thumbnails:
            self._thumbnails.close()

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._static_layer())
        lanes = self._lanes()
        painter.setRenderHint(QPainter.Antialiasing)
        if self._drag == "loop":
            left, right = sorted((self._x_of(self._pressed_s), self._x_of(self._dragged_s)))
            painter.fillRect(QRectF(left, lanes.top, right - left, lanes.bottom - lanes.top), QColor(93, 180, 255, 70))
        if self._hover_x is not None and self._drag == "none":
            painter.setPen(QPen(QColor(223, 229, 234, 120), 1))
            painter.drawLine(QPointF(self._hover_x, lanes.top), QPointF(self._hover_x, lanes.signal.bottom()))
        self._paint_playhead(painter, lanes)
        painter.end()

    def _static_layer(self) -> QPixmap:
        """Everything but the playhead and the mouse, drawn once."""
        ratio = self.devicePixelRatioF()
        if self._static is None:
            self._static = QPixmap(self.size() * ratio)
            self._static.setDevicePixelRatio(ratio)
            self._static.fill(QColor(BAR))
            painter = QPainter(self._static)
            paint_timeline(painter, self.content, self.view, self._lanes(), self._scale)
            painter.end()
        return self._static

    def _paint_playhead(self, painter: QPainter, lanes: Lanes) -> None:
        x, size = self._x_of(self.position_s), 5 * self._scale
        if not lanes.left - 1 <= x <= lanes.left + lanes.width + 1:
            return
        bottom = lanes.ruler.bottom()
        painter.setPen(QPen(QColor(0, 0, 0, 160), 4 * self._scale))
        painter.drawLine(QPointF(x, bottom), QPointF(x, lanes.signal.bottom()))
        painter.setPen(QPen(Qt.white, 2 * self._scale))
        painter.drawLine(QPointF(x, bottom), QPointF(x, lanes.signal.bottom()))
        painter.setPen(QPen(QColor(0, 0, 0, 160), 1))
        painter.setBrush(Qt.white)
        top = bottom - 1.6 * size
        points = [(x - size, top), (x + size, top), (x + size, bottom - 0.6 * size), (x, bottom + 0.4 * size),
                  (x - size, bottom - 0.6 * size)]  # fmt: skip
        painter.drawPolygon(QPolygonF([QPointF(*point) for point in points]))

    def _playhead_rect(self, time_s: float) -> QRect:
        reach = 8 * self._scale
        return QRectF(self._x_of(time_s) - reach, 0, 2 * reach, self.height()).toAlignedRect()

    def _x_of(self, time_s: float) -> float:
        lanes = self._lanes()
        return lanes.left + self.view.to_px(time_s, lanes.width)

    def _lanes(self) -> Lanes:
        return lanes_of(self.width(), self._scale, self.content.rows)

    def _fit(self) -> None:
        self.setFixedHeight(height_px(self._scale, self.content.rows))
        self._redraw()

    def _redraw(self) -> None:
        self._static = None
        self.update()

    def _set_view(self, view: object) -> None:
        if view != self.view:
            self.view = view  # type: ignore[assignment]
            self._redraw()
            self._show_hover()

    # The mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.LeftButton:
            return
        self._pressed, x = event.pos(), event.localPos().x()
        self._pressed_s = self._dragged_s = self.time_at(x)
        near_playhead = abs(x - self._x_of(self.position_s)) <= _GRAB_PX * self._scale
        if event.modifiers() & Qt.ShiftModifier:
            self._drag = "loop"
        elif self.view.is_zoomed and event.localPos().y() >= self._lanes().overview.top() - 2:
            self._drag = "overview"
            self._centre_on(x)
        elif near_playhead or not self.view.is_zoomed:
            self._drag = "search"
            self._search(x)
        else:
            self._drag = "pan"

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        x = event.localPos().x()
        self._hover_x, self._hover_y = event.pos().x(), event.pos().y()
        if self._drag == "search":
            self._search(x)
        elif self._drag == "overview":
            self._centre_on(x)
        elif self._drag == "loop":
            self._dragged_s = self.time_at(x)
        elif self._drag == "pan" and abs(event.pos().x() - self._pressed.x()) >= _CLICK_PX:
            shift_px = x - self._x_of(self._pressed_s)
            self._set_view(self.view.pan(-shift_px / self._lanes().width * self.view.length_s))
        self.update()
        self._show_hover()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        drag, self._drag = self._drag, "none"
        if event.button() != Qt.LeftButton or drag == "none":
            return
        moved = abs(event.pos().x() - self._pressed.x()) >= _CLICK_PX
        time_s = self.time_at(event.localPos().x())
        if drag == "loop" and moved:
            self._on_loop(self._pressed_s, time_s)
        elif drag in ("search", "loop") or (drag == "pan" and not moved):
            self._on_seek(self._frame_at(time_s))
        self.update()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom around the mouse; sideways, show an earlier or a later part."""
        turn = event.angleDelta()
        if turn.y():
            self.zoom(1 if turn.y() > 0 else -1, self.time_at(event.position().x()))
        elif turn.x():
            self.pan(-turn.x() / 480)
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:
        self._hover_x = None
        if self._hover:
            self._hover.hide()
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._redraw()

    def _frame_at(self, time_s: float) -> float:
        """The time to seek to, s, for the frame that covers `time_s`: of a recorded session, its own."""
        row = self.content.frame_at(time_s) if self.content.analysed is None else None
        return self.view.frame_at(time_s) if row is None else float(self.content.data.times_s[row])

    def _search(self, x: float) -> None:
        self.position_s = self.time_at(x)
        self.update()

    def _centre_on(self, x: float) -> None:
        lanes = self._lanes()
        centre_s = (x - lanes.left) / lanes.width * self.view.duration_s
        self._set_view(self.view.pan(centre_s - self.view.length_s / 2 - self.view.start_s))

    # What is under the mouse

    def _show_hover(self) -> None:
        if self._hover_x is None or not self.isVisible():
            return
        self._hover = self._hover or TimelineHover(self.window())
        time_s = self.time_at(self._hover_x)
        image = self._thumbnails.at(self._rounded(time_s)) if self._thumbnails else None
        above = self.mapTo(self.window(), QPoint(self._hover_x, -4))
        self._hover.show_at(above, clock_text(time_s, tenths=True), self._text_at(time_s), image, self._scale)

    def _rounded(self, time_s: float) -> float:
        """A time for a thumbnail: neighbouring pixels share one."""
        step_s = max(4 * self.view.length_s / self._lanes().width, 1 / (self.view.rate_hz or 30))
        return round(int(time_s / step_s) * step_s, 4)

    def _text_at(self, time_s: float) -> str:
        """What is known of a moment, such as "Polyp 3, blurred"; of several polyps, the one under the mouse."""
        content, words, bars = self.content, [], self._lanes().alarms
        if alarm := content.alarm_at(time_s, (self._hover_y - bars.top()) / bars.height()):
            words.append(f"polyp {alarm[2]}" if alarm[2] else "polyp")
        row = content.frame_at(time_s)
        if row is not None:
            quality, signal = str(content.data.quality[row]), str(content.data.signal[row])
            words += [quality] if quality != "clear" else []
            words += [f"{signal} picture"] if signal != "ok" else []
        if content.analysed is not None and not _is_in(content.analysed, time_s):
            so_far = "samples only" if row is not None else "not analysed yet"
            words.append("could not be analysed" if _is_in(content.failed, time_s) else so_far)
        near = [text for at_s, text in content.data.marks if abs(at_s - time_s) < 4 * self._seconds_per_px()]
        return ", ".join([*words, *near]).capitalize()

    def _seconds_per_px(self) -> float:
        return self.view.length_s / self._lanes().width


def _is_in(spans: Iterable[Span], time_s: float) -> bool:
    return any(start_s <= time_s <= end_s for start_s, end_s in spans)

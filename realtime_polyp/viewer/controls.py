"""The bars of buttons and sliders: the position in a recording, and below it everything else.

None of them takes the keyboard focus: every key goes to the window.
"""

from collections.abc import Callable

from PyQt5.QtCore import QRectF, QSize, Qt
from PyQt5.QtGui import QColor, QFontMetrics, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QSlider, QStyle, QToolButton, QVBoxLayout, QWidget

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.viewer.icons import BOX, icon
from realtime_polyp.viewer.keys import Action, tooltip
from realtime_polyp.viewer.mutes import per_cent
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.shown_alarms import Span
from realtime_polyp.viewer.theme import ACCENT, TEXT_PX, TONES

_TOGGLES: tuple[Action, ...] = ("overlay", "boxes", "outline", "labels", "fill")
_TOOLS: tuple[Action, ...] = ("snapshot", "legend", "help", "full screen")
_TITLED_PX = 900  # a narrower bar, at scale 1, leaves out the word "Threshold"
_SLIDER_STEPS = 1000
_MARK_HEIGHT_PX, _MIN_MARK_WIDTH_PX = 3, 2
_SLIDER_HEIGHT_PX = 22  # with room for marks below the handle
Share = tuple[float, float]
"""Start and end as fractions of the slider's length."""


class Controls(QWidget):
    """The control bar.

    live: no slider and no seeking. duration_s: length of the recording, s. on_action: called with a button's action.
    on_seek: called with a time, s. on_threshold: called with a score, 0..1.
    """

    def __init__(
        self,
        *,
        live: bool,
        duration_s: float | None,
        on_action: Callable[[Action], None],
        on_seek: Callable[[float], None],
        on_threshold: Callable[[float], None],
    ) -> None:
        super().__init__()
        self._live, self._duration_s = live, duration_s
        self._on_action, self._on_seek, self._on_threshold = on_action, on_seek, on_threshold
        self._pause_icon = ""
        self._scale = 1.0
        self._toggles: dict[Action, QToolButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 4, 10, 4)
        column.setSpacing(2)
        self._elapsed = FixedWidthLabel("00:00")
        self.position = JumpSlider(_SLIDER_STEPS)
        self.position.setMinimumSize(100, _SLIDER_HEIGHT_PX)
        if self.has_position:
            column.addLayout(self._make_position())
        row = QHBoxLayout()
        row.setSpacing(2)
        self._add_transport(row)
        row.addStretch(1)
        self._add_overlay_controls(row)
        row.addStretch(1)
        self._sound = self._button("sound")
        self._sound.setCheckable(True)
        row.addWidget(self._sound)
        for action in _TOOLS:
            row.addWidget(self._button(action))
        column.addLayout(row)

    def set_scale(self, scale: float) -> None:
        """Make everything larger: see `theme.scale_of`."""
        self._scale = scale
        side = round(BOX * scale)
        for button in self.findChildren(QToolButton):
            button.setIconSize(QSize(side, side))
        self.threshold.setMinimumWidth(round(90 * scale))
        self.threshold.setMaximumWidth(round(150 * scale))
        self.position.setMinimumSize(100, round(_SLIDER_HEIGHT_PX * scale))
        for label in self.findChildren(FixedWidthLabel):
            label.fit(scale)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._title.setVisible(self.width() >= _TITLED_PX * self._scale)

    def show_playing(self, state: str) -> None:
        """Set the icon of the main button: "play", "pause" or "again"."""
        if self._pause_icon != state:
            self._pause_icon = state
            self._pause.setIcon(icon(state))

    def show_position(self, position_s: float) -> None:
        if self._duration_s and not self.position.isSliderDown():
            self.position.setValue(round(position_s / self._duration_s * _SLIDER_STEPS))
            self._elapsed.setText(clock_text(position_s))
        elif not self._duration_s:
            self._elapsed.setText(clock_text(position_s))

    @property
    def has_position(self) -> bool:
        """Whether there is a slider for the position in the recording."""
        return not self._live and bool(self._duration_s)

    def show_alarms(self, spans: tuple[Span, ...]) -> None:
        """Mark below the slider when a polyp was shown."""
        duration_s = self._duration_s or 1.0
        self.position.set_marks([(start_s / duration_s, end_s / duration_s) for start_s, end_s in spans])

    def show_overlay(self, *, on: bool, style: OverlayStyle) -> None:
        """Press the buttons of what is drawn."""
        drawn = (on, style.boxes, style.outline, style.labels, style.fill)
        for action, is_drawn in zip(_TOGGLES, drawn, strict=True):
            self._toggles[action].setChecked(is_drawn)

    def show_sound(self, *, on: bool, volume: float) -> None:
        self._sound.setChecked(on)
        self._sound.setToolTip(f"{tooltip('sound')}\nVolume {per_cent(volume)}  [\u2191] [\u2193]")

    def show_threshold(self, score: float) -> None:
        self.threshold.blockSignals(True)
        self.threshold.setValue(round(score * 100))
        self.threshold.blockSignals(False)
        self._score.setText(per_cent(score))

    def _make_position(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.position.setToolTip("Position in the recording: click or drag. Green bars: a polyp was shown")
        self.position.sliderReleased.connect(self._on_released)
        self.position.sliderMoved.connect(self._on_dragged)
        row.addWidget(self._elapsed)
        row.addWidget(self.position, 1)
        row.addWidget(FixedWidthLabel(clock_text(self._duration_s or 0.0)))
        return row

    def _add_transport(self, row: QHBoxLayout) -> None:
        self._pause = self._button("pause")
        row.addWidget(self._pause)
        row.addWidget(self._button("step"))
        if self._live:
            live = QLabel("LIVE")
            live.setStyleSheet(f"color: {TONES['bad']}; font-weight: bold; padding: 0 8px;")
            row.addWidget(live)
            return
        row.addWidget(self._button("back"))
        row.addWidget(self._button("forward"))
        if not self.has_position:
            row.addWidget(self._elapsed)

    def _add_overlay_controls(self, row: QHBoxLayout) -> None:
        for action in _TOGGLES:
            self._toggles[action] = button = self._button(action)
            button.setCheckable(True)
            row.addWidget(button)
        self.threshold = JumpSlider(100)
        self.threshold.setMinimumWidth(90)
        self.threshold.setMaximumWidth(150)
        self.threshold.setToolTip("Hide boxes with a lower score  [+] [\u2212]")
        self.threshold.valueChanged.connect(lambda value: self._on_threshold(value / 100))
        self._title, self._score = QLabel("Threshold"), FixedWidthLabel("100 %")
        row.addSpacing(8)
        row.addWidget(self._title)
        row.addWidget(self.threshold, 1)
        row.addWidget(self._score)

    def _button(self, action: Action) -> QToolButton:
        button = QToolButton()
        button.setIcon(icon(action))
        button.setIconSize(QSize(BOX, BOX))
        button.setToolTip(tooltip(action))
        button.setFocusPolicy(Qt.NoFocus)
        button.setToolButtonStyle(Qt.ToolButtonIconOnly)
        button.clicked.connect(lambda: self._on_action(action))
        return button

    def _on_dragged(self, value: int) -> None:
        self._elapsed.setText(clock_text(value / _SLIDER_STEPS * (self._duration_s or 0.0)))

    def _on_released(self) -> None:
        self._on_seek(self.position.value() / _SLIDER_STEPS * (self._duration_s or 0.0))


class JumpSlider(QSlider):
    """A slider that jumps to where it is clicked, with bars below its groove."""

    def __init__(self, steps: int) -> None:
        super().__init__(Qt.Horizontal)
        self.setRange(0, steps)
        self.setFocusPolicy(Qt.NoFocus)
        self._marks: list[Share] = []

    def set_marks(self, marks: list[Share]) -> None:
        """Draw these bars below the groove."""
        if marks != self._marks:
            self._marks = marks
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._marks:
            handle = self.style().pixelMetric(QStyle.PM_SliderLength)
            length, top = self.width() - handle, self.height() - _MARK_HEIGHT_PX
            painter = QPainter(self)
            for start, end in self._marks:
                width = max(_MIN_MARK_WIDTH_PX, (min(end, 1.0) - start) * length)
                painter.fillRect(QRectF(handle / 2 + start * length, top, width, _MARK_HEIGHT_PX), QColor(ACCENT))
            painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.LeftButton:
            return
        self.setSliderDown(True)
        self._jump_to(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.isSliderDown():
            self._jump_to(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.LeftButton and self.isSliderDown():
            self.setSliderDown(False)

    def _jump_to(self, event: QMouseEvent) -> None:
        handle = self.style().pixelMetric(QStyle.PM_SliderLength)
        value = QStyle.sliderValueFromPosition(
            self.minimum(), self.maximum(), round(event.localPos().x() - handle / 2), self.width() - handle
        )
        self.setSliderPosition(value)


def clock_text(seconds: float) -> str:
    """Format a time as "01:02", or "1:01:02" from one hour on."""
    minutes, whole = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes:02d}:{whole:02d}"


class FixedWidthLabel(QLabel):
    """A label whose changing digits do not move its neighbours. text: the widest one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._widest = "0" * len(text)
        self.setAlignment(Qt.AlignCenter)
        self.fit(1.0)

    def fit(self, scale: float) -> None:
        """Make room for the widest text at this scale."""
        metrics = QFontMetrics(font_px(TEXT_PX * scale))
        self.setFixedWidth(metrics.horizontalAdvance(self._widest) + round(10 * scale))

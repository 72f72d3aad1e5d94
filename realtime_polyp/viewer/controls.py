"""The bars of buttons and sliders: the position in a recording, and below it everything else.

None of them takes the keyboard focus: every key goes to the window.
"""

from collections.abc import Callable

from PyQt5.QtCore import QSize, Qt
from PyQt5.QtGui import QFontMetrics, QMouseEvent, QResizeEvent
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QSlider, QStyle, QToolButton, QVBoxLayout, QWidget

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.icons import BOX, icon
from realtime_polyp.viewer.keys import Action, tooltip
from realtime_polyp.viewer.mutes import per_cent
from realtime_polyp.viewer.pacing import speed_text
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.theme import TEXT_PX, TONES, restyle
from realtime_polyp.viewer.timeline import Timeline

_TOGGLES: tuple[Action, ...] = ("overlay", "boxes", "outline", "labels", "fill")
_JUMPS: tuple[Action, ...] = ("previous alarm", "next alarm", "replay")
_TOOLS: tuple[Action, ...] = ("record", "keep", "snapshot", "legend", "help", "full screen")
_LEAST: tuple[Action, ...] = ("fill", "legend", "replay", "labels", "outline", "boxes", "step back")
"""Buttons that a narrow bar leaves out, the first ones first, after the word "Threshold". Their keys remain."""
_LIVE, _PAUSED = "LIVE", "PAUSED"


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
        rate_hz: float | None = None,
        on_loop: Callable[[float, float], None] = lambda start_s, end_s: None,
    ) -> None:
        super().__init__()
        self._live, self._duration_s = live, duration_s
        self._on_action, self._on_seek, self._on_threshold = on_action, on_seek, on_threshold
        self._pause_icon = ""
        self._scale = 1.0
        self._toggles: dict[Action, QToolButton] = {}
        self._tools: dict[Action, QToolButton] = {}
        self._speed: QToolButton | None = None
        self._live_label: QLabel | None = None
        self._buttons: dict[Action, QToolButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 4, 10, 4)
        column.setSpacing(2)
        self._elapsed = FixedWidthLabel(clock_text(duration_s or 0.0, tenths=True))
        self._elapsed.setObjectName("elapsed")
        self.timeline: Timeline | None = None
        if self.has_position:
            column.addLayout(self._make_position(duration_s or 0.0, rate_hz, on_loop))
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
            self._tools[action] = button = self._button(action)
            row.addWidget(button)
        self._tools["record"].setCheckable(True)
        column.addLayout(row)
        self._row = row

    def set_scale(self, scale: float) -> None:
        """Make everything larger: see `theme.scale_of`."""
        self._scale = scale
        side = round(BOX * scale)
        for button in self.findChildren(QToolButton):
            button.setIconSize(QSize(side, side))
        self.threshold.setMinimumWidth(round(70 * scale))
        self.threshold.setMaximumWidth(round(150 * scale))
        if self._speed:
            letters = QFontMetrics(font_px(round(TEXT_PX * scale)))
            self._speed.setFixedWidth(letters.horizontalAdvance("0.25\u00d7") + round(16 * scale))
        if self._live_label:
            letters = QFontMetrics(font_px(round(TEXT_PX * scale), bold=True))
            self._live_label.setFixedWidth(letters.horizontalAdvance(_PAUSED) + round(16 * scale))
        if self.timeline:
            self.timeline.set_scale(scale)
        for label in self.findChildren(FixedWidthLabel):
            label.fit(scale)
        self._leave_out()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._leave_out()

    def _leave_out(self) -> None:
        """Hide what the bar is too narrow for."""
        margins = self.contentsMargins().left() + self.contentsMargins().right() + 20
        widgets = [item.widget() for item in map(self._row.itemAt, range(self._row.count())) if item.widget()]
        narrowest = {self.threshold: self.threshold.minimumWidth()}
        if self._live_label:
            narrowest[self._live_label] = self._live_label.minimumWidth()
        needed = margins + round(20 * self._scale)
        needed += sum(narrowest.get(widget, widget.sizeHint().width()) + self._row.spacing() for widget in widgets)
        optional = [self._title, *(self._buttons[action] for action in _LEAST if action in self._buttons)]
        for widget in optional:
            widget.setVisible(needed <= self.width())
            if needed > self.width():
                needed -= widget.sizeHint().width() + self._row.spacing()

    def show_playing(self, state: str) -> None:
        """Set the icon of the main button: "play", "pause" or "again"."""
        if self._pause_icon != state:
            self._pause_icon = state
            self._pause.setIcon(icon(state))

    def show_live(self, *, paused: bool) -> None:
        """Say of a live source whether its picture is the present one, or stands still."""
        if self._live_label:
            self._live_label.setText(_PAUSED if paused else _LIVE)
            restyle(self._live_label, f"color: {TONES['warn' if paused else 'bad']}; font-weight: bold;")

    def show_position(self, position_s: float, shown_s: float) -> None:
        """Move the playhead, which goes ahead to the target of a seek, and write the time of the picture that is shown.

        While the mouse searches, the time there stands at the mouse.
        """
        if self.timeline:
            self.timeline.set_position(position_s)
        self._elapsed.setText(clock_text(shown_s, tenths=True))

    @property
    def has_position(self) -> bool:
        """Whether there is a timeline of the recording."""
        return not self._live and bool(self._duration_s)

    def show_speed(self, text: str, *, usual: bool) -> None:
        """Write the speed on its button. usual: it is the recording's own."""
        if self._speed:
            self._speed.setText(text)
            self._speed.setChecked(not usual)

    def show_overlay(self, *, on: bool, style: OverlayStyle) -> None:
        """Press the buttons of what is drawn; with the overlay off, the others are dim."""
        drawn = (on, style.boxes, style.outline, style.labels, style.fill)
        for action, is_drawn in zip(_TOGGLES, drawn, strict=True):
            self._toggles[action].setChecked(is_drawn)
            self._toggles[action].setEnabled(on or action == "overlay")

    def show_sound(self, *, on: bool, volume: float) -> None:
        self._sound.setChecked(on)
        self._sound.setToolTip(f"{tooltip('sound')}\nVolume {per_cent(volume)}  [\u2191] [\u2193]")

    def show_recording(self, on: bool) -> None:
        """Press the button while a session is recorded."""
        self._tools["record"].setChecked(on)

    def show_threshold(self, score: float) -> None:
        self.threshold.blockSignals(True)
        self.threshold.setValue(round(score * 100))
        self.threshold.blockSignals(False)
        self._score.setText(per_cent(score))

    def _make_position(
        self, duration_s: float, rate_hz: float | None, on_loop: Callable[[float, float], None]
    ) -> QHBoxLayout:
        self.timeline = Timeline(duration_s, rate_hz, on_seek=self._on_seek, on_loop=on_loop)
        clocks = QVBoxLayout()
        clocks.setSpacing(0)
        clocks.addStretch(1)
        clocks.addWidget(self._elapsed)
        total = FixedWidthLabel(clock_text(duration_s, tenths=True))
        total.setObjectName("total")
        total.setToolTip("Length of the recording")
        clocks.addWidget(total)
        clocks.addStretch(1)
        row = QHBoxLayout()
        row.addLayout(clocks)
        row.addWidget(self.timeline, 1)
        return row

    def _add_transport(self, row: QHBoxLayout) -> None:
        self._pause = self._button("pause")
        row.addWidget(self._pause)
        if not self._live:
            row.addWidget(self._button("step back"))
        row.addWidget(self._button("step"))
        if self._live:
            self._live_label = QLabel()
            self._live_label.setAlignment(Qt.AlignCenter)
            self.show_live(paused=False)
            row.addWidget(self._live_label)
            row.addWidget(self._button("replay"))
            return
        for action in _JUMPS:
            row.addWidget(self._button(action))
        self._speed = button = self._button("faster")
        button.setObjectName("speed")
        button.setToolButtonStyle(Qt.ToolButtonTextOnly)
        button.setCheckable(True)
        button.setToolTip("Speed: click for the next one  [ [ ] slower  [ ] ] faster")
        button.setText(speed_text(1.0))
        row.addWidget(button)
        if not self.has_position:
            row.addWidget(self._elapsed)

    def _add_overlay_controls(self, row: QHBoxLayout) -> None:
        for action in _TOGGLES:
            self._toggles[action] = button = self._button(action)
            button.setCheckable(True)
            row.addWidget(button)
        self.threshold = JumpSlider(100)
        self.threshold.setMinimumWidth(70)
        self.threshold.setMaximumWidth(150)
        self.threshold.setToolTip("Hide boxes with a lower score  [+] [\u2212]")
        self.threshold.valueChanged.connect(lambda value: self._on_threshold(value / 100))
        self._title, self._score = QLabel("Threshold"), FixedWidthLabel("100 %")
        self._title.setMinimumWidth(1)  # or it would keep the window wide, although it is left out there
        row.addSpacing(8)
        row.addWidget(self._title)
        row.addSpacing(4)
        row.addWidget(self.threshold, 1)
        row.addWidget(self._score)

    def _button(self, action: Action) -> QToolButton:
        self._buttons[action] = button = QToolButton()
        button.setIcon(icon(action))
        button.setIconSize(QSize(BOX, BOX))
        button.setToolTip(tooltip(action))
        button.setFocusPolicy(Qt.NoFocus)
        button.setToolButtonStyle(Qt.ToolButtonIconOnly)
        button.clicked.connect(lambda: self._on_action(action))
        return button


class JumpSlider(QSlider):
    """A slider that jumps to where it is clicked."""

    def __init__(self, steps: int) -> None:
        super().__init__(Qt.Horizontal)
        self.setRange(0, steps)
        self.setFocusPolicy(Qt.NoFocus)

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

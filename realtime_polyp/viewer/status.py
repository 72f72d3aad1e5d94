"""The status line below the controls: condition, rates, dropped frames, and engines or messages."""

import math

from PyQt5.QtCore import Qt
from PyQt5.QtGui import QFontMetrics, QFontMetricsF, QPainter, QPaintEvent, QResizeEvent
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from realtime_polyp.telemetry.ledger import Tally
from realtime_polyp.viewer.condition import PICTURE_LATE_S, Condition, Tone, measured_text
from realtime_polyp.viewer.elide import elided
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.rates import Reading
from realtime_polyp.viewer.theme import DIM, TEXT, TEXT_PX, TONES, restyle

_WIDEST_TEXTS = {
    "state": "\u25cf  Source not answering", "polyps": "polyps so far 000",
    "fps": "000.0 fps", "video": "picture 000 ms", "annotation": "overlay 0000 ms",
    "analysis": "analysis 0000 ms", "dropped": "dropped 00000", "speed": "0.00\N{MULTIPLICATION SIGN}",
    "analysed": "analysed 100 %",
}  # fmt: skip
_LARGE = ("state", "polyps")  # to be read from a distance
_LARGE_PX = 19
_TOOLTIPS = {
    "polyps": "How many polyps were shown so far: each number counts once",
    "fps": "Frames per second on the screen",
    "video": "Delay from capture until the picture is on the screen (median)",
    "annotation": "Delay from capture until the overlay of that picture is on the screen (median)",
    "speed": "Seconds of the recording per second, over the last two seconds",
    "analysed": "Share of the pictures that were shown with a result of their own. G analyses all, or keeps pace",
    "analysis": "Time to analyse one frame, from preparation to tracking (median)",
}
_NUMBERS_LIVE = ("polyps", "video", "annotation", "dropped", "fps")
_NUMBERS_RECORDING = ("polyps", "speed", "analysed", "dropped", "fps", "analysis")
_LEAST_RIGHT_PX = 200  # at scale 1: room on the right, before the least important numbers give way


class StatusLine(QWidget):
    """Condition, rates and dropped frames on the left; the engines or a message on the right.

    live: show delays instead of the analysis time.
    """

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self.setObjectName("status")
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 5, 14, 7)
        row.setSpacing(18)
        self._row, self._scale = row, 1.0
        self._tone: Tone = "busy"
        self.labels: dict[str, QLabel] = {}
        for name in ("state", *(_NUMBERS_LIVE if live else _NUMBERS_RECORDING)):
            label = QLabel()
            label.setToolTip(_TOOLTIPS.get(name, ""))
            self.labels[name] = label
            row.addWidget(label)
        self.right = ElidedLabel()
        row.addWidget(self.right, 1)
        self._engines = self._error = ""
        self._has_message = False
        self.set_scale(1.0)

    @property
    def message(self) -> str:
        """The message that is shown at present, or a lasting error; else ""."""
        return self.right.text() if self._has_message else self._error

    def set_scale(self, scale: float) -> None:
        """Make room for larger letters: see `theme.scale_of`."""
        self._scale = scale
        self._row.setSpacing(round(18 * scale))
        for name, label in self.labels.items():
            label.setFixedWidth(_width_px(_WIDEST_TEXTS[name], scale, large=name in _LARGE))
        for label in (*self.labels.values(), self.right):  # letters of another font, such as a sign, are higher
            label.setFixedHeight(round(1.25 * _LARGE_PX * scale))
        restyle(self.labels["polyps"], f"font-weight: bold; font-size: {round(_LARGE_PX * scale)}px;")
        self.show_tone(self._tone)
        self._hide_least()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._hide_least()

    def _hide_least(self) -> None:
        """Hide the last numbers where the line is too narrow for all; more of them while a long message is shown."""
        message_px = self.right.fontMetrics().horizontalAdvance(self.right.text()) + 2 if self._has_message else 0
        room = self.width() - 28 - _LEAST_RIGHT_PX * self._scale
        gives_px = max(0.0, message_px - _LEAST_RIGHT_PX * self._scale)
        for name, label in self.labels.items():
            room -= label.maximumWidth() + self._row.spacing()
            label.setVisible(name == "state" or room >= (0 if name in _LARGE else gives_px))

    def show_polyps(self, count: int | None) -> None:
        """count: None where polyps are not followed."""
        self.labels["polyps"].setText("" if count is None else f"polyps so far {count}")

    def show_condition(self, condition: Condition) -> None:
        label = self.labels["state"]
        label.setText(f"\u25cf  {condition.title}")
        label.setToolTip(condition.detail)
        self.show_tone(condition.tone)

    def show_tone(self, tone: Tone) -> None:
        """Colour the condition; something hidden is reason enough for another colour than green."""
        self._tone = tone
        size_px = round(_LARGE_PX * self._scale)
        restyle(self.labels["state"], f"color: {TONES[tone]}; font-weight: bold; font-size: {size_px}px;")

    def show_reading(self, reading: Reading) -> None:
        texts = {
            "fps": "\u2013 fps" if reading.fps is None else f"{reading.fps:.1f} fps",
            "video": _ms("picture", reading.video_delay_ms),
            "annotation": _ms("overlay", reading.annotation_delay_ms),
            "analysis": _ms("analysis", reading.analysis_ms),
        }
        texts["speed"] = "" if reading.speed is None else measured_text(reading.speed)
        texts["analysed"] = "" if reading.analysed is None else f"analysed {math.floor(reading.analysed * 100)} %"
        for name, text in texts.items():
            if name in self.labels:
                self.labels[name].setText(text)
        if "speed" in self.labels:
            restyle(self.labels["speed"], f"color: {TONES['warn']};" if reading.is_slow else "")
        if "video" in self.labels:
            is_late = (reading.video_delay_ms or 0.0) > PICTURE_LATE_S * 1e3
            restyle(self.labels["video"], f"color: {TONES['bad']};" if is_late else "")

    def show_dropped(self, dropped: int, tally: Tally | None) -> None:
        """dropped: pictures that should have been shown. tally: the full account, as a tooltip."""
        label = self.labels["dropped"]
        label.setText(f"dropped {dropped}")
        restyle(label, f"color: {TONES['warn']};" if dropped else "")
        label.setToolTip(tally_text(tally) if tally else "")

    def show_engines(self, engines: str, error: str | None) -> None:
        """error: takes the place of the engines, and stays."""
        self._engines, self._error = engines, error or ""
        if not self._has_message:
            self.clear_message()

    def show_message(self, text: str) -> None:
        """Show a message in place of the engines, until `clear_message`."""
        self._has_message = True
        self._set_right(text, TEXT)

    def clear_message(self) -> None:
        """Show the error again, or else the engines."""
        self._has_message = False
        if self._error:
            self._set_right(self._error, TONES["warn"])
        else:
            self._set_right(self._engines, DIM)

    def _set_right(self, text: str, colour: str) -> None:
        if self.right.text() != text:
            self.right.setText(text)
            self.right.setToolTip(text)
            restyle(self.right, f"color: {colour};")
            self._hide_least()


class ElidedLabel(QLabel):
    """A right-aligned label that shortens its text instead of moving its neighbours: addresses before words."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Preferred)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        text = elided(self.text(), QFontMetricsF(self.font()), self.width())
        painter.drawText(self.rect(), int(Qt.AlignRight | Qt.AlignVCenter), text)


def tally_text(tally: Tally) -> str:
    """Describe the account of pictures, one line for each reason to drop some."""
    lines = [f"captured {tally.captured}, shown {tally.shown}, in progress {tally.pending}"]
    for stage, reasons in tally.dropped.items():
        lines += [f"{count} dropped at the {stage}: {reason}" for reason, count in reasons.items()]
    return "\n".join(lines)


def _width_px(text: str, scale: float, *, large: bool) -> int:
    size_px = round((_LARGE_PX if large else TEXT_PX) * scale)
    return int(QFontMetrics(font_px(size_px, bold=large)).horizontalAdvance(text)) + 8


def _ms(name: str, value: float | None) -> str:
    return f"{name} \u2013" if value is None else f"{name} {value:.0f} ms"

"""The status line: what is going on, read at a glance."""

from PyQt5.QtCore import Qt
from PyQt5.QtGui import QFontMetrics, QPainter, QPaintEvent
from PyQt5.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from realtime_polyp.pipeline import Pipeline
from realtime_polyp.telemetry.ledger import Tally
from realtime_polyp.viewer.condition import Condition
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.rates import Reading
from realtime_polyp.viewer.theme import DIM, TEXT, TEXT_PX, TONES

_WIDEST = {
    "state": "\u25cf  Decoder failed", "fps": "000.0 fps", "video": "picture 000 ms", "annotation": "overlay 0000 ms",
    "analysis": "analysis 0000 ms", "missed": "dropped 00000",
}  # fmt: skip
_TIPS = {
    "fps": "Pictures a second on the screen",
    "video": "From capture to the picture on the screen, median",
    "annotation": "From capture to the overlay computed from that picture on the screen, median",
    "analysis": "Time the models and all around them take for one picture, median",
}
_NUMBERS_LIVE = ("fps", "video", "annotation", "missed")
_NUMBERS_RECORDING = ("fps", "analysis", "missed")


class StatusLine(QWidget):
    """state, rates, dropped, and on the right the engines, or for a moment a notice."""

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self.setObjectName("status")
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 5, 14, 7)
        row.setSpacing(18)
        self.labels: dict[str, QLabel] = {}
        for name in ("state", *(_NUMBERS_LIVE if live else _NUMBERS_RECORDING)):
            label = QLabel()
            label.setToolTip(_TIPS.get(name, ""))
            label.setMinimumWidth(_width_px(_WIDEST[name], bold=name == "state"))
            self.labels[name] = label
            row.addWidget(label)
        self.right = ElidedLabel()
        row.addWidget(self.right, 1)
        self._engines = self._trouble = ""
        self._notice = False

    def show_condition(self, condition: Condition) -> None:
        label = self.labels["state"]
        label.setText(f"\u25cf  {condition.title}")
        label.setToolTip(condition.detail)
        label.setStyleSheet(f"color: {TONES[condition.tone]}; font-weight: bold;")

    def show_reading(self, reading: Reading) -> None:
        texts = {
            "fps": "\u2013 fps" if reading.fps is None else f"{reading.fps:.1f} fps",
            "video": _ms("picture", reading.video_delay_ms),
            "annotation": _ms("overlay", reading.annotation_delay_ms),
            "analysis": _ms("analysis", reading.analysis_ms),
        }
        for name, text in texts.items():
            if name in self.labels:
                self.labels[name].setText(text)

    def show_missed(self, missed: int, tally: Tally | None) -> None:
        label = self.labels["missed"]
        label.setText(f"dropped {missed}")
        label.setStyleSheet(f"color: {TONES['warn']};" if missed else "")
        label.setToolTip(tally_text(tally) if tally else "")

    def show_engines(self, pipeline: Pipeline, trouble: str | None) -> None:
        """trouble: what went wrong beside the session; it takes the place of the engines and stays."""
        self._engines, self._trouble = engines_text(pipeline), trouble or ""
        if not self._notice:
            self.show_notice("")

    def show_notice(self, text: str) -> None:
        """For a moment; an empty text brings back what was there."""
        self._notice = bool(text)
        if text:
            self._say(text, TEXT)
        elif self._trouble:
            self._say(self._trouble, TONES["warn"])
        else:
            self._say(self._engines, DIM)

    def _say(self, text: str, colour: str) -> None:
        if self.right.text() != text:
            self.right.setText(text)
            self.right.setToolTip(text)
            self.right.setStyleSheet(f"color: {colour};")


class ElidedLabel(QLabel):
    """Right-aligned, and cut short rather than pushing its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Preferred)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        text = self.fontMetrics().elidedText(self.text(), Qt.ElideMiddle, self.width())
        painter.drawText(self.rect(), int(Qt.AlignRight | Qt.AlignVCenter), text)


def engines_text(pipeline: Pipeline) -> str:
    """ "openvino-int8   GFLv2 lite0 + low-rank lite0"; says so where there is no model."""
    engines = [engine for engine in (pipeline.detector, pipeline.segmenter) if engine is not None]
    if not engines:
        return "no model: the picture only"
    kinds = " + ".join(dict.fromkeys(engine.name for engine in engines))
    return f"{kinds}    {' + '.join(engine.model for engine in engines)}"


def tally_text(tally: Tally) -> str:
    """The account of the session's pictures, a line for each way one went."""
    lines = [f"captured {tally.captured}, shown {tally.shown}, under way {tally.pending}"]
    for stage, reasons in tally.dropped.items():
        lines += [f"{count} at the {stage}: {reason}" for reason, count in reasons.items()]
    return "\n".join(lines)


def _width_px(text: str, *, bold: bool) -> int:
    return int(QFontMetrics(font_px(TEXT_PX, bold=bold)).horizontalAdvance(text)) + 8


def _ms(name: str, value: float | None) -> str:
    return f"{name} \u2013" if value is None else f"{name} {value:.0f} ms"

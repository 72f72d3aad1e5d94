"""Keeps the status line and the badges over the picture up to date, and shows messages for a few seconds."""

from collections.abc import Callable

from PyQt5.QtCore import QTimer

from realtime_polyp.viewer.alerting import Alerting
from realtime_polyp.viewer.badges import Notes
from realtime_polyp.viewer.bars import Bars
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.condition import READY, Condition, pace_badges
from realtime_polyp.viewer.health import Health
from realtime_polyp.viewer.mutes import hidden_of, mutes_of
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.recording import Recording, recording_text
from realtime_polyp.viewer.status import StatusLine
from realtime_polyp.viewer.theme import RESEARCH_ONLY

_MESSAGE_MS = 6000


class StatusLink:
    """Tells the user what goes on.

    badges: returns what must stay on the picture besides what is hidden, muted or not analysed. recording: returns what
    is being written.
    """

    def __init__(
        self,
        line: StatusLine,
        canvas: Canvas,
        bars: Bars,
        player: Player,
        health: Health,
        alerting: Alerting,
        *,
        badges: Callable[[], tuple[str, ...]],
        recording: Callable[[], Recording | None],
        recording_error: Callable[[], str | None],
    ) -> None:
        self._line, self._canvas, self._bars = line, canvas, bars
        self._player, self._health, self._alerting = player, health, alerting
        self._badges, self._recording, self._recording_error = badges, recording, recording_error
        self.condition: Condition = READY
        self._timer = QTimer(line)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._clear_message)

    def refresh_condition(self) -> None:
        """Show and log another condition as soon as it holds."""
        condition = self._health.condition()
        if condition != self.condition:
            if condition.name != self.condition.name:
                self._health.log(condition)
            self.condition = condition
            self._canvas.set_condition(condition)
            self._line.show_condition(condition)
            self.show_notes()

    def refresh_line(self, *, polyps: int | None) -> None:
        """Show rates, dropped pictures, engines and the number of polyps; None: polyps are not counted."""
        player, feed = self._player, self._player.feed
        self._line.show_reading(player.reading())
        self._line.show_dropped(player.missed, player.tally() if feed else None)
        if feed:
            lost = feed.warning if player.info.live else None
            self._line.show_engines(feed.engines_text, self._recording_error() or lost)
        self._line.show_polyps(polyps)

    def show_notes(self) -> None:
        """Bring the badges on the picture up to date."""
        alerts, line = self._alerting.alerts, self._line
        skipped = pace_badges(self._player.state())
        mutes = (*mutes_of(alerts), *skipped, *self._badges())
        notes = Notes(mutes, writing=recording_text(self._recording()))
        tone = "warn" if (hidden_of(alerts) or skipped) and self.condition.tone == "good" else self.condition.tone
        line.show_tone(tone)
        if self._bars.floating and not self._bars.shown:
            status = "  \u00b7  ".join(line.labels[name].text().strip("\u25cf ") for name in ("state", "polyps"))
            notes = Notes(mutes, status, tone, RESEARCH_ONLY, line.message, notes.writing)
        self._canvas.set_notes(notes)

    def show_message(self, text: str) -> None:
        """Show a message in the status line for a few seconds."""
        self._line.show_message(text)
        self._timer.start(_MESSAGE_MS)
        self.show_notes()

    def say(self, text: str) -> None:
        """Show a message, or where there is none bring the badges up to date."""
        if text:
            self.show_message(text)
        else:
            self.show_notes()

    def close(self) -> None:
        self._timer.stop()

    def _clear_message(self) -> None:
        self._line.clear_message()
        self.show_notes()

"""The window: banner, picture, controls and status line, and what keys and buttons do."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from PyQt5.QtCore import QEvent, QEventLoop, QSize, Qt, QTimer
from PyQt5.QtGui import QCloseEvent, QGuiApplication, QKeyEvent, QMouseEvent, QResizeEvent
from PyQt5.QtWidgets import QApplication, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from realtime_polyp.outputs.overlay import MaskStyle, OverlayStyle
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.condition import READY, Condition, condition_of
from realtime_polyp.viewer.controls import Controls
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import OpenFeed
from realtime_polyp.viewer.keys import ACTION_OF, SCORE_STEP, SEEK_STEP_S, Action, help_html
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.shown_alarms import ShownAlarms
from realtime_polyp.viewer.snapshot import Saved, error_message, save_snapshot, saved_message
from realtime_polyp.viewer.sound import AlarmSound, SoundError
from realtime_polyp.viewer.status import StatusLine
from realtime_polyp.viewer.theme import RESEARCH_ONLY, STYLE, UNVERIFIED

_NEXT_MASK: dict[MaskStyle, MaskStyle] = {"outline": "fill", "fill": "none", "none": "outline"}
_REFRESH_MS = 250
_MESSAGE_MS = 6000
_ON_SCREEN_LIMIT_S = 2.0
_SAVE_LIMIT_S = 3.0


@dataclass(frozen=True)
class ViewerOptions:
    """How the window is set up.

    Attributes:
        title: in the window's title bar and in the banner.
        style: how the overlay is drawn; its `min_score` can only raise the pipeline's threshold.
        snapshot_folder: created when the first snapshot is saved.
        quit_at_end: close the window when the video ends or fails.
        recording_error: returns why the recording stopped, in one sentence, or None; called several times per second.
        unverified: an engine runs that has not passed the accuracy gate; the banner always says so.
        sound: start with the sound for new alarms switched on.
    """

    title: str
    style: OverlayStyle = OverlayStyle()
    snapshot_folder: Path = Path("snapshots")
    quit_at_end: bool = False
    recording_error: Callable[[], str | None] = lambda: None
    unverified: bool = False
    sound: bool = False


class ViewerWindow(QWidget):
    """Call `start` once; from then on timers run the window until it is closed."""

    def __init__(self, open_feed: OpenFeed, info: SourceInfo, options: ViewerOptions) -> None:
        super().__init__()
        self.options, self.overlay_style, self.overlay_on = options, options.style, True
        self.canvas = Canvas(options.style)
        self.player = Player(open_feed, info, self._paint)
        self.controls = Controls(
            live=info.live,
            duration_s=info.duration_s,
            on_action=self.perform,
            on_seek=self._seek,
            on_threshold=self.set_threshold,
        )
        self.status = StatusLine(live=info.live)
        self.alarms, self.sound = ShownAlarms(), AlarmSound()
        self.condition: Condition = READY
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._saving: Future[Saved] | None = None
        self._actions: dict[Action, Callable[[], None]] = self._make_actions()
        self._tick_timer, self._refresh_timer, self._message_timer = QTimer(self), QTimer(self), QTimer(self)
        self._build_layout(info)
        self._connect_timers()

    def start(self, *, full_screen: bool = False) -> None:
        """Show the window, open the source and play. Raises what `open_feed` raises."""
        if full_screen:
            self._set_full_screen(True)
        else:
            self.show()
        self._wait_for_screen()
        if self.player.phase == "closed":
            return
        self.player.open()
        score_threshold = self.player.score_threshold or 0.0
        self.set_threshold(max(score_threshold, self.options.style.min_score))
        if self.options.sound:
            self._toggle_sound()
        self.refresh()
        self._tick_timer.start(0)
        self._refresh_timer.start(_REFRESH_MS)

    def perform(self, action: Action) -> None:
        """Carry out the action of a key or a button."""
        self._actions[action]()
        self.refresh()
        if self.player.phase != "closed":
            self._tick_timer.start(0)

    def set_threshold(self, score: float) -> None:
        """Hide boxes with a lower score at once, and show all others; a still picture is reanalysed for them."""
        score = round(min(1.0, max(0.0, score)), 2)
        self.overlay_style = replace(self.overlay_style, min_score=score)
        self.controls.show_threshold(score)
        self._restyle()
        self.player.set_score_threshold(score)

    def show_message(self, text: str) -> None:
        """Show a message in the status line for a few seconds."""
        self.status.show_message(text)
        self._message_timer.start(_MESSAGE_MS)

    def refresh(self) -> None:
        """Update everything around the picture from the player's state."""
        self._refresh_condition()
        feed = self.player.feed
        self.status.show_reading(self.player.reading())
        self.status.show_dropped(self.player.missed, feed.tally() if feed else None)
        if feed:
            lost = feed.warning if self.player.info.live else None
            self.status.show_engines(feed.engines_text, self.options.recording_error() or lost)
        self.controls.show_position(self.player.position_s)
        if self.controls.has_position:
            self.controls.show_alarms(self.alarms.spans)

    # Building

    def _make_actions(self) -> dict[Action, Callable[[], None]]:
        return {
            "pause": self.player.toggle_pause,
            "step": self.player.step,
            "back": lambda: self._seek(self.player.position_s - SEEK_STEP_S),
            "forward": lambda: self._seek(self.player.position_s + SEEK_STEP_S),
            "overlay": self._toggle_overlay,
            "mask": self._next_mask,
            "stricter": lambda: self.set_threshold(self.overlay_style.min_score + SCORE_STEP),
            "looser": lambda: self.set_threshold(self.overlay_style.min_score - SCORE_STEP),
            "sound": self._toggle_sound,
            "snapshot": self._snapshot,
            "full screen": lambda: self._set_full_screen(not self.isFullScreen()),
            "leave": self._leave_full_screen,
            "help": lambda: self.help.setVisible(not self.help.isVisible()),
            "quit": lambda: QTimer.singleShot(0, self._close_now),
        }

    def _build_layout(self, info: SourceInfo) -> None:
        self.setWindowTitle(f"{self.options.title} \u2013 realtime-polyp")
        self.setStyleSheet(STYLE)
        self.resize(QGuiApplication.primaryScreen().availableSize().boundedTo(QSize(1280, 800)))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(_make_banner(self.options))
        column.addWidget(self.canvas, 1)
        column.addWidget(self.controls)
        column.addWidget(self.status)
        self.help = QLabel(help_html(live=info.live), self.canvas)
        self.help.setObjectName("help")
        self.help.hide()
        self.controls.show_overlay(on=self.overlay_on, mask=self.overlay_style.mask)

    def _connect_timers(self) -> None:
        self._tick_timer.setTimerType(Qt.PreciseTimer)
        self._tick_timer.setSingleShot(True)
        self._tick_timer.timeout.connect(self._tick)
        self._refresh_timer.timeout.connect(self.refresh)
        self._message_timer.setSingleShot(True)
        self._message_timer.timeout.connect(self.status.clear_message)

    # Running

    def _wait_for_screen(self) -> None:
        """Wait until the window can be painted on: an earlier picture would be lost."""
        deadline_s = time.monotonic() + _ON_SCREEN_LIMIT_S
        while not self.canvas.on_screen and self.player.phase != "closed" and time.monotonic() < deadline_s:
            QApplication.processEvents(QEventLoop.AllEvents, 10)

    def _tick(self) -> None:
        wait_s = self.player.tick()
        self._refresh_condition()
        self._report_snapshot()
        if self.player.phase == "closed":
            return
        if self.options.quit_at_end and self.player.phase in ("ended", "failed"):
            self._close_now()
            return
        self._tick_timer.start(max(0, int(wait_s * 1000)))

    def _paint(self, displayed: DisplayedFrame) -> Painted:
        self.canvas.set_condition(condition_of(self.player.state()))
        painted = self.canvas.show_frame(displayed)
        self.sound.play(self.alarms.update(displayed.result, self.overlay_style.min_score))
        return painted

    def _refresh_condition(self) -> None:
        condition = condition_of(self.player.state())
        if condition != self.condition:
            self.condition = condition
            self.canvas.set_condition(condition)
            self.status.show_condition(condition)
        icon = "again" if self.player.phase in ("ended", "failed") else "play" if self.player.paused else "pause"
        self.controls.show_playing(icon)

    # Actions

    def _seek(self, to_s: float) -> None:
        self.alarms.on_seek()
        self.player.seek(to_s)
        self.refresh()
        self._tick_timer.start(0)

    def _toggle_overlay(self) -> None:
        self.overlay_on = not self.overlay_on
        self._restyle()

    def _next_mask(self) -> None:
        self.overlay_style = replace(self.overlay_style, mask=_NEXT_MASK[self.overlay_style.mask])
        self._restyle()

    def _restyle(self) -> None:
        self.canvas.set_style(self.overlay_style, overlay_on=self.overlay_on)
        self.controls.show_overlay(on=self.overlay_on, mask=self.overlay_style.mask)

    def _toggle_sound(self) -> None:
        feed = self.player.feed
        if feed and not feed.tracks_polyps:
            self.show_message("No sound: temporal filtering is off (--no-smooth), and every frame would be a new alarm")
        else:
            try:
                self.sound.switch(on=not self.sound.on)
            except SoundError as error:
                self.show_message(str(error))
        self.controls.show_sound(on=self.sound.on)

    def _snapshot(self) -> None:
        """Save a snapshot on another thread: the picture on the screen must not wait for the disk."""
        displayed = self.player.displayed
        if displayed is None:
            self.show_message("There is no picture to save yet")
        elif self._saving:
            self.show_message("The previous snapshot is still being saved")
        else:
            folder, name = self.options.snapshot_folder, self.player.info.name
            self._saving = self._saver.submit(
                save_snapshot, displayed, self.overlay_style, folder, name, datetime.now()
            )

    def _report_snapshot(self) -> None:
        if self._saving is None or not self._saving.done():
            return
        saving, self._saving = self._saving, None
        try:
            self.show_message(saved_message(saving.result()))
        except OSError as error:
            self.show_message(error_message(error, self.options.snapshot_folder))

    def _set_full_screen(self, full: bool) -> None:
        self.controls.setVisible(not full)
        if full:
            self.showFullScreen()
            self.show_message("Full screen: press Esc to leave, H for the list of keys")
        else:
            self.showNormal()

    def _leave_full_screen(self) -> None:
        if self.help.isVisible():
            self.help.hide()
        elif self.isFullScreen():
            self._set_full_screen(False)

    def _close_now(self) -> None:
        self.close()

    # Qt events

    def keyPressEvent(self, event: QKeyEvent) -> None:
        action = ACTION_OF.get(event.key())
        if action is None or event.modifiers() & (Qt.ControlModifier | Qt.AltModifier | Qt.MetaModifier):
            super().keyPressEvent(event)
        elif not (event.isAutoRepeat() and action not in ("step", "back", "forward", "stricter", "looser")):
            self.perform(action)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.canvas.geometry().contains(event.pos()):
            self.perform("full screen")

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        QTimer.singleShot(0, self._centre_help)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.WindowStateChange:  # the window manager can change it too
            self.controls.setVisible(not self.isFullScreen())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Hide the window at once, then stop the threads; this takes a few seconds at most."""
        for timer in (self._tick_timer, self._refresh_timer, self._message_timer):
            timer.stop()
        self.hide()
        self.player.close()
        self._saver.shutdown(wait=False)
        if self._saving:  # a disk that does not answer must not keep the window's process alive
            wait([self._saving], _SAVE_LIMIT_S)
        event.accept()

    def _centre_help(self) -> None:
        self.help.adjustSize()
        self.help.move(
            (self.canvas.width() - self.help.width()) // 2, max(0, (self.canvas.height() - self.help.height()) // 2)
        )


def _make_banner(options: ViewerOptions) -> QWidget:
    """The line above the picture: title, research-use notice, and a warning when an engine is unverified."""
    banner = QWidget()
    banner.setObjectName("banner")
    banner.setAttribute(Qt.WA_StyledBackground)
    row = QHBoxLayout(banner)
    row.setContentsMargins(14, 4, 14, 4)
    row.addWidget(QLabel(options.title))
    row.addStretch(1)
    if options.unverified:
        warning = QLabel(UNVERIFIED)
        warning.setObjectName("unverified")
        warning.setToolTip("This engine has not passed the accuracy gate: run python -m calibration.gate")
        row.addWidget(warning)
    research = QLabel(RESEARCH_ONLY)
    research.setObjectName("research")
    row.addWidget(research)
    return banner

"""The window: strip, picture, controls, status line; and what keys and buttons do."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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
from realtime_polyp.viewer.keys import ACTION_OF, SCORE_STEP, SEEK_STEP_S, Action, help_html
from realtime_polyp.viewer.player import OpenSession, Player
from realtime_polyp.viewer.shown_alarms import ShownAlarms
from realtime_polyp.viewer.snapshot import Saved, complaint, said, save_snapshot
from realtime_polyp.viewer.sound import AlarmSound, SoundError
from realtime_polyp.viewer.status import StatusLine
from realtime_polyp.viewer.theme import RESEARCH_ONLY, STYLE, UNVERIFIED
from realtime_polyp.viewer.view import Painted, SourceInfo, View

_NEXT_MASK: dict[MaskStyle, MaskStyle] = {"outline": "fill", "fill": "none", "none": "outline"}
_REFRESH_MS = 250
_NOTICE_MS = 6000
_MAPPED_LIMIT_S = 2.0


@dataclass(frozen=True)
class ViewerOptions:
    """style: its min_score only raises the pipeline's own threshold. quit_at_end: close when the video has ended or
    failed. trouble: what went wrong beside the session, in one sentence, such as a recording that could not be written.
    sound: whether new alarms are heard from the beginning.
    """

    title: str
    style: OverlayStyle = OverlayStyle()
    snapshot_folder: Path = Path("snapshots")
    quit_at_end: bool = False
    trouble: Callable[[], str | None] = lambda: None
    unverified: bool = False
    sound: bool = False


class ViewerWindow(QWidget):
    """Call `begin` once; from then on the window runs itself until it is closed."""

    def __init__(self, open_session: OpenSession, info: SourceInfo, options: ViewerOptions) -> None:
        super().__init__()
        self.options, self.style_now, self.overlay_on = options, options.style, True
        self.canvas = Canvas(options.style)
        self.player = Player(open_session, info, self._paint)
        self.controls = Controls(
            live=info.live, duration_s=info.duration_s, do=self.do, seek=self._seek, threshold=self.set_threshold
        )
        self.status = StatusLine(live=info.live)
        self.alarms, self.sound = ShownAlarms(), AlarmSound()
        self.condition: Condition = READY
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._saving: Future[Saved] | None = None
        self._actions: dict[Action, Callable[[], None]] = self._make_actions()
        self._tick_timer, self._refresh_timer, self._notice_timer = QTimer(self), QTimer(self), QTimer(self)
        self._lay_out(info)
        self._connect_timers()

    def begin(self, *, full_screen: bool = False) -> None:
        """Appear, open the session and play. Raises what `open_session` raises."""
        if full_screen:
            self._set_full_screen(True)
        else:
            self.show()
        self._wait_for_screen()
        if self.player.phase == "closed":
            return
        self.player.open()
        asked = self.player.score_threshold or 0.0
        self.set_threshold(max(asked, self.options.style.min_score))
        if self.options.sound:
            self._toggle_sound()
        self.refresh()
        self._tick_timer.start(0)
        self._refresh_timer.start(_REFRESH_MS)

    def do(self, action: Action) -> None:
        """Obey a key or a button."""
        self._actions[action]()
        self.refresh()
        if self.player.phase != "closed":
            self._tick_timer.start(0)

    def set_threshold(self, score: float) -> None:
        """Seen at once: lower scores vanish, and a still picture is looked at again for more."""
        score = round(min(1.0, max(0.0, score)), 2)
        self.player.set_score_threshold(score)
        self.style_now = replace(self.style_now, min_score=score)
        self.controls.show_threshold(score)
        self._restyle()

    def notice(self, text: str) -> None:
        """Say something in the status line for a few seconds."""
        self.status.show_notice(text)
        self._notice_timer.start(_NOTICE_MS)

    def refresh(self) -> None:
        """Everything around the picture, from what the player knows."""
        self._refresh_condition()
        session = self.player.session
        self.status.show_reading(self.player.reading())
        self.status.show_missed(self.player.missed, session.tally() if session else None)
        if session:
            self.status.show_engines(session.pipeline, self.options.trouble())
        self.controls.show_position(self.player.position_s)
        if self.controls.has_position:
            self.controls.show_alarms(self.alarms.spans)

    # Making it

    def _make_actions(self) -> dict[Action, Callable[[], None]]:
        return {
            "pause": self.player.toggle_pause,
            "step": self.player.step,
            "back": lambda: self._seek(self.player.position_s - SEEK_STEP_S),
            "forward": lambda: self._seek(self.player.position_s + SEEK_STEP_S),
            "overlay": self._toggle_overlay,
            "mask": self._next_mask,
            "stricter": lambda: self.set_threshold(self.style_now.min_score + SCORE_STEP),
            "looser": lambda: self.set_threshold(self.style_now.min_score - SCORE_STEP),
            "sound": self._toggle_sound,
            "snapshot": self._snapshot,
            "full screen": lambda: self._set_full_screen(not self.isFullScreen()),
            "leave": self._leave,
            "help": lambda: self.help.setVisible(not self.help.isVisible()),
            "quit": lambda: QTimer.singleShot(0, self._close_now),
        }

    def _lay_out(self, info: SourceInfo) -> None:
        self.setWindowTitle(f"{self.options.title} \u2013 realtime-polyp")
        self.setStyleSheet(STYLE)
        self.resize(QGuiApplication.primaryScreen().availableSize().boundedTo(QSize(1280, 800)))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(_strip(self.options))
        column.addWidget(self.canvas, 1)
        column.addWidget(self.controls)
        column.addWidget(self.status)
        self.help = QLabel(help_html(live=info.live), self.canvas)
        self.help.setObjectName("help")
        self.help.hide()
        self.controls.show_overlay(on=self.overlay_on, mask=self.style_now.mask)

    def _connect_timers(self) -> None:
        self._tick_timer.setTimerType(Qt.PreciseTimer)
        self._tick_timer.setSingleShot(True)
        self._tick_timer.timeout.connect(self._tick)
        self._refresh_timer.timeout.connect(self.refresh)
        self._notice_timer.setSingleShot(True)
        self._notice_timer.timeout.connect(lambda: self.status.show_notice(""))

    # Running

    def _wait_for_screen(self) -> None:
        """Until the window can be painted on: a picture that comes earlier would be lost."""
        deadline_s = time.monotonic() + _MAPPED_LIMIT_S
        while not self.canvas.on_screen and self.player.phase != "closed" and time.monotonic() < deadline_s:
            QApplication.processEvents(QEventLoop.AllEvents, 10)

    def _tick(self) -> None:
        wait_s = self.player.tick()
        self._refresh_condition()
        self._take_saved()
        if self.player.phase == "closed":
            return
        if self.options.quit_at_end and self.player.phase in ("ended", "failed"):
            self._close_now()
            return
        self._tick_timer.start(max(0, int(wait_s * 1000)))

    def _paint(self, view: View) -> Painted:
        self.canvas.set_condition(condition_of(self.player.facts()))
        painted = self.canvas.show_view(view)
        self.sound.tell(self.alarms.hear(view.result, self.style_now.min_score))
        return painted

    def _refresh_condition(self) -> None:
        condition = condition_of(self.player.facts())
        if condition != self.condition:
            self.condition = condition
            self.canvas.set_condition(condition)
            self.status.show_condition(condition)
        playing = "again" if self.player.phase in ("ended", "failed") else "play" if self.player.paused else "pause"
        self.controls.show_playing(playing)

    # Actions

    def _seek(self, to_s: float) -> None:
        self.alarms.sought()
        self.player.seek(to_s)
        self.refresh()
        self._tick_timer.start(0)

    def _toggle_overlay(self) -> None:
        self.overlay_on = not self.overlay_on
        self._restyle()

    def _next_mask(self) -> None:
        self.style_now = replace(self.style_now, mask=_NEXT_MASK[self.style_now.mask])
        self._restyle()

    def _restyle(self) -> None:
        self.canvas.set_style(self.style_now, overlay_on=self.overlay_on)
        self.controls.show_overlay(on=self.overlay_on, mask=self.style_now.mask)

    def _toggle_sound(self) -> None:
        session = self.player.session
        if session and session.pipeline.config.temporal is None:
            self.notice("No sound: without smoothing no polyp is followed, and every frame would be an alarm")
        else:
            self._switch_sound()
        self.controls.show_sound(on=self.sound.on)

    def _switch_sound(self) -> None:
        try:
            self.sound.switch(on=not self.sound.on)
        except SoundError as error:
            self.notice(str(error))

    def _snapshot(self) -> None:
        """Saved by another thread: the picture on the screen does not wait for a disk."""
        view = self.player.view
        if view is None:
            self.notice("There is no picture to save yet")
        elif self._saving:
            self.notice("The last snapshot is still being saved")
        else:
            folder, name = self.options.snapshot_folder, self.player.info.name
            self._saving = self._saver.submit(save_snapshot, view, self.style_now, folder, name, datetime.now())

    def _take_saved(self) -> None:
        if self._saving is None or not self._saving.done():
            return
        saving, self._saving = self._saving, None
        try:
            self.notice(said(saving.result()))
        except OSError as error:
            self.notice(complaint(error, self.options.snapshot_folder))

    def _set_full_screen(self, full: bool) -> None:
        self.controls.setVisible(not full)
        if full:
            self.showFullScreen()
            self.notice("Full screen: Esc leaves it, H lists the keys")
        else:
            self.showNormal()

    def _leave(self) -> None:
        if self.help.isVisible():
            self.help.hide()
        elif self.isFullScreen():
            self._set_full_screen(False)

    def _close_now(self) -> None:
        self.close()

    # What Qt asks

    def keyPressEvent(self, event: QKeyEvent) -> None:
        action = ACTION_OF.get(event.key())
        if action is None or event.modifiers() & (Qt.ControlModifier | Qt.AltModifier | Qt.MetaModifier):
            super().keyPressEvent(event)
        elif not (event.isAutoRepeat() and action not in ("step", "back", "forward", "stricter", "looser")):
            self.do(action)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.canvas.geometry().contains(event.pos()):
            self.do("full screen")

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        QTimer.singleShot(0, self._centre_help)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.WindowStateChange:  # the window manager has its own keys for it
            self.controls.setVisible(not self.isFullScreen())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Gone from the screen at once; then the threads are left, for a few seconds at most."""
        for timer in (self._tick_timer, self._refresh_timer, self._notice_timer):
            timer.stop()
        self.hide()
        self.player.close()
        self._saver.shutdown(wait=True)
        event.accept()

    def _centre_help(self) -> None:
        self.help.adjustSize()
        self.help.move(
            (self.canvas.width() - self.help.width()) // 2, max(0, (self.canvas.height() - self.help.height()) // 2)
        )


def _strip(options: ViewerOptions) -> QWidget:
    """Above the picture, never over it: what is watched, what it must not be used for, and whether to trust it."""
    strip = QWidget()
    strip.setObjectName("strip")
    strip.setAttribute(Qt.WA_StyledBackground)
    row = QHBoxLayout(strip)
    row.setContentsMargins(14, 4, 14, 4)
    row.addWidget(QLabel(options.title))
    row.addStretch(1)
    if options.unverified:
        warning = QLabel(UNVERIFIED)
        warning.setObjectName("unverified")
        warning.setToolTip("This engine did not pass the accuracy gate: run calibration.gate")
        row.addWidget(warning)
    research = QLabel(RESEARCH_ONLY)
    research.setObjectName("research")
    row.addWidget(research)
    return strip

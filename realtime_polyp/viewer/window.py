"""The window: banner, picture, controls and status line, and what keys and buttons do."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from PyQt5.QtCore import QEvent, QEventLoop, QSize, Qt, QTimer
from PyQt5.QtGui import QCloseEvent, QGuiApplication, QKeyEvent, QMouseEvent, QResizeEvent
from PyQt5.QtWidgets import QApplication, QWidget

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.recording.control import RecordingControl
from realtime_polyp.review.timeline_data import TimelineData
from realtime_polyp.viewer.ahead import Job
from realtime_polyp.viewer.alerting import Alerting
from realtime_polyp.viewer.badges import Notes
from realtime_polyp.viewer.banner import make_top
from realtime_polyp.viewer.bars import Bars
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.condition import READY, Condition, pace_badges
from realtime_polyp.viewer.controls import Controls
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import OpenFeed
from realtime_polyp.viewer.field_control import FieldControl
from realtime_polyp.viewer.field_tool import FieldTool
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.health import Health, Watched
from realtime_polyp.viewer.help_panel import HelpPanel
from realtime_polyp.viewer.host import Host
from realtime_polyp.viewer.judge_link import JudgeLink
from realtime_polyp.viewer.judging import Judging
from realtime_polyp.viewer.keep_pace import KeepPace, SetKeepPace
from realtime_polyp.viewer.keys import ACTION_OF, REPEATED, Action, code_of
from realtime_polyp.viewer.legend import Legend
from realtime_polyp.viewer.mutes import hidden_of, mutes_of
from realtime_polyp.viewer.pacing import speed_text
from realtime_polyp.viewer.picture_service import StepPictures
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.record_link import RecordLink
from realtime_polyp.viewer.recording import Recording, recording_text
from realtime_polyp.viewer.replay_panel import LiveReplay
from realtime_polyp.viewer.report_link import ReportLink
from realtime_polyp.viewer.shown_alarms import ShownAlarms
from realtime_polyp.viewer.snapshot import Saved, error_message, save_snapshot, saved_message
from realtime_polyp.viewer.status import StatusLine
from realtime_polyp.viewer.stepping import no_pictures
from realtime_polyp.viewer.theme import RESEARCH_ONLY, scale_of, scaled, style_of
from realtime_polyp.viewer.timeline_link import TimelineLink
from realtime_polyp.viewer.transport import Transport
from realtime_polyp.viewer.window_menu import make_menu, make_opener, snapshot_folder

_FRAME_PX = QSize(4, 40)  # of the window manager, around the window
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
        watched: what is watched besides the player.
        recording: returns what is being written, or None; called several times per second.
        set_keep_pace: chooses for the feeds that are opened next whether a recording is played at its own rate, though
            not every frame can be analysed; None: the source cannot. keep_pace: how it starts.
        unverified: an engine runs that has not passed the accuracy gate; the banner always says so.
        sound: start with the sound for new alarms switched on; None: with a live source.
        usual_score: the threshold that the calibration gives; a higher one is marked. None: the one at the start.
        timeline: the data of a recorded session, the same object as long as nothing changes; None: what was watched.
        ahead: what is analysed in the background for the timeline; None: nothing.
        record: records sessions; None: nothing can be recorded, as while one is reviewed.
        session: folder of the recorded session that is reviewed; None: none is.
        legend: start with the legend open. on_legend_closed: called when the user closes it.
        judging: the recorded session that is shown, to be judged; None: a source plays.
        host: what the program's windows share.
        field_control: names the source's field of view; None: a recorded session is shown.
    """

    title: str
    style: OverlayStyle = OverlayStyle()
    snapshot_folder: Path = Path("snapshots")
    quit_at_end: bool = False
    recording_error: Callable[[], str | None] = lambda: None
    watched: Watched = Watched()
    recording: Callable[[], Recording | None] = lambda: None
    set_keep_pace: SetKeepPace | None = None
    keep_pace: bool = False
    unverified: bool = False
    sound: bool | None = None
    usual_score: float | None = None
    timeline: Callable[[], TimelineData] | None = None
    ahead: Job | None = None
    legend: bool = False
    on_legend_closed: Callable[[], None] = lambda: None
    record: RecordingControl | None = None
    session: Path | None = None
    judging: Judging | None = None
    host: Host = field(default_factory=Host)
    field_control: FieldControl | None = None


class ViewerWindow(QWidget):
    """Call `start` once; from then on timers run the window until it is closed."""

    def __init__(self, open_feed: OpenFeed, info: SourceInfo, options: ViewerOptions) -> None:
        super().__init__()
        self.options = options
        self.canvas = Canvas(options.style)
        pictures = StepPictures(info.path, info.time_in_file, info.deinterlace) if info.path else no_pictures
        self.player = Player(open_feed, info, self._paint, pictures=pictures)
        self.controls = Controls(
            live=info.live,
            duration_s=info.duration_s,
            on_action=self.perform,
            on_seek=self.seek,
            rate_hz=info.rate_hz,
            on_loop=lambda start_s, end_s: self.transport.loop(start_s, end_s),
            on_threshold=lambda score: self.alerting.set_threshold(score),
        )
        self.status = StatusLine(live=info.live)
        self.alarms = ShownAlarms()
        self.alerting = Alerting(self.player, self.canvas, self.controls, options.style, self._say)
        self.condition: Condition = READY
        self.health = Health(self.player, options.watched)
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._saving: Future[Saved] | None = None
        self.replay = LiveReplay(self.canvas) if info.live else None
        data = self._timeline_data if options.timeline else None
        timeline, job = self.controls.timeline, options.ahead
        self.timeline = TimelineLink(timeline, self.player, self.alarms, data=data, job=job)
        self.transport = Transport(self.player, self.seek, self.timeline.alarms, self.show_message, self.replay)
        self.keep_pace = KeepPace(self.player, options.set_keep_pace, self.show_message, on=options.keep_pace)
        self.record = RecordLink(options.record, self.show_message)
        self.report = ReportLink(options.session, self.show_message, source_at=info.path)
        self.judge = JudgeLink(self, options.judging)
        self.field = FieldTool(
            options.field_control, self.player, self.canvas, self._say, lambda named: self.timeline.use_field(named)
        )
        self.opener = make_opener(self)
        self._actions: dict[Action, Callable[[], None]] = self._make_actions() | self.opener.actions()
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
        start = max(score_threshold, self.options.style.min_score)
        self.alerting.start(start, self.options.usual_score, sound=self.options.sound)
        if self.options.legend:
            self.legend.open()
        self.refresh()
        if message := self.options.host.take_message():
            self.show_message(message)
        self._tick_timer.start(0)
        self._refresh_timer.start(_REFRESH_MS)

    def perform(self, action: Action) -> None:
        """Carry out the action of a key or a button."""
        self._actions[action]()
        self.refresh()
        if self.player.phase != "closed":
            self._tick_timer.start(0)

    @property
    def scale(self) -> float:
        """Of the sizes of everything around the picture."""
        return self._scale

    @property
    def overlay_style(self) -> OverlayStyle:
        return self.alerting.style

    def show_message(self, text: str) -> None:
        """Show a message in the status line for a few seconds."""
        self.status.show_message(text)
        self._message_timer.start(_MESSAGE_MS)
        self._show_notes()

    def refresh(self) -> None:
        """Update everything around the picture from the player's state."""
        self._refresh_condition()
        self.legend.make_way()
        self.record.show_news()
        self.report.show_news()
        self.controls.show_recording(self.record.is_on)
        feed = self.player.feed
        self.status.show_reading(self.player.reading())
        self.status.show_dropped(self.player.missed, self.player.tally() if feed else None)
        if feed:
            lost = feed.warning if self.player.info.live else None
            self.status.show_engines(feed.engines_text, self.options.recording_error() or lost)
        counts = (feed is None or feed.tracks_polyps) and not self.judge.hides_models
        self.status.show_polyps(self.alarms.polyps if counts else None)
        self.judge.refresh()
        self._show_notes()
        self.controls.show_position(self.player.position_s)
        self.controls.show_speed(speed_text(self.player.speed), usual=self.player.speed == 1)
        marks = tuple(sorted((mark.at_s, mark.text) for mark in self.judge.marks))
        self.timeline.refresh(self.transport, self.alerting.style.min_score, marks)

    def _timeline_data(self) -> TimelineData:
        """What of a recorded session's timeline may be shown now."""
        assert self.options.timeline
        return self.judge.timeline(self.options.timeline())

    # Building

    def _make_actions(self) -> dict[Action, Callable[[], None]]:
        return {
            **self.transport.actions(),
            **self.timeline.actions(),
            **self.alerting.actions(),
            **self.record.actions(),
            **self.judge.actions(),
            **self.report.actions(),
            **self.field.actions(),
            "keep pace": self.keep_pace.toggle,
            "legend": lambda: self.legend.toggle(),
            "snapshot": self._snapshot,
            "full screen": lambda: self._set_full_screen(not self.isFullScreen()),
            "leave": self._leave_full_screen,
            "help": self._toggle_help,
            "quit": lambda: QTimer.singleShot(0, self._close_now),
        }

    def _build_layout(self, info: SourceInfo) -> None:
        self.setWindowTitle(f"{self.options.title} \u2013 realtime-polyp")
        screen = QGuiApplication.primaryScreen().availableSize() - _FRAME_PX
        self.resize(screen.boundedTo(QSize(1280, 800)))
        self.menu = make_menu(self, self._actions, live=info.live)
        self.bars = Bars(
            self,
            [make_top(self.menu, self.options.title, unverified=self.options.unverified)],
            self.canvas,
            [self.controls, self.status],
            self._on_cover,
        )
        self.judge.place_list()
        self.help = HelpPanel(self.canvas, live=info.live)
        self.legend = Legend(self.canvas, self.options.on_legend_closed)
        self._scale = 0.0
        self._rescale()
        self.alerting.restyle()

    def _connect_timers(self) -> None:
        self._tick_timer.setTimerType(Qt.PreciseTimer)
        self._tick_timer.setSingleShot(True)
        self._tick_timer.timeout.connect(self._tick)
        self._refresh_timer.timeout.connect(self.refresh)
        self._message_timer.setSingleShot(True)
        self._message_timer.timeout.connect(self._clear_message)

    # Running

    def _wait_for_screen(self) -> None:
        """Wait until the window can be painted on: an earlier picture would be lost."""
        deadline_s = time.monotonic() + _ON_SCREEN_LIMIT_S
        while not self.canvas.on_screen and self.player.phase != "closed" and time.monotonic() < deadline_s:
            QApplication.processEvents(QEventLoop.AllEvents, 10)

    def _tick(self) -> None:
        wait_s = self.player.tick()
        self._refresh_condition()
        self.controls.show_position(self.player.position_s)
        self.timeline.yield_to_player()
        self._report_snapshot()
        if self.player.phase == "closed":
            return
        if self.options.quit_at_end and self.player.phase in ("ended", "failed"):
            self._close_now()
            return
        self._tick_timer.start(max(0, int(wait_s * 1000)))

    def _paint(self, displayed: DisplayedFrame) -> Painted:
        self.canvas.set_condition(self.health.condition())
        started = 0 if displayed.again else self.alarms.update(displayed.result, self.overlay_style.min_score)
        started = 0 if self.judge.hides_models else started
        self.canvas.signals.start(alarm.best.box for alarm in self.alarms.started[:started])
        painted = self.canvas.show_frame(displayed)
        self.legend.make_way()
        self.timeline.watch(None if displayed.again else displayed.result)
        self.judge.on_frame(displayed)
        if self.replay:
            self.replay.add(displayed, self.canvas.shapes())
        self.alerting.sound.play(started)
        return painted

    def _refresh_condition(self) -> None:
        condition = self.health.condition()
        if condition != self.condition:
            if condition.name != self.condition.name:
                self.health.log(condition)
            self.condition = condition
            self.canvas.set_condition(condition)
            self.status.show_condition(condition)
            self._show_notes()
        icon = "again" if self.player.phase in ("ended", "failed") else "play" if self.player.paused else "pause"
        self.controls.show_playing(icon)

    # Actions

    def seek(self, to_s: float) -> None:
        """Go to a time of the recording, s."""
        self.judge.go_on()
        self.alarms.on_seek()
        self.player.seek(to_s)
        self.refresh()
        self._tick_timer.start(0)

    def _show_notes(self) -> None:
        """Bring the badges on the picture up to date."""
        alerts = self.alerting.alerts
        skipped = pace_badges(self.player.state())
        mutes = (*mutes_of(alerts), *skipped, *self.transport.badges(), *self.field.badges())
        notes = Notes(mutes, writing=recording_text(self.options.recording()))
        tone = "warn" if (hidden_of(alerts) or skipped) and self.condition.tone == "good" else self.condition.tone
        self.status.show_tone(tone)
        if self.bars.floating and not self.bars.shown:
            status = "  \u00b7  ".join(self.status.labels[name].text().strip("\u25cf ") for name in ("state", "polyps"))
            notes = Notes(mutes, status, tone, RESEARCH_ONLY, self.status.message, notes.writing)
        self.canvas.set_notes(notes)

    def _on_cover(self, top_px: int, bottom_px: int) -> None:
        """Bars came over the picture, or went."""
        self.canvas.set_covered(top_px, bottom_px)
        self._show_notes()

    def _say(self, text: str) -> None:
        """Show a message, or where there is none bring the badges up to date."""
        if text:
            self.show_message(text)
        else:
            self._show_notes()

    def _clear_message(self) -> None:
        self.status.clear_message()
        self._show_notes()

    def _toggle_help(self) -> None:
        self.help.setVisible(not self.help.isVisible())
        self._place_panels()

    def _snapshot(self) -> None:
        """Save a snapshot on another thread: the picture on the screen must not wait for the disk."""
        displayed = self.player.displayed
        if displayed is None:
            self.show_message("There is no picture to save yet")
        elif self._saving:
            self.show_message("The previous snapshot is still being saved")
        else:
            where, blank = (snapshot_folder(self), self.player.info.name, datetime.now()), self.options.host.blank
            self._saving = self._saver.submit(save_snapshot, displayed, self.overlay_style, *where, blank=blank)

    def _report_snapshot(self) -> None:
        if self._saving is None or not self._saving.done():
            return
        saving, self._saving = self._saving, None
        try:
            self.show_message(saved_message(saving.result()))
        except OSError as error:
            self.show_message(error_message(error, snapshot_folder(self)))

    def _set_full_screen(self, full: bool) -> None:
        self.menu.setVisible(not full)
        self.bars.set_floating(full)
        self.judge.set_full_screen(full)
        if full:
            self.showFullScreen()
            self.show_message("Full screen: press Esc to leave, H for the list of keys")
        else:
            self.showNormal()

    def _leave_full_screen(self) -> None:
        if self.judge.leave() or self.field.leave():
            return
        if self.help.isVisible():
            self.help.hide()
        elif self.legend.isVisible():
            self.legend.dismiss()
        elif self.replay and self.replay.leave():
            pass
        elif self.isFullScreen():
            self._set_full_screen(False)

    def _close_now(self) -> None:
        self.close()

    # Qt events

    def keyPressEvent(self, event: QKeyEvent) -> None:
        action = ACTION_OF.get(code_of(event))
        if action is None:
            super().keyPressEvent(event)
        elif not event.isAutoRepeat() or action in REPEATED:
            self.perform(action)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.canvas.rect().contains(self.canvas.mapFrom(self, event.pos())):
            self.perform("full screen")

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._rescale()
        self.bars.place()
        self.judge.fit()
        QTimer.singleShot(0, self._place_panels)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.WindowStateChange:  # the window manager can change it too
            self.menu.setVisible(not self.isFullScreen())
            self.bars.set_floating(self.isFullScreen())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Hide the window at once, then stop the threads; this takes a few seconds at most."""
        for timer in (self._tick_timer, self._refresh_timer, self._message_timer):
            timer.stop()
        self.hide()
        self.timeline.close()
        self.judge.close()
        if self.replay:
            self.replay.close()
        self.opener.close()
        self.player.close()
        self._saver.shutdown(wait=False)
        if self._saving:  # a disk that does not answer must not keep the window's process alive
            wait([self._saving], _SAVE_LIMIT_S)
        event.accept()

    def _rescale(self) -> None:
        """Fit the sizes of everything around the picture to the window."""
        scale = scale_of(self.width(), self.height())
        if scale != self._scale:
            self._scale = scale
            self.setStyleSheet(style_of(scale))
            self.menu.setStyleSheet(scaled(FORM_STYLE, scale))
            self.controls.set_scale(scale)
            self.status.set_scale(scale)

    def _place_panels(self) -> None:
        self.judge.fit()
        self.legend.fit()
        if self.replay:
            self.replay.panel.place()
        if self.help.isVisible():
            self.help.fit(self.canvas.width(), self.canvas.height())

"""The window: puts its parts together and runs them, and takes keys, mouse and other events."""

from collections.abc import Callable

from PyQt5.QtCore import QEvent, Qt, QTimer
from PyQt5.QtGui import QCloseEvent, QKeyEvent, QMouseEvent, QResizeEvent
from PyQt5.QtWidgets import QWidget

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.review.timeline_data import TimelineData
from realtime_polyp.viewer.alerting import Alerting
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.condition import Condition
from realtime_polyp.viewer.controls import Controls
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import OpenFeed
from realtime_polyp.viewer.field_tool import FieldTool
from realtime_polyp.viewer.health import Health
from realtime_polyp.viewer.judge_link import JudgeLink
from realtime_polyp.viewer.keep_pace import KeepPace
from realtime_polyp.viewer.keys import ACTION_OF, REPEATED, Action, code_of
from realtime_polyp.viewer.pacing import speed_text
from realtime_polyp.viewer.panels import Panels
from realtime_polyp.viewer.picture_service import StepPictures
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.record_link import RecordLink
from realtime_polyp.viewer.replay_panel import LiveReplay
from realtime_polyp.viewer.report_link import ReportLink
from realtime_polyp.viewer.shown_alarms import ShownAlarms
from realtime_polyp.viewer.snapshot_link import SnapshotLink
from realtime_polyp.viewer.status import StatusLine
from realtime_polyp.viewer.status_link import StatusLink
from realtime_polyp.viewer.stepping import no_pictures
from realtime_polyp.viewer.timeline_link import TimelineLink
from realtime_polyp.viewer.transport import Transport
from realtime_polyp.viewer.window_layout import WindowLayout, wait_for_screen
from realtime_polyp.viewer.window_menu import make_menu, make_opener, snapshot_folder
from realtime_polyp.viewer.window_options import ViewerOptions

_REFRESH_MS = 250


class ViewerWindow(QWidget):
    """Call `start` once; from then on timers run the window until it is closed."""

    def __init__(self, open_feed: OpenFeed, info: SourceInfo, options: ViewerOptions) -> None:
        super().__init__()
        self.options = options
        self.canvas = Canvas(options.style)
        self._step_pictures = StepPictures(info.path, info.time_in_file, info.deinterlace) if info.path else None
        self.player = Player(open_feed, info, self._paint, pictures=self._step_pictures or no_pictures)
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
        self.health = Health(self.player, options.watched)
        self.replay = LiveReplay(self.canvas) if info.live else None
        say, data = self.show_message, self._timeline_data if options.timeline else None
        self.timeline = TimelineLink(
            self.controls.timeline, self.player, self.alarms, data=data, job=options.ahead, say=say
        )
        self.transport = Transport(self.player, self.seek, self.timeline.alarms, say, self.replay)
        self.keep_pace = KeepPace(self.player, options.set_keep_pace, say, on=options.keep_pace)
        self.record = RecordLink(options.record, say)
        self.report = ReportLink(options.session, say, source_at=info.path)
        self.snapshot = SnapshotLink(
            self.player,
            folder=lambda: snapshot_folder(self),
            style=lambda: self.overlay_style,
            blank=lambda: options.host.blank,
            say=say,
        )
        self.judge = JudgeLink(self, options.judging)
        self.field = FieldTool(options.field_control, self.player, self.canvas, self._say, self.timeline.use_field)
        self.opener = make_opener(self)
        self._actions: dict[Action, Callable[[], None]] = self._make_actions() | self.opener.actions()
        self._tick_timer, self._refresh_timer = QTimer(self), QTimer(self)
        self._build_layout(info)
        self._connect_timers()

    def start(self, *, full_screen: bool = False) -> None:
        """Show the window, open the source and play. Raises what `open_feed` raises."""
        if full_screen:
            self._set_full_screen(True)
        else:
            self.show()
        wait_for_screen(self.canvas, lambda: self.player.phase == "closed")
        if self.player.phase == "closed":
            return
        self.player.open()
        score_threshold = self.player.score_threshold or 0.0
        start = max(score_threshold, self.options.style.min_score)
        self.alerting.start(start, self.options.usual_score, sound=self.options.sound)
        if self.options.legend:
            self.panels.legend.open()
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

    def seek(self, to_s: float) -> None:
        """Go to a time of the recording, s; of a live source nothing happens."""
        if self.player.info.live:
            return
        self.judge.go_on()
        self.alarms.on_seek()
        self.canvas.signals.clear()
        self.player.seek(to_s)
        self.refresh()
        self._tick_timer.start(0)

    @property
    def scale(self) -> float:
        """Of the sizes of everything around the picture."""
        return self.window_layout.scale

    @property
    def overlay_style(self) -> OverlayStyle:
        return self.alerting.style

    @property
    def condition(self) -> Condition:
        """The condition that is shown."""
        return self.status_link.condition

    def show_message(self, text: str) -> None:
        """Show a message in the status line for a few seconds."""
        self.status_link.show_message(text)

    def refresh(self) -> None:
        """Update everything around the picture from the player's state."""
        self._refresh_condition()
        self.panels.legend.make_way()
        self.alerting.open_sound()
        self.record.show_news()
        self.report.show_news()
        self.controls.show_recording(self.record.is_on)
        feed = self.player.feed
        counts = (feed is None or feed.tracks_polyps) and not self.judge.hides_models
        self.status_link.refresh_line(polyps=self.alarms.polyps if counts else None)
        self.judge.refresh()
        self.status_link.show_notes()
        self.controls.show_position(self.player.position_s, self.player.shown_s)
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
            **self.snapshot.actions(),
            "keep pace": self.keep_pace.toggle,
            "legend": lambda: self.panels.legend.toggle(),
            "full screen": lambda: self._set_full_screen(not self.isFullScreen()),
            "leave": self._leave,
            "help": lambda: self.panels.toggle_help(),
            "quit": self._quit,
        }

    def _build_layout(self, info: SourceInfo) -> None:
        options = self.options
        self.menu = make_menu(self, self._actions, live=info.live)
        self.window_layout = WindowLayout(
            self,
            self.menu,
            self.canvas,
            self.controls,
            self.status,
            title=options.title,
            unverified=options.unverified,
            on_cover=self._on_cover,
        )
        self.status_link = StatusLink(
            self.status,
            self.canvas,
            self.window_layout.bars,
            self.player,
            self.health,
            self.alerting,
            badges=lambda: (*self.transport.badges(), *self.field.badges()),
            recording=options.recording,
            recording_error=options.recording_error,
        )
        self.judge.place_list()
        self.panels = Panels(self.canvas, self.judge, self.replay, options.on_legend_closed, live=info.live)
        self.window_layout.rescale()
        self.alerting.restyle()

    def _connect_timers(self) -> None:
        self._tick_timer.setTimerType(Qt.PreciseTimer)
        self._tick_timer.setSingleShot(True)
        self._tick_timer.timeout.connect(self._tick)
        self._refresh_timer.timeout.connect(self.refresh)

    # Running

    def _tick(self) -> None:
        wait_s = self.player.tick()
        self._refresh_condition()
        self.controls.show_position(self.player.position_s, self.player.shown_s)
        self.timeline.yield_to_player()
        self.snapshot.show_news()
        if self.player.phase == "closed":
            return
        if self.options.quit_at_end and self.player.phase in ("ended", "failed"):
            self.close()
            return
        self._tick_timer.start(max(0, int(wait_s * 1000)))

    def _paint(self, displayed: DisplayedFrame) -> Painted:
        self.canvas.set_condition(self.health.condition())
        started = 0 if displayed.again else self.alarms.update(displayed.result, self.overlay_style.min_score)
        started = 0 if self.judge.hides_models else started
        self.canvas.signals.start(alarm.best.box for alarm in self.alarms.started[:started])
        painted = self.canvas.show_frame(displayed)
        self.panels.legend.make_way()
        self.timeline.watch(None if displayed.again else displayed.result)
        self.judge.on_frame(displayed)
        if self.replay:
            self.replay.add(displayed, self.canvas.shapes())
        self.alerting.sound.play(started)
        return painted

    def _refresh_condition(self) -> None:
        self.status_link.refresh_condition()
        icon = "again" if self.player.phase in ("ended", "failed") else "play" if self.player.paused else "pause"
        self.controls.show_playing(icon)
        self.controls.show_live(paused=self.condition.name == "paused")

    # Actions

    def _say(self, text: str) -> None:
        self.status_link.say(text)

    def _on_cover(self, top_px: int, bottom_px: int) -> None:
        """Bars came over the picture, or went."""
        self.canvas.set_covered(top_px, bottom_px)
        self.status_link.show_notes()

    def _set_full_screen(self, full: bool) -> None:
        self.window_layout.use_full_screen(full)
        self.judge.set_full_screen(full)
        if full:
            self.showFullScreen()
            self.show_message("Full screen: press Esc to leave, H for the list of keys")
        else:
            self.showNormal()

    def _leave(self) -> None:
        """Esc: cancel what is under way, else close a panel, else leave full screen."""
        if self.judge.leave() or self.field.leave() or self.panels.leave():
            return
        if self.isFullScreen():
            self._set_full_screen(False)

    def _quit(self) -> None:
        if not self.report.keeps_open():
            QTimer.singleShot(0, self.close)

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
        self.window_layout.rescale()
        self.window_layout.bars.place()
        self.judge.fit()
        QTimer.singleShot(0, self.panels.place)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.WindowStateChange:  # the window manager can change it too
            self.window_layout.use_full_screen(self.isFullScreen())
            self.judge.set_full_screen(self.isFullScreen())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Hide the window at once, then stop the threads; this takes a few seconds at most."""
        if event.spontaneous() and self.report.keeps_open():  # the user closed it, not a signal
            event.ignore()
            return
        self._tick_timer.stop()
        self._refresh_timer.stop()
        self.status_link.close()
        self.hide()
        self.timeline.close()
        self.judge.close()
        if self.replay:
            self.replay.close()
        self.opener.close()
        self.player.close()
        if self._step_pictures:
            self._step_pictures.close()
        self.snapshot.close()
        event.accept()

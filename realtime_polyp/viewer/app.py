"""The entry point of the viewer: show a source in a window until the window is closed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from PyQt5.QtCore import QMetaObject, Qt, QTimer
from PyQt5.QtWidgets import QWidget

from realtime_polyp.console import EXIT_FAILED, EXIT_INTERRUPTED
from realtime_polyp.interrupts import on_interrupt
from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.recording.control import RecordingControl
from realtime_polyp.review.timeline_data import TimelineData
from realtime_polyp.telemetry import board
from realtime_polyp.viewer.ahead import Job
from realtime_polyp.viewer.condition import Condition
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.feed import OpenFeed
from realtime_polyp.viewer.field_control import FieldControl
from realtime_polyp.viewer.health import Watched
from realtime_polyp.viewer.host import Host
from realtime_polyp.viewer.judging import Judging
from realtime_polyp.viewer.keep_pace import SetKeepPace
from realtime_polyp.viewer.qt_setup import application
from realtime_polyp.viewer.recording import Recording
from realtime_polyp.viewer.start_page import StartPage
from realtime_polyp.viewer.window import ViewerWindow
from realtime_polyp.viewer.window_options import ViewerOptions

__all__ = ["OpenFeed", "SourceInfo", "run_start_page", "run_viewer"]

_STYLE = OverlayStyle()
_WATCHED_MS = 250


def run_viewer(
    open_feed: OpenFeed,
    *,
    title: str,
    info: SourceInfo,
    style: OverlayStyle = _STYLE,
    snapshot_folder: Path = Path("snapshots"),
    full_screen: bool = False,
    quit_at_end: bool = False,
    recording_error: Callable[[], str | None] = lambda: None,
    watched: Watched = Watched(),
    recording: Callable[[], Recording | None] = lambda: None,
    set_keep_pace: SetKeepPace | None = None,
    keep_pace: bool = False,
    unverified: bool = False,
    sound: bool | None = None,
    usual_score: float | None = None,
    legend: bool = False,
    on_legend_closed: Callable[[], None] = lambda: None,
    timeline: Callable[[], TimelineData] | None = None,
    ahead: Job | None = None,
    record: RecordingControl | None = None,
    session: Path | None = None,
    judging: Judging | None = None,
    host: Host | None = None,
    field_control: FieldControl | None = None,
) -> int:
    """Show a source until the window is closed; returns 0, 1 when playing failed, or 130 after a signal.

    open_feed: returns a new, unstarted feed that starts at or before the given time of the video. It is called on this
        thread after the previous feed has ended: both may share engines and a pipeline, which it must reset. Errors of
        the first call are raised; those of later calls are shown in the window.
    host: what the program's windows share; None: this is the only one.
    For the other arguments see `ViewerOptions`.
    """
    app, host = application(), host or Host()
    options = ViewerOptions(
        title,
        style,
        snapshot_folder,
        quit_at_end,
        recording_error,
        watched,
        recording=recording,
        set_keep_pace=set_keep_pace,
        keep_pace=keep_pace,
        unverified=unverified,
        sound=sound,
        usual_score=usual_score,
        legend=legend,
        on_legend_closed=on_legend_closed,
        timeline=timeline,
        ahead=ahead,
        record=record,
        session=session,
        judging=judging,
        host=host,
        field_control=field_control,
    )
    window = ViewerWindow(open_feed, info, options)
    window.alerting.sound.volume = host.settings.sound_volume
    host.place(window)
    board_timer = QTimer(window)
    board_timer.timeout.connect(lambda: host.board.stream().set_condition(watched_condition(window.condition)))
    board_timer.start(_WATCHED_MS)
    try:
        with _close_on_interrupt(window) as outcome:
            window.start(full_screen=full_screen or window.isFullScreen())
            host.drop_curtain()
            if window.player.phase != "closed":
                app.exec_()
    finally:
        board_timer.stop()  # it must not outlive what it asks
        host.remember_place(window)
        window.close()
    if outcome.error:
        raise outcome.error
    return EXIT_INTERRUPTED if outcome.interrupted else EXIT_FAILED if window.player.failure else 0


def run_start_page(host: Host) -> int:
    """Show the start page until something is chosen (`host.request`) or it is closed.

    Returns 0, or 130 after a signal.
    """
    app = application()
    page = StartPage(host)
    try:
        with _close_on_interrupt(page) as outcome:
            page.start()
            host.drop_curtain()
            app.exec_()
    finally:
        host.remember_place(page)
    if outcome.error:
        raise outcome.error
    return EXIT_INTERRUPTED if outcome.interrupted else 0


def watched_condition(condition: Condition) -> board.Condition:
    """What the window shows, for whoever watches the program."""
    return board.Condition(condition.name, condition.tone, condition.blanks)


class _Outcome:
    """How the event loop ended."""

    interrupted = False
    error: BaseException | None = None


@contextmanager
def _close_on_interrupt(window: QWidget) -> Iterator[_Outcome]:
    """Close the window on Ctrl-C, SIGTERM and SIGHUP, and on an error in a Qt callback, on which PyQt would abort."""
    outcome = _Outcome()

    def interrupt() -> None:
        """On another thread: the window closes itself between two events."""
        outcome.interrupted = True
        QMetaObject.invokeMethod(window, "close", Qt.QueuedConnection)

    def fail(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        outcome.error = outcome.error or error
        window.close()

    old_hook, sys.excepthook = sys.excepthook, fail
    try:
        with on_interrupt(interrupt):
            yield outcome
    finally:
        sys.excepthook = old_hook

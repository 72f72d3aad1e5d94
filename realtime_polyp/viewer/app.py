"""The entry point of the viewer: show a source in a window until the window is closed."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from PyQt5.QtCore import QTimer

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.feed import OpenFeed
from realtime_polyp.viewer.qt_setup import application
from realtime_polyp.viewer.window import ViewerOptions, ViewerWindow

__all__ = ["OpenFeed", "SourceInfo", "run_viewer"]

_EXIT_FAILED, _EXIT_INTERRUPTED = 1, 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STYLE = OverlayStyle()


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
    unverified: bool = False,
    sound: bool = False,
) -> int:
    """Show a source until the window is closed; returns 0, 1 when playing failed, or 130 after Ctrl-C or SIGTERM.

    open_feed: returns a new, unstarted feed that starts at or before the given time of the video. It is called on this
        thread after the previous feed has ended: both may share engines and a pipeline, which it must reset. Errors of
        the first call are raised; those of later calls are shown in the window.
    For the other arguments see `ViewerOptions`.
    """
    app = application()
    options = ViewerOptions(title, style, snapshot_folder, quit_at_end, recording_error, unverified, sound)
    window = ViewerWindow(open_feed, info, options)
    try:
        with _close_on_interrupt(window) as outcome:
            window.start(full_screen=full_screen)
            if window.player.phase != "closed":
                app.exec_()
    finally:
        window.close()
    if outcome.error:
        raise outcome.error
    return _EXIT_INTERRUPTED if outcome.interrupted else _EXIT_FAILED if window.player.failure else 0


class _Outcome:
    """How the event loop ended."""

    interrupted = False
    error: BaseException | None = None


@contextmanager
def _close_on_interrupt(window: ViewerWindow) -> Iterator[_Outcome]:
    """Close the window on Ctrl-C, on SIGTERM, and on an error in a Qt callback, on which PyQt would abort."""
    outcome = _Outcome()

    def interrupt(number: int, frame: FrameType | None) -> None:
        outcome.interrupted = True
        QTimer.singleShot(0, window.close)  # a signal can arrive while painting: close between two events

    def fail(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        outcome.error = outcome.error or error
        window.close()

    old_signals, old_hook = {number: signal.signal(number, interrupt) for number in _SIGNALS}, sys.excepthook
    sys.excepthook = fail
    try:
        yield outcome
    finally:
        sys.excepthook = old_hook
        for number, handler in old_signals.items():
            signal.signal(number, handler)

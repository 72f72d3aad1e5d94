"""From a way to open sessions to a window that has been closed: the viewer's one entry."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from PyQt5.QtCore import QTimer

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.viewer.player import OpenSession
from realtime_polyp.viewer.qt_setup import application
from realtime_polyp.viewer.view import SourceInfo
from realtime_polyp.viewer.window import ViewerOptions, ViewerWindow

__all__ = ["OpenSession", "SourceInfo", "run_viewer"]

_FAILED, _INTERRUPTED = 1, 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STYLE = OverlayStyle()


def run_viewer(
    open_session: OpenSession,
    *,
    title: str,
    info: SourceInfo,
    style: OverlayStyle = _STYLE,
    snapshot_folder: Path = Path("snapshots"),
    full_screen: bool = False,
    quit_at_end: bool = False,
    trouble: Callable[[], str | None] = lambda: None,
    unverified: bool = False,
    sound: bool = False,
) -> int:
    """Show a source until the window is closed; 0, or 1 when the session had failed, or 130 after Ctrl-C or SIGTERM.

    open_session(start_s, show): a new, unstarted Session made with `show` and `paints=True`, beginning at or before
    `start_s` of the video. The session before it has ended by then, so both may share engines and a pipeline, which is
    to be reset. It is called on this thread. The first call's errors pass through; a later one's are shown.
    trouble: asked now and then for what went wrong beside the session, such as a recording that could not be written.
    unverified: an engine runs that passed no accuracy gate; the strip above the picture says so all the time.
    sound: new alarms are heard, where the machine can.
    """
    app = application()
    options = ViewerOptions(title, style, snapshot_folder, quit_at_end, trouble, unverified, sound)
    window = ViewerWindow(open_session, info, options)
    try:
        with _ends_well(window) as ending:
            window.begin(full_screen=full_screen)
            if window.player.phase != "closed":
                app.exec_()
    finally:
        window.close()
    if ending.error:
        raise ending.error
    return _INTERRUPTED if ending.interrupted else _FAILED if window.player.failure else 0


class _Ending:
    """How the event loop came to its end."""

    interrupted = False
    error: BaseException | None = None


@contextmanager
def _ends_well(window: ViewerWindow) -> Iterator[_Ending]:
    """Ctrl-C and SIGTERM close the window; so does an error in a Qt callback, on which PyQt would otherwise abort."""
    ending = _Ending()

    def interrupt(number: int, frame: FrameType | None) -> None:
        ending.interrupted = True
        QTimer.singleShot(0, window.close)  # a signal may come in the middle of painting: close between two events

    def fail(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        ending.error = ending.error or error
        window.close()

    old_signals, old_hook = {number: signal.signal(number, interrupt) for number in _SIGNALS}, sys.excepthook
    sys.excepthook = fail
    try:
        yield ending
    finally:
        sys.excepthook = old_hook
        for number, handler in old_signals.items():
            signal.signal(number, handler)

"""From a way to open sessions to a window that has been closed: the viewer's one entry."""
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from realtime_polyp.overlay import OverlayStyle
from realtime_polyp.viewer.player import OpenSession, SourceInfo
from realtime_polyp.viewer.qt_setup import application
from realtime_polyp.viewer.window import ViewerOptions, ViewerWindow

_FAILED, _INTERRUPTED = 1, 130
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
) -> int:
    """Show a source until the window is closed; 0, or 1 when the session had failed, or 130 after Ctrl-C.

    open_session(start_s, show): a new, unstarted Session made with `show` and `paints=True`, beginning at or before
    `start_s` of the video. The session before it has ended by then, so both may share engines and a pipeline, which is
    to be reset. It is called on this thread. The first call's errors pass through; a later one's are shown.
    """
    app = application()
    options = ViewerOptions(title, style, snapshot_folder, quit_at_end)
    window = ViewerWindow(open_session, info, options)
    if full_screen:
        window.do("full screen")
    else:
        window.show()
    try:
        window.begin()
        with _ends_well(window) as ending:
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
    """Ctrl-C closes the window; so does an error in a Qt callback, on which PyQt would otherwise abort."""
    ending = _Ending()

    def interrupt(number: int, frame: FrameType | None) -> None:
        ending.interrupted = True
        window.close()

    def fail(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        ending.error = ending.error or error
        window.close()

    old_signal, old_hook = signal.signal(signal.SIGINT, interrupt), sys.excepthook
    sys.excepthook = fail
    try:
        yield ending
    finally:
        sys.excepthook = old_hook
        signal.signal(signal.SIGINT, old_signal)

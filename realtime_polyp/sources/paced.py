"""Plays a recording in real time, as if it were live."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.wrapper import SourceWrapper


class Pacer:
    """Waits until frames are due: the first at once, others by their distance from it. A late frame does not wait."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._zero_s: float | None = None  # time.monotonic() at pts_s 0

    def wait(self, pts_s: float) -> bool:
        """Sleep until the frame is due. Returns False as soon as `stop` is set."""
        if self._zero_s is None:
            self._zero_s = time.monotonic() - pts_s
        due_s = self._zero_s + pts_s - time.monotonic()
        return not (self._stop.wait(due_s) if due_s > 0 else self._stop.is_set())


class Paced(SourceWrapper):
    """Yields another source's frames in real time. `close` ends a wait at once.

    It is live, so a slow consumer misses frames. `captured_s` is the time when the frame is handed over.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._stop = threading.Event()

    @property
    def live(self) -> bool:
        return True

    @property
    def reads_ahead(self) -> bool:
        return True

    def frames(self) -> Iterator[Frame]:
        pacer = Pacer(self._stop)
        try:
            for frame in self.source.frames():
                if not pacer.wait(frame.pts_s):
                    return
                yield replace(frame, captured_s=time.monotonic())
        finally:
            self.source.close()

    def close(self) -> None:
        self._stop.set()
        self.source.close()

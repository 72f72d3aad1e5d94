"""Plays a recording in real time, as if it were live."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source


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


class Paced:
    """Yields another source's frames in real time. `close` ends a wait at once.

    It is live, so a slow consumer misses frames. `captured_s` is the time when the frame is handed over.
    """

    live = reads_ahead = True

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stop = threading.Event()
        self.name = source.name

    @property
    def size(self) -> tuple[int, int]:
        return self._source.size

    @property
    def decoder(self) -> str | None:
        return self._source.decoder

    @property
    def rate_hz(self) -> Fraction | None:
        return self._source.rate_hz

    @property
    def frames_total(self) -> int | None:
        return self._source.frames_total

    @property
    def duration_s(self) -> float | None:
        return self._source.duration_s

    @property
    def warning(self) -> str | None:
        return self._source.warning

    def frames(self) -> Iterator[Frame]:
        pacer = Pacer(self._stop)
        try:
            for frame in self._source.frames():
                if not pacer.wait(frame.pts_s):
                    return
                yield replace(frame, captured_s=time.monotonic())
        finally:
            self._source.close()

    def close(self) -> None:
        self._stop.set()
        self._source.close()

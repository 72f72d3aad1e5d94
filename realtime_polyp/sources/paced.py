"""Plays a recording in real time, as if it were live; paces a live stream that comes in bursts."""

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


class BurstPacer:
    """Spreads the packets of a live stream that comes in bursts, such as HLS, as their timestamps say.

    The first packet is due at once. Where the next burst comes too late, everything after it is later by as much: the
    delay grows to that of the slowest burst and no further.
    """

    _LONGEST_WAIT_S = 30.0  # of segments that are longer, or after a jump of the timestamps

    def __init__(self) -> None:
        self._zero_s: float | None = None  # when stamp 0 is due
        self._due_s = 0.0

    def due_s(self, stamp_s: float | None, arrived_s: float) -> float:
        """Return when a packet is due, in the order of arrival; both times are of time.monotonic()."""
        if stamp_s is None:
            return arrived_s
        due_s = arrived_s if self._zero_s is None else self._zero_s + stamp_s
        if not self._due_s - 1.0 < due_s < arrived_s + self._LONGEST_WAIT_S:  # the stamps jumped
            due_s = max(arrived_s, self._due_s)
        self._due_s = max(due_s, arrived_s)
        self._zero_s = self._due_s - stamp_s
        return self._due_s


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

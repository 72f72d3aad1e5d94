"""A recording shown as if it were live: its frames come at their own times."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source


class Pacer:
    """Lets frames pass at their times, the first at once; a late frame passes at once and later ones keep the beat."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._zero_s: float | None = None  # time.monotonic() at pts_s 0

    def wait(self, pts_s: float) -> bool:
        """Sleep until the frame is due; False as soon as `stop` is set."""
        if self._zero_s is None:
            self._zero_s = time.monotonic() - pts_s
        due_s = self._zero_s + pts_s - time.monotonic()
        return not (self._stop.wait(due_s) if due_s > 0 else self._stop.is_set())


class Paced:
    """A source that yields another's frames in real time; close() from any thread ends a wait at once.

    live is True: a watcher that falls behind misses frames, as with a scope. captured_s is the time of the hand-over.
    reads_ahead: a frame is decoded before it is due, so whoever shows the last one may go first.
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
        return getattr(self._source, "decoder", None)

    @property
    def rate_hz(self) -> Fraction | None:
        return self._source.rate_hz

    @property
    def frames_total(self) -> int | None:
        return self._source.frames_total

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

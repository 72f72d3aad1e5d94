"""The clock of a recorded session."""

from realtime_polyp.packets import Frame


class SessionClock:
    """The session's own clock: s since its first frame, never backwards.

    live: time passes as it did in the room; else as in the recording that is analysed, whose seeks take no time.
    """

    def __init__(self, *, live: bool, period_s: float) -> None:
        self.now_s = 0.0
        self._live, self._period_s = live, period_s
        self._last: Frame | None = None
        self._zero_s = 0.0

    def at(self, frame: Frame) -> float:
        """The time of the next frame, s."""
        last, self._last = self._last, frame
        if last is None:
            self._zero_s = frame.captured_s - self.now_s if self._live else 0.0
        elif self._live:
            self.now_s = max(self.now_s, frame.captured_s - self._zero_s)
        else:
            step_s = frame.pts_s - last.pts_s
            self.now_s += step_s if step_s >= 0 else self._period_s
        return self.now_s

    def jump(self) -> None:
        """A seek: the next frame follows the last one after one period."""
        if self._last is not None and not self._live:
            self.now_s += self._period_s
            self._last = None

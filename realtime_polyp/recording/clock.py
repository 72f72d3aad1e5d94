"""The clock of a recorded session."""


class SessionClock:
    """The session's own clock: s since its first frame, never backwards.

    live: time passes as it did in the room; else as in the recording that is analysed, whose seeks take no time.
    """

    def __init__(self, *, live: bool, period_s: float) -> None:
        self.now_s = 0.0
        self._live, self._period_s = live, period_s
        self._last_pts_s: float | None = None
        self._zero_s: float | None = None

    def begin(self, captured_s: float) -> float:
        """Note that a frame was captured, whose result may come much later. Returns the moment of the first one."""
        if self._zero_s is None:
            self._zero_s = captured_s
        return self._zero_s

    def of(self, moment_s: float) -> float:
        """The time of something that happened, s. moment_s: time.monotonic() then. Frames may be written later."""
        if not self._live or self._zero_s is None:
            return self.now_s
        return max(0.0, moment_s - self._zero_s)

    def at(self, pts_s: float, captured_s: float) -> float:
        """The time of the next frame, s. pts_s, captured_s: `Frame`'s."""
        if self._live:
            self.now_s = max(self.now_s, captured_s - self.begin(captured_s))
        elif self._last_pts_s is not None:
            step_s = pts_s - self._last_pts_s
            self.now_s += step_s if step_s >= 0 else self._period_s
        self._last_pts_s = pts_s
        return self.now_s

    def jump(self) -> None:
        """A seek: the next frame follows the last one after one period."""
        if self._last_pts_s is not None and not self._live:
            self.now_s += self._period_s
            self._last_pts_s = None

"""When a recording's next picture is due: its own rate, held against a monotonic clock."""

_LATE_S = 0.1  # later than this is a stall: go on from here instead of catching up with a burst
_LONGEST_GAP_S = 2.0  # a longer step of the video's clock, or one backwards, is a cut in the file, not a wait


class Pacer:
    """Maps the video's clock to this machine's. Small lateness is caught up; after a stall, a pause, a seek or a cut
    the two clocks are tied together anew."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._last_pts_s = 0.0

    def restart(self) -> None:
        """The next picture is due at once, and the clock runs on from it."""
        self._offset_s = None

    def wait_s(self, pts_s: float, now_s: float) -> float:
        """Seconds until the picture at `pts_s` is due; 0 or less when it is."""
        step_s = pts_s - self._last_pts_s
        if self._offset_s is None or not 0 <= step_s <= _LONGEST_GAP_S:
            self._offset_s = now_s - pts_s
            self._last_pts_s = pts_s
        return pts_s + self._offset_s - now_s

    def shown(self, pts_s: float, now_s: float) -> None:
        """The picture at `pts_s` was put on the screen at `now_s`."""
        self._last_pts_s = pts_s
        if self._offset_s is None or now_s - (pts_s + self._offset_s) > _LATE_S:
            self._offset_s = now_s - pts_s

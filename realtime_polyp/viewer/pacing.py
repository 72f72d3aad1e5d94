"""When the next picture of a recording is due."""

_STALL_S = 0.1  # a picture later than this is a stall: play on from here instead of catching up in a burst
_LONGEST_GAP_S = 2.0  # a longer step of the video's clock, or a step backwards, is a cut in the file: do not wait


class PlaybackClock:
    """Maps presentation times of the video to times of this machine's monotonic clock.

    A small delay is caught up. After a stall, a pause, a seek or a cut the mapping starts anew from the next picture.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._last_pts_s = 0.0

    def restart(self) -> None:
        """Make the next picture due at once, and run on from it."""
        self._offset_s = None

    def wait_s(self, pts_s: float, now_s: float) -> float:
        """Return the time until the picture at `pts_s` is due, s; 0 or less when it is."""
        step_s = pts_s - self._last_pts_s
        if self._offset_s is None or not 0 <= step_s <= _LONGEST_GAP_S:
            self._offset_s = now_s - pts_s
            self._last_pts_s = pts_s
        return pts_s + self._offset_s - now_s

    def mark_shown(self, pts_s: float, now_s: float) -> None:
        """Note that the picture at `pts_s` was put on the screen at `now_s`."""
        self._last_pts_s = pts_s
        if self._offset_s is None or now_s - (pts_s + self._offset_s) > _STALL_S:
            self._offset_s = now_s - pts_s

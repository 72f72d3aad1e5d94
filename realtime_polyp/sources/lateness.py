"""Estimates when the pictures of a live stream were due, from their timestamps and arrival times."""

_DRIFT = 0.0015  # how much slower a sender's clock may run, s per s: 29.97 Hz marked as 30 Hz is 0.001
_RESTART_S = 1.0  # PTS that go back further restart the estimate
_JUMP_S = 60.0  # a picture that is so far from the newest packet was sent before the sender's clock jumped


class DueClock:
    """Maps the timestamps of a stream to the times when its pictures were due, on the monotonic clock.

    A picture is due when it would have arrived with the smallest delay of all packets so far. The smallest delay may
    grow by 1.5 ms per s, so that a sender with a slow clock does not look late. When timestamps jump back, the estimate
    restarts and keeps the current lateness.
    """

    def __init__(self) -> None:
        self._best_s: float | None = None  # smallest arrival - stamp
        self._stamp_s = self._arrived_s = 0.0

    def add(self, stamp_s: float | None, arrived_s: float, *, rises: bool = False) -> None:
        """Add a packet, in the order of arrival.

        stamp_s: timestamp, s; None if it has none. arrived_s: arrival by time.monotonic(), s. rises: it is a DTS, of
        which any step back means that the sender's clock was set back; PTS also step back at B-frames.
        """
        if stamp_s is None:
            return
        offset_s = arrived_s - stamp_s
        if self._best_s is None:
            self._best_s = offset_s
        elif stamp_s < self._stamp_s - (0.0 if rises else _RESTART_S):
            late_s = max(0.0, self._arrived_s - self._stamp_s - self._best_s)
            self._best_s = offset_s - late_s
        else:
            drift_s = _DRIFT * max(0.0, arrived_s - self._arrived_s)
            self._best_s = min(self._best_s + drift_s, offset_s)
        self._stamp_s, self._arrived_s = stamp_s, arrived_s

    def due_s(self, stamp_s: float | None, arrived_s: float) -> float:
        """Return when the picture was due by time.monotonic(), s; never later than its arrival."""
        if stamp_s is None or self._best_s is None or abs(stamp_s - self._stamp_s) > _JUMP_S:
            return arrived_s
        return min(arrived_s, self._best_s + stamp_s)

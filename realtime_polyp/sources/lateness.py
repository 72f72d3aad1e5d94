"""When the pictures of a live stream were due on this machine: its stamps against the monotonic clock."""

_DRIFT = 0.0015  # s per s by which a sender's clock may be slower: 29.97 Hz stamped as 30 is 0.001
_RESTART_S = 1.0  # stamps that go back further begin anew


class DueClock:
    """Maps the stamps of a stream to the times when its pictures were due here.

    A picture is due when it would have arrived with the smallest delay of all pictures so far. The smallest delay grows
    by 1.5 ms per s, so that a sender whose clock is slow is not taken for late. Stamps that go back begin anew, with
    the lateness that was reached.
    """

    def __init__(self) -> None:
        self._best_s: float | None = None  # smallest arrival - stamp
        self._stamp_s = self._arrived_s = 0.0

    def add(self, stamp_s: float | None, arrived_s: float) -> None:
        """Note a packet in the order of arrival. stamp_s: None where it has none."""
        if stamp_s is None:
            return
        offset_s = arrived_s - stamp_s
        if self._best_s is None:
            self._best_s = offset_s
        elif stamp_s < self._stamp_s - _RESTART_S:
            late_s = max(0.0, self._arrived_s - self._stamp_s - self._best_s)
            self._best_s = offset_s - late_s
        else:
            drift_s = _DRIFT * max(0.0, arrived_s - self._arrived_s)
            self._best_s = min(self._best_s + drift_s, offset_s)
        self._stamp_s, self._arrived_s = stamp_s, arrived_s

    def due_s(self, stamp_s: float | None, arrived_s: float) -> float:
        """Return when the picture was due, at the latest when it arrived, s on the monotonic clock."""
        if stamp_s is None or self._best_s is None:
            return arrived_s
        return min(arrived_s, self._best_s + stamp_s)

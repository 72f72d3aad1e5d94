"""When the next picture of a recording is due, at the speed that the user chose."""

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
POLL_S, IDLE_S = 0.002, 0.03
"""After how many seconds the player is called again: while it awaits something, and while nothing is due."""

_STALL_S = 0.1  # a picture later than this is a stall: play on from here instead of catching up in a burst
_LONGEST_GAP_S = 2.0  # a longer step of the video's clock, or a step backwards, is a cut in the file: do not wait
_LATE_S = 0.05  # a picture later than this, while playing fast, makes more of them be left out
_MORE, _LESS = 1.1, 0.9
_MEASURED_S, _LEAST_COUNT = 1.0, 4  # longer than pictures wait between analysis and screen
_SMOOTHEST_HZ = 30.0  # while playing fast, more pictures per second than this do not help the eye


class PlaybackClock:
    """Maps presentation times of the video to times of this machine's monotonic clock.

    A small delay is caught up. After a stall, a pause, a seek or a cut the mapping starts anew from the next picture.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._last_pts_s = 0.0
        self.speed = 1.0
        self.late_s = 0.0
        """How late the newest picture was when it was shown, s."""

    def restart(self) -> None:
        """Make the next picture due at once, and run on from it."""
        self._offset_s = None

    def set_speed(self, speed: float) -> None:
        """Play so many seconds of the video per second from the next picture on. Raises ValueError unless positive."""
        if not speed > 0:
            raise ValueError(f"the speed must be greater than 0, got {speed:g}")
        self.speed = speed
        self.restart()

    def wait_s(self, pts_s: float, now_s: float) -> float:
        """Return the time until the picture at `pts_s` is due, s; 0 or less when it is."""
        step_s = pts_s - self._last_pts_s
        if self._offset_s is None or not 0 <= step_s <= _LONGEST_GAP_S * max(1.0, self.speed):
            self._offset_s = now_s - pts_s / self.speed
            self._last_pts_s = pts_s
        return pts_s / self.speed + self._offset_s - now_s

    def mark_shown(self, pts_s: float, now_s: float) -> None:
        """Note that the picture at `pts_s` was put on the screen at `now_s`."""
        self._last_pts_s = pts_s
        self.late_s = 0.0 if self._offset_s is None else now_s - (pts_s / self.speed + self._offset_s)
        if self._offset_s is None or self.late_s > _STALL_S:
            self._offset_s = now_s - pts_s / self.speed


class Stride:
    """How far apart the analysed pictures must be, so that a fast speed is kept: found while playing.

    At 1x and slower every picture is analysed and shown, however long it takes.
    """

    def __init__(self) -> None:
        self.step_s = 0.0
        """Pictures closer than this to the one before are left out, s of the video; 0: none are."""
        self._least_s = 0.0
        self._began_s: float | None = None  # of the stretch that is measured
        self._count = self._late = 0

    def set_speed(self, speed: float) -> None:
        self._least_s = speed / _SMOOTHEST_HZ if speed > 1 else 0.0
        self.step_s = self._least_s
        self.restart()

    def restart(self) -> None:
        """Forget what was measured: the next pictures come from elsewhere."""
        self._began_s = None

    def update(self, late_s: float, speed: float, now_s: float) -> None:
        """Take how late a picture was shown, s of the machine's clock. Once per second the distance is chosen anew."""
        if speed <= 1:
            return
        if self._began_s is None:
            self._began_s, self._count, self._late = now_s, 0, 0
            return
        self._count += 1
        self._late += late_s > _LATE_S
        length_s = now_s - self._began_s
        if length_s < _MEASURED_S or self._count < _LEAST_COUNT:
            return
        if self._late * 4 > self._count:
            self.step_s = min(max(self.step_s, speed * length_s / self._count) * _MORE, speed)
        else:
            self.step_s = max(self.step_s * _LESS, self._least_s)
        self._began_s = None


def next_speed(speed: float, steps: int) -> float:
    """The speed so many entries further in SPEEDS; the first or the last where there is none further."""
    nearest = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - speed))
    return SPEEDS[min(max(nearest + steps, 0), len(SPEEDS) - 1)]


def speed_text(speed: float) -> str:
    """Format a speed, such as "0.25x" or "2x"."""
    return f"{speed:g}\N{MULTIPLICATION SIGN}"

"""Whether and how fast a source is played, and when its next picture is due."""

from realtime_polyp.viewer.pacing import IDLE_S, PlaybackClock, Stride
from realtime_polyp.viewer.rates import SpeedMeter

_DUE_S = 0.0015  # a picture that is due so soon is shown now
_BEHIND_S = 0.03


class Playhead:
    """Moves through a source. It knows nothing of feeds.

    Attributes:
        paused: the user paused it.
        steps: how many pictures are to be shown although it is paused.
    """

    def __init__(self) -> None:
        self.paused = False
        self.steps = 0
        self._clock, self._stride, self._meter = PlaybackClock(), Stride(), SpeedMeter()

    def begin(self) -> None:
        """Another feed begins. While paused, its first picture is shown."""
        self.steps = 1 if self.paused else 0
        self._stride.restart()

    def restart(self) -> None:
        """Playing was interrupted: the next picture is due at once."""
        self._clock.restart()
        self._meter.restart()

    def pause(self, paused: bool) -> None:
        """Pause or play; steps that were asked for are forgotten."""
        self.paused, self.steps = paused, 0

    # Speed

    @property
    def speed(self) -> float:
        """Seconds of a recording per second, as the user chose it."""
        return self._clock.speed

    @property
    def present_speed(self) -> float:
        """The speed, or 0 while it is paused."""
        return 0.0 if self.paused else self.speed

    def set_speed(self, speed: float) -> None:
        """Play so many seconds of the video per second from the next picture on. Raises ValueError unless positive."""
        self._clock.set_speed(speed)
        self._meter.restart()
        self._stride.set_speed(speed)

    @property
    def step_s(self) -> float:
        """Distance of the pictures that are shown while playing fast, s of the video; 0: every picture is."""
        return self._stride.step_s

    def update_step(self, now_s: float) -> None:
        """Leave more or fewer pictures out while playing fast."""
        if not self.paused:
            self._stride.update(self._clock.late_s, self.speed, now_s)

    def measured_speed(self, now_s: float) -> float | None:
        """Return the speed of the last moments; None where it is not known yet."""
        return self._meter.read(now_s)

    def is_slow(self, now_s: float) -> bool:
        """Whether the measured speed has been below the chosen one for a while."""
        return self._meter.is_slow(now_s, self.speed)

    # Pictures

    @property
    def stands(self) -> bool:
        """Whether no further picture is to be shown."""
        return self.paused and not self.steps

    def wait_s(self, pts_s: float, now_s: float) -> float:
        """Return how long the picture at `pts_s` must wait, s; 0: show it now, as each step while paused."""
        wait_s = 0.0 if self.paused else self._clock.wait_s(pts_s, now_s)
        return min(wait_s, IDLE_S) if wait_s > _DUE_S else 0.0

    def overdue_s(self, pts_s: float, now_s: float) -> float:
        """Return how long ago the picture at `pts_s` was due, s; negative where it is not yet."""
        return -self._clock.wait_s(pts_s, now_s)

    def mark_shown(self, pts_s: float, now_s: float) -> None:
        """Note that the picture at `pts_s` is shown at `now_s`."""
        self.steps = max(0, self.steps - 1)
        self._clock.mark_shown(pts_s, now_s)
        self._meter.add(pts_s, now_s)

    @property
    def is_late(self) -> bool:
        """Whether the newest picture came late."""
        return self._clock.late_s > _BEHIND_S and not self.paused

"""The numbers of the status line: over the last moments, not over the session."""

import statistics
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

_WINDOW_S = 1.5
_SPEED_WINDOW_S = 2.0
_JUMP_S, _FASTEST = 2.0, 16.0
_LEAST_SPAN_S = 0.5  # over a shorter time a speed is not measured
_SLOW_BELOW = 0.95  # of the wanted speed
_SLOW_AFTER_S = 1.0


@dataclass(frozen=True)
class Reading:
    """What the status line shows; None where nothing was painted recently.

    Attributes:
        fps: pictures per second on the screen.
        video_delay_ms: from capture to the picture on the screen, median.
        annotation_delay_ms: from capture to the overlay on the screen, median.
        analysis_ms: analysis time of a frame, median.
        speed: seconds of the recording per second. is_slow: that has been too little for a while.
        analysed: share of the pictures that were shown with their own result.
    """

    fps: float | None
    video_delay_ms: float | None
    annotation_delay_ms: float | None
    analysis_ms: float | None
    speed: float | None = None
    is_slow: bool = False
    analysed: float | None = None


NO_READING = Reading(None, None, None, None)


class RecentValues:
    """The values of the last 1.5 seconds."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque(maxlen=240)

    def add(self, value: float, now_s: float) -> None:
        self._values.append((now_s, value))

    def median(self, now_s: float) -> float | None:
        self._remove_old(now_s)
        return statistics.median(value for _, value in self._values) if self._values else None

    def mean(self, now_s: float) -> float | None:
        self._remove_old(now_s)
        return statistics.fmean(value for _, value in self._values) if self._values else None

    def replace_last(self, value: float) -> None:
        """Correct the newest value."""
        if self._values:
            self._values[-1] = (self._values[-1][0], value)

    def rate_hz(self, now_s: float) -> float | None:
        self._remove_old(now_s)
        if len(self._values) < 2:
            return None
        return (len(self._values) - 1) / max(1e-6, self._values[-1][0] - self._values[0][0])

    def _remove_old(self, now_s: float) -> None:
        while self._values and now_s - self._values[0][0] > _WINDOW_S:
            self._values.popleft()


class Rates:
    """Collects the times of what was painted."""

    def __init__(self) -> None:
        self._video_ms, self._annotation_ms, self._analysis_ms = RecentValues(), RecentValues(), RecentValues()
        self._analysed = RecentValues()

    def add_picture(self, captured_s: float, now_s: float) -> None:
        self._video_ms.add((now_s - captured_s) * 1e3, now_s)

    def add_overlay(self, captured_s: float, analysis_ms: float, now_s: float) -> None:
        self._annotation_ms.add((now_s - captured_s) * 1e3, now_s)
        self._analysis_ms.add(analysis_ms, now_s)

    def add_analysed(self, own: bool, now_s: float) -> None:
        """Take whether a picture was shown with its own result."""
        self._analysed.add(float(own), now_s)

    def analysed(self, now_s: float) -> float | None:
        """Return the share of pictures that were shown with their own result."""
        return self._analysed.mean(now_s)

    def correct_analysed(self) -> None:
        """The own result of the picture on the screen came after it."""
        self._analysed.replace_last(1.0)

    def read(self, now_s: float) -> Reading:
        return Reading(
            self._video_ms.rate_hz(now_s),
            self._video_ms.median(now_s),
            self._annotation_ms.median(now_s),
            self._analysis_ms.median(now_s),
            analysed=self.analysed(now_s),
        )


class SpeedMeter:
    """How fast a recording plays: seconds of video per second, over the last two seconds.

    Call `restart` after everything that interrupts playing: a pause, a seek, another speed.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Measure anew from the next picture on."""
        self._shown: deque[tuple[float, float]] = deque(maxlen=600)  # now_s, pts_s
        self._slow_since_s: float | None = None

    def add(self, pts_s: float, now_s: float) -> None:
        """Take a picture that was shown. A jump of the video's clock is a cut in the file, for which nobody waits."""
        if self._shown:
            step_s, waited_s = pts_s - self._shown[-1][1], now_s - self._shown[-1][0]
            if step_s < 0 or step_s > max(_JUMP_S, _FASTEST * waited_s):
                self.restart()
        self._shown.append((now_s, pts_s))
        while now_s - self._shown[0][0] > _SPEED_WINDOW_S and len(self._shown) > 2:
            self._shown.popleft()

    def read(self, now_s: float) -> float | None:
        """Return the speed; None where it is not known yet.

        The newest picture lasts as long as the longest step before it; only what it stands longer counts as lost time.
        """
        if len(self._shown) < 2:
            return None
        (begin_s, first_s), (end_s, last_s) = self._shown[0], self._shown[-1]
        longest_s = max(after[0] - before[0] for before, after in pairwise(self._shown))
        span_s = end_s - begin_s + max(0.0, now_s - end_s - longest_s)
        return (last_s - first_s) / span_s if span_s >= _LEAST_SPAN_S else None

    def is_slow(self, now_s: float, wanted: float) -> bool:
        """Whether the speed has been clearly below the wanted one for more than a second. Call it again and again."""
        speed = self.read(now_s)
        if speed is None or speed >= _SLOW_BELOW * wanted:
            self._slow_since_s = None
            return False
        self._slow_since_s = now_s if self._slow_since_s is None else self._slow_since_s
        return now_s - self._slow_since_s > _SLOW_AFTER_S

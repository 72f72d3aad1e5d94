"""The numbers of the status line: over the last 1.5 seconds, not over the session."""

import statistics
from collections import deque
from dataclasses import dataclass

_WINDOW_S = 1.5


@dataclass(frozen=True)
class Reading:
    """What the status line shows; None where nothing was painted recently.

    Attributes:
        fps: pictures per second on the screen.
        video_delay_ms: from capture to the picture on the screen, median.
        annotation_delay_ms: from capture to the overlay on the screen, median.
        analysis_ms: analysis time of a frame, median.
    """

    fps: float | None
    video_delay_ms: float | None
    annotation_delay_ms: float | None
    analysis_ms: float | None


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

    def add_picture(self, captured_s: float, now_s: float) -> None:
        self._video_ms.add((now_s - captured_s) * 1e3, now_s)

    def add_overlay(self, captured_s: float, analysis_ms: float, now_s: float) -> None:
        self._annotation_ms.add((now_s - captured_s) * 1e3, now_s)
        self._analysis_ms.add(analysis_ms, now_s)

    def read(self, now_s: float) -> Reading:
        return Reading(
            self._video_ms.rate_hz(now_s),
            self._video_ms.median(now_s),
            self._annotation_ms.median(now_s),
            self._analysis_ms.median(now_s),
        )

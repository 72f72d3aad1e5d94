"""The few numbers of the status line: over the last second or so, not over the session."""

import statistics
from collections import deque
from dataclasses import dataclass

_WINDOW_S = 1.5


@dataclass(frozen=True)
class Reading:
    """fps of the screen; medians of the delays and of the analysis of one batch, ms; None: nothing painted lately."""

    fps: float | None
    video_delay_ms: float | None
    annotation_delay_ms: float | None
    analysis_ms: float | None


NO_READING = Reading(None, None, None, None)


class Recent:
    """Values of the last moments, each with its time."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque(maxlen=240)

    def add(self, value: float, now_s: float) -> None:
        self._values.append((now_s, value))

    def median(self, now_s: float) -> float | None:
        self._forget(now_s)
        return statistics.median(value for _, value in self._values) if self._values else None

    def rate_hz(self, now_s: float) -> float | None:
        self._forget(now_s)
        if len(self._values) < 2:
            return None
        return (len(self._values) - 1) / max(1e-6, self._values[-1][0] - self._values[0][0])

    def _forget(self, now_s: float) -> None:
        while self._values and now_s - self._values[0][0] > _WINDOW_S:
            self._values.popleft()


class Rates:
    """Follows what was painted."""

    def __init__(self) -> None:
        self._video_ms, self._annotation_ms, self._analysis_ms = Recent(), Recent(), Recent()

    def picture(self, captured_s: float, now_s: float) -> None:
        self._video_ms.add((now_s - captured_s) * 1e3, now_s)

    def overlay(self, captured_s: float, analysis_ms: float, now_s: float) -> None:
        self._annotation_ms.add((now_s - captured_s) * 1e3, now_s)
        self._analysis_ms.add(analysis_ms, now_s)

    def read(self, now_s: float) -> Reading:
        return Reading(
            self._video_ms.rate_hz(now_s),
            self._video_ms.median(now_s),
            self._annotation_ms.median(now_s),
            self._analysis_ms.median(now_s),
        )

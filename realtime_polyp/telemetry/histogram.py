"""Percentiles of durations over a session of any length, in fixed memory."""

import math

import numpy as np

_LEAST_MS = 0.001
_RESOLUTION = 1.01  # neighbouring bins differ by 1 %, which bounds the error of every percentile
_BINS = math.ceil(math.log(1e9) / math.log(_RESOLUTION))  # from 1 microsecond to 1000 seconds


class Histogram:
    """Durations in ms, counted in logarithmic bins; the maximum is exact."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS + 1, np.int64)
        self.largest_ms = 0.0
        self.count = 0

    def add(self, duration_ms: float) -> None:
        bin_index = int(math.log(max(duration_ms, _LEAST_MS) / _LEAST_MS) / math.log(_RESOLUTION))
        self._counts[min(bin_index, _BINS)] += 1
        self.largest_ms = max(self.largest_ms, duration_ms)
        self.count += 1

    def merge(self, other: "Histogram") -> None:
        """Add all durations of another histogram."""
        self._counts += other._counts
        self.largest_ms = max(self.largest_ms, other.largest_ms)
        self.count += other.count

    def percentile(self, percent: float) -> float | None:
        """Return a percentile in ms, with an error of at most 1 %; None if empty."""
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        bin_index = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(self.largest_ms, _LEAST_MS * _RESOLUTION ** (bin_index + 1))

    def summary(self, percents: tuple[float, ...]) -> dict[str, float | None]:
        """Return {"p50": ..., "max": ...} in ms, rounded to microseconds. The percentile 100 is named "max"."""
        names = {percent: "max" if percent == 100 else f"p{percent:g}".replace(".", "") for percent in percents}
        values = {name: self.percentile(percent) for percent, name in names.items()}
        return {name: None if value is None else round(value, 3) for name, value in values.items()}


DELAY_PERCENTS = (50, 95, 99, 99.9, 100)
STAGE_PERCENTS = (50, 95)

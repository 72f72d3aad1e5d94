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
        self.largest_ms = self.total_ms = 0.0
        self.count = 0

    def add(self, duration_ms: float) -> None:
        self._counts[_bin_of(duration_ms)] += 1
        self.largest_ms = max(self.largest_ms, duration_ms)
        self.total_ms += duration_ms
        self.count += 1

    def merge(self, other: "Histogram") -> None:
        """Add all durations of another histogram."""
        self._counts += other._counts
        self.largest_ms = max(self.largest_ms, other.largest_ms)
        self.total_ms += other.total_ms
        self.count += other.count

    def since(self, earlier: "Histogram") -> "Histogram":
        """Return the durations that were added after `earlier`, a copy of this histogram, was made.

        The maximum is then that of its bin, at most 1 % too high.
        """
        later = Histogram()
        later._counts = self._counts - earlier._counts
        later.count = int(later._counts.sum())
        later.total_ms = self.total_ms - earlier.total_ms
        filled = np.flatnonzero(later._counts)
        later.largest_ms = min(self.largest_ms, _upper_ms(int(filled[-1]))) if len(filled) else 0.0
        return later

    def count_within(self, limit_ms: float) -> int:
        """Return how many durations are at most `limit_ms`, which is moved by at most 1 % to the end of its bin."""
        return int(self._counts[: _bin_of(limit_ms) + 1].sum())

    def percentile(self, percent: float) -> float | None:
        """Return a percentile in ms, with an error of at most 1 %; None if empty."""
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        bin_index = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(self.largest_ms, _upper_ms(bin_index))

    def summary(self, percents: tuple[float, ...]) -> dict[str, float | None]:
        """Return {"p50": ..., "max": ...} in ms, rounded to microseconds. The percentile 100 is named "max"."""
        names = {percent: "max" if percent == 100 else f"p{percent:g}".replace(".", "") for percent in percents}
        values = {name: self.percentile(percent) for percent, name in names.items()}
        return {name: None if value is None else round(value, 3) for name, value in values.items()}


def _bin_of(duration_ms: float) -> int:
    return min(_BINS, int(math.log(max(duration_ms, _LEAST_MS) / _LEAST_MS) / math.log(_RESOLUTION)))


def _upper_ms(bin_index: int) -> float:
    return float(_LEAST_MS * _RESOLUTION ** (bin_index + 1))


DELAY_PERCENTS = (50, 95, 99, 99.9, 100)
STAGE_PERCENTS = (50, 95)

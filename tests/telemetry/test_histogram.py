"""Percentiles in fixed memory against percentiles of everything."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.telemetry.histogram import DELAY_PERCENTS, STAGE_PERCENTS, Histogram


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=300), st.sampled_from([1, 50, 95, 99, 99.9, 100]))
def test_percentiles_are_within_one_percent(durations_ms: list[float], percent: float) -> None:
    histogram = Histogram()
    for duration_ms in durations_ms:
        histogram.add(duration_ms)
    rank = max(1, math.ceil(len(durations_ms) * percent / 100))
    exact = sorted(durations_ms)[rank - 1]
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.0101)
    assert histogram.percentile(100) == pytest.approx(max(durations_ms), rel=1e-9)
    assert histogram.count == len(durations_ms)


@pytest.mark.parametrize("duration_ms", [0.0, -5.0, 1e-9, 1e12])
def test_no_duration_is_out_of_range(duration_ms: float) -> None:
    histogram = Histogram()
    histogram.add(duration_ms)
    found = histogram.percentile(50)
    assert found is not None and 0 <= found <= max(1e-3, duration_ms)


def test_summaries_name_their_percentiles() -> None:
    histogram = Histogram()
    assert histogram.summary(DELAY_PERCENTS) == dict.fromkeys(["p50", "p95", "p99", "p999", "max"])
    for duration_ms in range(1, 1001):
        histogram.add(duration_ms)
    summary = histogram.summary(DELAY_PERCENTS)
    assert summary["max"] == 1000 and summary["p50"] == pytest.approx(500, rel=0.01)
    assert summary["p999"] == pytest.approx(999, rel=0.01)
    assert list(histogram.summary(STAGE_PERCENTS)) == ["p50", "p95"]

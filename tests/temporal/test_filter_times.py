"""Times that a person changes while the filter runs."""

from dataclasses import replace

import pytest

from realtime_polyp.config import PipelineConfig
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.filter import TemporalFilter


@pytest.mark.parametrize("release_s", [TemporalConfig().release_s, 1.5])
def test_a_polyp_is_remembered_as_long_as_it_is_shown_and_then_as_configured(release_s: float) -> None:
    temporal_filter = TemporalFilter(PipelineConfig(temporal=replace(TemporalConfig(), release_s=release_s)))
    for hold_s, remembered_s in ((None, release_s), (3.0, 3.0), (0.2, release_s), (None, release_s)):
        temporal_filter.set_times(None, hold_s)
        found = temporal_filter.config.temporal
        assert found is not None and found.release_s == remembered_s
        assert found.hold_s == (TemporalConfig().hold_s if hold_s is None else hold_s)

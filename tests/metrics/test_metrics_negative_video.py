"""Figures of video without a polyp: shares of frames, runs within sequences, and rates only where they are known."""

import numpy as np
import pytest

from realtime_polyp.metrics.negative_video import (
    NegativeFigures,
    NegativeFrame,
    figures_by_sequence,
    negative_figures,
    table,
    to_dict,
)
from realtime_polyp.metrics.run_lengths import area_share, encode


def sequence(boxes: str, drawn: float | None = 0.0) -> list[NegativeFrame]:
    """One frame for each letter: x has a box, . has none."""
    return [NegativeFrame(letter == "x", drawn) for letter in boxes]


def test_shares_are_of_all_frames_and_runs_end_with_their_sequence() -> None:
    found = negative_figures([sequence("..xx"), sequence("xxx."), sequence("x.")])
    assert (found.frames, found.box_share, found.longest_run) == (10, 0.6, 3)


def test_a_drawn_pixel_and_more_than_a_thousandth_of_the_picture_are_told_apart() -> None:
    frames = [NegativeFrame(False, drawn) for drawn in (0.0, 1e-6, 0.001, 0.0011)]
    found = negative_figures([frames])
    assert (found.mask_share, found.area_share) == (0.75, 0.25)


def test_without_frames_no_share_is_defined() -> None:
    for nothing in ([], [[]]):
        assert negative_figures(nothing, rate_hz=25) == NegativeFigures(0, None, None, None, None)


def test_a_model_that_did_not_run_has_no_figure() -> None:
    segmented = negative_figures([[NegativeFrame(None, 0.5)]], rate_hz=25)
    assert segmented == NegativeFigures(1, None, 1.0, 1.0, None)
    detected = negative_figures([sequence("x", None)])
    assert (detected.box_share, detected.mask_share, detected.area_share) == (1.0, None, None)


def test_alarms_per_minute_need_a_rate() -> None:
    frames = [sequence("x" * 10 + "." * 290), sequence("x" * 25 + "." * 275 + "x")]
    assert negative_figures(frames).alarms_per_minute == {}
    rates = negative_figures(frames, rate_hz=20).alarms_per_minute
    minutes = 601 / 20 / 60
    assert rates == pytest.approx({0.0: 3 / minutes, 0.5: 2 / minutes, 1.0: 1 / minutes, 2.0: 0.0})
    assert negative_figures([sequence("..")], rate_hz=20).alarms_per_minute[0.0] == 0


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan")])
def test_a_rate_of_nothing_is_an_error(rate_hz: float) -> None:
    with pytest.raises(ValueError, match=f"the frame rate must be above 0 Hz, not {rate_hz}"):
        negative_figures([sequence("x")], rate_hz=rate_hz)


def test_the_table_has_a_dash_for_what_is_not_known_and_alarms_only_with_a_rate() -> None:
    known = negative_figures([sequence("x...", 0.01)])
    lines = table({"seq04": known, "all": negative_figures([[NegativeFrame(None, None)]])}).split("\n")
    assert lines[0].split("  ")[-1].strip() == "longest run" and "alarms" not in lines[0]
    assert lines[1].split() == ["seq04", "4", "25.0", "100.0", "100.0", "1"]
    assert lines[2].split() == ["all", "1", "-", "-", "-", "-"]
    assert "alarms/min >= 0.5 s" in table({"all": negative_figures([sequence("x")], rate_hz=25)})


def test_figures_as_json_types_say_where_a_rate_is_missing() -> None:
    assert to_dict(figures_by_sequence({"a": sequence("x")}))["all"]["alarms_per_minute"] is None
    both = to_dict(figures_by_sequence({"a": sequence("x."), "b": sequence("..")}, rate_hz=2))
    assert list(both["sequences"]) == ["a", "b"] and both["all"]["frames"] == 4
    rates = both["sequences"]["a"]["alarms_per_minute"]
    assert rates == {"0 s": 60.0, "0.5 s": 60.0, "1 s": 0.0, "2 s": 0.0}


def test_the_area_of_a_mask_is_counted_without_decoding() -> None:
    mask = np.zeros((20, 50), np.bool_)
    assert area_share(encode(mask)) == 0
    mask[2, 3:5] = True
    assert area_share(encode(mask)) == 0.002

"""The report of METRICS 4: its parts put together, several videos as one, the table."""

import json
from fractions import Fraction

import numpy as np
import pytest

from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.metrics.video import VideoReport, combine, figures, video_report
from realtime_polyp.metrics.video_table import table
from realtime_polyp.outputs.results_reader import ShownFrame
from realtime_polyp.packets import Detections

HERE, THERE = [10, 10, 50, 50], [100, 100, 140, 140]
RATE_HZ = Fraction(30000, 1001)


def report(name: str, letters: str, *, single: str | None = None, left_out: tuple[int, ...] = ()) -> VideoReport:
    """One frame a letter: H polyp there and shown, M missed, F a false box, B both, x nothing. single: what the
    detector alone found, likewise."""
    true = [TrueFrame({1: np.array(HERE, np.float32)} if one in "HMB" else {}, {}) for one in letters]
    shown = []
    for index, (one, alone) in enumerate(zip(letters, single or letters, strict=True)):
        boxes, found = (_boxes(letter) for letter in (one, alone))
        scores = np.full(len(found), 0.7, np.float32)
        numbers = np.arange(1, len(boxes) + 1)
        one_frame = ShownFrame(
            index,
            float(index / RATE_HZ),
            boxes,
            numbers,
            np.full(len(boxes), 0.9, np.float32),
            Detections(found, scores),
        )
        shown.append(one_frame)
    answered = [one for one in shown if one.index not in left_out]
    return video_report(VideoTruth(name, (200, 160), RATE_HZ, true), answered)


def _boxes(letter: str) -> np.ndarray:
    return np.array([HERE] * (letter in "HB") + [THERE] * (letter in "FB"), np.float32).reshape(-1, 4)


def test_half_a_second_at_2997_is_fifteen_frames_in_the_report_too() -> None:
    assert report("a", 14 * "H" + "x").events.sensitivity == 0
    assert report("a", 15 * "H" + "x").events.sensitivity == 1
    assert report("a", 59 * "H").events.sensitivity_longer == 0
    assert report("a", 60 * "H").events.sensitivity_longer == 1


def test_smoothing_is_told_against_every_detection_at_once() -> None:
    found = report("a", "xxxxMMHHHHHH", single="FxFxHHHHHHHH")
    assert found.smoothing.removed[0.0] == 1 and found.smoothing.lost == 0
    assert found.smoothing.delay_s == pytest.approx(2 * 1001 / 30000)
    assert found.single_events.false_alarms_per_minute[0.0] == pytest.approx(2 * 60 * 30000 / 1001 / 12)


def test_videos_together_are_all_polyps_and_all_minutes() -> None:
    first, second = report("a", 20 * "H" + 10 * "x"), report("b", 30 * "M" + 20 * "x" + 10 * "F")
    both = combine([first, second])
    assert both.names == ("a", "b") and both.events.polyps == 2 and both.events.sensitivity == 0.5
    assert both.events.minutes == pytest.approx(90 * 1001 / 30000 / 60)
    assert both.events.false_alarms_per_minute[0.0] == pytest.approx(1 / both.events.minutes)
    assert both.frames.sensitivity == pytest.approx(20 / 50) and both.boxes.polyps == 2
    assert figures(combine([first])) == figures(first)
    with pytest.raises(ValueError, match="no report to combine"):
        combine([])


def test_frames_without_a_result_are_counted() -> None:
    found = report("a", 30 * "H", left_out=(3, 4, 20))
    assert found.unanswered == 3 and found.frames.sensitivity == 1
    assert report("a", 30 * "H", left_out=tuple(range(3, 30))).frames.reached == 3 + 5  # held for a fifth of a second


def test_one_labelled_frame_with_a_false_box_is_no_alarm_of_two_seconds() -> None:
    """Every 25th frame of ten seconds is labelled, and a false box is shown all the time."""
    true = [TrueFrame({}, {}, labelled=index % 25 == 0) for index in range(100)]
    numbers, scores = np.array([1]), np.array([0.9], np.float32)
    boxes = _boxes("F")
    shown = [
        ShownFrame(index, index / 10, boxes, numbers, scores, Detections(boxes, scores)) for index in range(len(true))
    ]
    events = video_report(VideoTruth("a", (200, 160), Fraction(10), true), shown).events
    assert events.minutes * 60 == pytest.approx(4)
    assert events.false_alarms_per_minute == pytest.approx({0.0: 60, 0.5: 60, 1.0: 60, 2.0: 0})


def test_every_figure_goes_into_json_and_the_table() -> None:
    found = report("a", 5 * "x" + 40 * "H" + 10 * "B" + 20 * "F")
    told = json.loads(json.dumps(figures(found)))
    assert told["events"]["sensitivity"] == 1 and told["boxes"]["switches"] == 0 and len(told["withholding"]) > 5
    assert (
        told["froc"][18]["score"] == 0.9
        and told["froc"][18]["sensitivity"] == 1
        and told["froc"][19]["sensitivity"] == 0
    )
    text = table({"raw": found, "smoothed": report("b", "xx")})
    assert text.splitlines()[0].split() == ["raw", "smoothed"]
    line = next(one for one in text.splitlines() if one.startswith("found within 3 s, for 0.5 s"))
    assert line.split()[-3:] == ["100.0", "%", "-"]


def test_an_empty_video_has_a_report() -> None:
    found = report("a", "")
    assert found.events.sensitivity is None and found.smoothing.delay_s is None
    assert "-" in table({"a": found}) and json.dumps(figures(found))

"""The analysis ahead of the player: what it finds in which order, and that it ends with the window."""

import functools
import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from media import write_clip
from viewer_fakes import RATE_HZ, FakeDetector, FakeSegmenter, FakeSource, picture

from realtime_polyp.config import PipelineConfig
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.review import look_ahead as look_ahead_module
from realtime_polyp.review.key_pictures import key_frames
from realtime_polyp.review.look_ahead import Report, gaps, join, look_ahead
from realtime_polyp.runtime import RuntimeConfig
from realtime_polyp.sources.base import SourceError
from realtime_polyp.viewer.ahead import Ahead, Job, _rest, file_of
from realtime_polyp.viewer.findings import Findings, above
from realtime_polyp.viewer.thinned import Thinned

POLYP = (150, 200)  # frames of the recording that show one
_KEYS = {"g": "10", "keyint_min": "10", "sc_threshold": "0"}


def image_of(index: int) -> np.ndarray:
    return picture(index) if POLYP[0] <= index < POLYP[1] else plain(index)


def plain(index: int) -> np.ndarray:
    return np.full((128, 160, 3), 90, np.uint8) + index % 7


class NoneOrOne(FakeDetector):
    """Finds nothing where there is no bright disc."""

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = super().__call__(pixels)
        scores[:, 1] = 0.01
        scores[:, 0] = np.where([(one[2] > 140).any() for one in pixels], 0.9, 0.01)
        return boxes, scores


def looked_ahead(open_source: Callable[[int, float, bool], FakeSource], count: int = 300) -> list[Report]:
    """The reports of a recording of `count` frames. open_source: takes the last frame, the start in s, and whether
    every frame is analysed, not samples of them."""
    runtime = SimpleNamespace(
        pipeline=lambda warm=True: Pipeline(NoneOrOne(), FakeSegmenter()), pipeline_config=PipelineConfig()
    )

    def open_part(start_s: float, end_s: float | None) -> Thinned:
        last = count if end_s is None else min(count, round(end_s * RATE_HZ))
        return Thinned(open_source(last, start_s, end_s is not None))

    def thin(source: Thinned, step_s: float) -> Thinned:
        source.step_s = step_s
        return source

    keys = [frame for frame in FakeSource(count, image_of=image_of).frames() if frame.index % 100 == 0]
    return list(look_ahead(open_part, runtime, 0.0, count / RATE_HZ, keys=keys, thin=thin))


@functools.cache
def reports() -> list[Report]:
    """Of a recording of six seconds."""
    return looked_ahead(lambda last, start_s, is_whole: FakeSource(last, start_s, image_of=image_of))


def test_key_pictures_come_first_then_samples_then_every_frame_where_a_polyp_may_be_then_the_rest():
    found = reports()
    keys, rest = found[:3], found[3:]
    assert [report.times_s for report in keys] == [(0.0,), (2.0,), (4.0,)]
    samples = [report for report in rest if not report.complete]
    assert np.diff([at_s for report in samples for at_s in report.times_s]).min() > 0.24
    complete = [report for report in found if report.complete]
    starts = list(dict.fromkeys(report.span[0] for report in complete))
    assert 2.0 <= starts[0] <= 3.0 and starts[1] == 0.0 and len(starts) == 3
    times_s = sorted(at_s for report in complete for at_s in report.times_s)
    assert times_s == pytest.approx([index / RATE_HZ for index in range(300)])


def test_the_alarm_is_where_the_polyp_is():
    findings = Findings(6.0, 0.3)
    for report in reports():
        findings.add(report)
    findings.end()
    state = findings.state(0.3)
    ((start_s, end_s, number),) = state.data.alarms
    assert start_s == pytest.approx(3.0, abs=0.15) and end_s == pytest.approx(4.1, abs=0.15) and number == 0
    assert state.analysed == ((0.0, 6.0),) and state.progress == pytest.approx(1.0) and state.is_over
    assert np.all(np.diff(state.data.times_s) > 0) and len(state.data.times_s) == 300
    assert findings.state(0.3) is state and findings.state(0.95).data.alarms == ()


def test_samples_show_where_an_alarm_may_be_until_every_frame_is_analysed():
    findings = Findings(10.0, 0.3)
    scores = (0.1, 0.8, 0.7, 0.1)
    findings.add(Report((0.0, 3.0), False, (0.0, 1.0, 2.0, 3.0), scores, ("clear",) * 4, ("ok",) * 4))
    assert findings.state(0.3).data.alarms == ((0.5, 2.5, 0),)
    findings.add(Report((0.0, 3.0), True, (1.0,), (0.8,), ("clear",), ("ok",), ((1.2, 1.9),)))
    assert findings.state(0.3).data.alarms == ((1.2, 1.9, 0),)


def test_what_was_watched_fills_the_curve_and_leaves_the_alarms_to_the_player():
    findings = Findings(10.0, 0.3)
    findings.add_watched(Report((2.0, 4.0), True, (2.0, 3.0, 4.0), (0.9,) * 3, ("blurred",) * 3, ("ok",) * 3))
    state = findings.state(0.3)
    assert state.analysed == ((2.0, 4.0),) and state.data.times_s.tolist() == [2.0, 3.0, 4.0]
    assert set(state.data.quality) == {"blurred"}


def test_a_part_that_cannot_be_read_is_left_out():
    def refuse(start_s: float, end_s: float | None) -> Thinned:
        raise SourceError("gone")

    runtime = SimpleNamespace(
        pipeline=lambda warm=True: Pipeline(None, None), pipeline_config=PipelineConfig(score_threshold=0.3)
    )
    found = list(look_ahead(refuse, runtime, 0.0, 5.0, keys=(), thin=lambda source, step_s: source))
    assert [(report.span, report.times_s, report.problem) for report in found] == [((0.0, 5.0), (), "gone")]
    assert not found[0].complete, "nothing is known of it"


def test_a_part_in_which_a_frame_fails_is_told_and_the_others_go_on():
    found = looked_ahead(
        lambda last, start_s, is_whole: FakeSource(
            last, start_s, image_of=image_of, fails_at=60 if is_whole and start_s < 1 else None
        )
    )
    first = next(report for report in found if report.complete)
    (failed,) = [report for report in found if report.problem]
    assert failed.problem == "the decoder failed at frame 60: the cable is out" and not failed.complete
    assert 0 < failed.span[0] < 60 / RATE_HZ and failed.span[1] == first.span[0] and not failed.times_s
    findings = Findings(6.0, 0.3)
    for report in found:
        findings.add(report)
    state = findings.state(0.3)
    assert state.analysed == ((0.0, failed.span[0]), (failed.span[1], 6.0)) and state.progress == pytest.approx(1.0)
    assert state.failed == ((failed.span, failed.problem),) and len(state.data.alarms) == 1


def test_within_a_part_the_analysis_goes_on_some_seconds_after_a_frame_that_fails(monkeypatch):
    monkeypatch.setattr(look_ahead_module, "_SKIPPED_S", 2.0)
    found = looked_ahead(lambda last, start_s, is_whole: FakeSource(last, start_s, fails_at=60, image_of=plain))
    (failed,) = [report.span for report in found if report.problem]
    assert failed[0] < 60 / RATE_HZ < failed[1] == failed[0] + 2.0
    assert found[-1].complete and found[-1].span == (failed[1], 6.0)


def test_a_recording_in_which_every_frame_fails_is_given_up(monkeypatch):
    monkeypatch.setattr(look_ahead_module, "_SKIPPED_S", 1.5)
    found = looked_ahead(
        lambda last, start_s, is_whole: FakeSource(last, start_s, fails_at=round(start_s * RATE_HZ), image_of=plain)
    )
    assert [report.span for report in found if report.problem] == [(0.0, 1.5), (1.5, 3.0), (3.0, 6.0)]
    assert not any(report.complete for report in found)


def test_spans():
    assert join([(3.0, 4.0), (0.0, 1.0), (1.2, 2.0)], 0.5) == [(0.0, 2.0), (3.0, 4.0)]
    assert gaps([(1.0, 2.0)], 0.0, 3.0) == [(0.0, 1.0), (2.0, 3.0)]
    assert above(Findings(1.0, 0.3).state(0.3).data, 0.3) == []


def test_key_frames_are_those_of_the_file(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", count=40, size=(160, 128), rate=10, draw=picture, options=_KEYS)
    assert [frame.pts_s for frame in key_frames(clip)] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert [frame.pts_s for frame in key_frames(clip, 0.5, 3.0)] == pytest.approx([1.0, 2.0])


def test_an_address_is_no_file_however_long_it_is():
    assert file_of(f"https://scope.example/a.mp4?token={'x' * 5000}") is None


def test_a_rest_is_no_longer_than_the_work_before_it_and_the_last_request_counts():
    ours, theirs = multiprocessing.Pipe()
    for until_s in (time.monotonic() + 60, time.monotonic() + 50):
        ours.send(until_s)
    started_s = time.monotonic()
    _rest(theirs, 0.05)
    assert 0.04 <= time.monotonic() - started_s < 5 and not theirs.poll()


def test_the_process_ends_by_itself_where_nothing_can_be_read_and_closing_kills_it(tmp_path: Path):
    config = RuntimeConfig(detector=None, segmenter=None)
    findings = Findings(5.0, 0.3)
    ahead = Ahead(Job(str(tmp_path / "gone.mp4"), config, 0.0, 5.0), findings)
    ahead.start()
    deadline_s = time.monotonic() + 60
    while not findings.state(0.3).is_over and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert findings.state(0.3).is_over
    ahead.close()
    assert not ahead._process.is_alive()
    assert not any(thread.name == "ahead" and thread.is_alive() for thread in threading.enumerate())

"""A folder of stills is not a video: each picture is judged by itself."""

from dataclasses import replace

import numpy as np
from fakes import FakeDetector, FakeSegmenter, frames_of

from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline, run_inline


def lit(frame: Frame, left: int, right: int) -> Frame:
    """The frame with everything black but some columns: a field of view of its own."""
    image = np.zeros_like(frame.image)
    image[:, left:right] = frame.image[:, left:right]
    return replace(frame, image=image)


def test_each_still_has_its_own_field() -> None:
    first, second = frames_of(2)
    stills = [replace(lit(first, 0, 50), is_still=True), replace(lit(second, 46, 96), is_still=True)]
    pipeline = Pipeline(FakeDetector(), None)
    fields = [result.field_of_view for result in run_inline(stills, pipeline)]
    assert fields[0].x1 == 0 and fields[0].x2 <= 54
    assert fields[1].x1 >= 42 and fields[1].x2 == 96


def test_a_video_s_field_only_grows_at_once() -> None:
    first, second = frames_of(2)
    late = replace(lit(second, 30, 96), pts_s=1.0)
    fields = [result.field_of_view for result in run_inline([lit(first, 0, 66), late], Pipeline(FakeDetector(), None))]
    assert fields[1].width > 90


def test_what_a_still_holds_is_shown_at_once_and_not_remembered() -> None:
    stills = [replace(frame, is_still=True) for frame in frames_of(3)]
    results = list(run_inline(stills, Pipeline(FakeDetector(), FakeSegmenter())))
    for result in results:
        assert len(result.detections) == len(result.tracks) == 1
        assert result.tracks[0].state == "shown"
        assert np.array_equal(result.tracks[0].box, result.detections.boxes[0])

"""Same frames, same results: on threads and inline, live and from a file, whatever was dropped between them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from fakes import (
    FUSION,
    FakeDetector,
    FakeSegmenter,
    ScriptedSource,
    assert_same_results,
    frames_of,
    tried_again,
    wait_until,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_polyp.config import PipelineConfig
from realtime_polyp.inference.base import Pending
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.session import Session
from realtime_polyp.temporal.frame_quality import read_frame_quality

# All that has a memory; the second without the views, which would take what is drawn for no mucosa.
WITHOUT_VIEWS = PipelineConfig(fusion=FUSION, hflip=True)
CONFIGS = [replace(WITHOUT_VIEWS, frame_quality=read_frame_quality()), WITHOUT_VIEWS]
COUNT = 60


class Noted(Pipeline):
    """Keeps in mind which frames it was given."""

    given: list[Frame]

    def reset(self) -> None:
        super().reset()
        self.given = []

    def submit(self, frames: Sequence[Frame]) -> Pending[list[Result]]:
        self.given += frames
        return super().submit(frames)


class Bursts(ScriptedSource):
    """A live source that sends four frames for each that was analysed, on whatever machine."""

    def __init__(self, pipeline: Noted) -> None:
        super().__init__(COUNT, live=True, rate_hz=1000)
        self._pipeline = pipeline

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            yield frame
            wait_until(lambda: self.closed.is_set() or len(self._pipeline.given) >= (frame.index + 1) // 4)  # noqa: B023


def noted(config: PipelineConfig, *, delay_s: float = 0.0) -> Noted:
    made = Noted(FakeDetector(delay_s=delay_s), FakeSegmenter(), config)  # type: ignore[arg-type]
    made.reset()
    return made


def assert_as_inline(shown: Sequence[Result], frames: Sequence[Frame], config: PipelineConfig) -> None:
    """What was shown of these frames is what they come to without threads."""
    indices = {result.frame.index for result in shown}
    alone = [result for result in run_inline(iter(frames), noted(config)) if result.frame.index in indices]
    assert_same_results(shown, alone)
    assert [result.frame_quality for result in shown] == [result.frame_quality for result in alone]


@pytest.mark.parametrize("config", CONFIGS, ids=["with views", "without views"])
@tried_again
def test_a_live_session_that_drops_frames_is_what_the_kept_ones_are_alone(config: PipelineConfig) -> None:
    shown: list[Result] = []
    pipeline = noted(config, delay_s=0.04)
    pipeline.warm_up()
    session = Session(Bursts(pipeline), pipeline, shown.append)
    session.start()
    session.wait()
    assert 3 < len(pipeline.given) < COUNT, "frames were to be dropped, and some kept"
    assert any(result.tracks for result in shown) or any(result.frame_quality != "clear" for result in shown)
    assert_as_inline(shown, pipeline.given, config)


@settings(max_examples=15)
@given(kept=st.sets(st.integers(0, COUNT - 1), min_size=12), sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_any_frames_kept_in_any_batches(kept: set[int], sizes: list[int]) -> None:
    frames = [frame for frame in frames_of(COUNT) if frame.index in kept]
    pipeline, found = noted(CONFIGS[1]), list[Result]()
    for size in itertools.cycle(sizes):
        found += pipeline.analyse(frames[len(found) : len(found) + size])
        if len(found) == len(frames):
            break
    assert [result.frame.index for result in found] == sorted(kept)
    assert_as_inline(found, frames, CONFIGS[1])


def test_another_selection_of_frames_is_another_result() -> None:
    """That the comparison can fail."""
    every, half = frames_of(COUNT), frames_of(COUNT)[::2]
    shown = [result for result in run_inline(iter(every), noted(CONFIGS[1])) if result.frame.index % 2 == 0]
    with pytest.raises(AssertionError):
        assert_as_inline(shown, half, CONFIGS[1])

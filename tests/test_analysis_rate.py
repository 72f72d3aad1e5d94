"""Evenly every n-th frame where the models cannot keep up: simulated to the millisecond, and in a session."""

import itertools
from collections import Counter

import numpy as np
import pytest
from fakes import RATE_HZ, FakeDetector, FakeSegmenter, ScriptedSource, frames_of

from realtime_polyp.analysis_rate import AnalysisRate, ordinal
from realtime_polyp.config import PipelineConfig
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session

IMAGE = np.zeros((2, 2, 3), np.uint8)


class Simulation:
    """A live source, one waiting frame and models, on a clock of its own."""

    def __init__(self, rate: AnalysisRate | None, rate_hz: float = 30.0) -> None:
        self.rate, self.rate_hz = rate, rate_hz
        self.analysed: list[Frame] = []
        self.delays_s: list[float] = []
        self.free_s = 0.0
        self.index = 0
        self.waiting: Frame | None = None

    def run(self, seconds: float, analysis_s: float) -> "Simulation":
        self.analysed, self.delays_s = [], []
        for _ in range(round(seconds * self.rate_hz)):
            now_s = self.index / self.rate_hz
            self._work(now_s, analysis_s)
            frame, takes = Frame(self.index, now_s, now_s, IMAGE), True
            if self.rate:
                frame, takes = self.rate.choose(frame)
            self.index += 1
            self.waiting = frame if takes else self.waiting
        return self

    def _work(self, until_s: float, analysis_s: float) -> None:
        while self.waiting is not None and max(self.free_s, self.waiting.pts_s) < until_s:
            self.free_s = max(self.free_s, self.waiting.pts_s) + analysis_s
            self.analysed.append(self.waiting)
            self.delays_s.append(self.free_s - self.waiting.pts_s)
            self.waiting = None
            if self.rate:
                self.rate.add_duration(analysis_s)

    def steps(self) -> Counter[int]:
        return Counter(later.index - earlier.index for earlier, later in itertools.pairwise(self.analysed))


@pytest.mark.parametrize(
    ("analysis_ms", "every"),
    [(20, 1), (33, 1), (40, 1), (50, 2), (66, 2), (80, 2), (90, 3), (120, 3), (150, 4), (400, 10)],
)
def test_the_step_follows_the_models_and_does_not_change(analysis_ms: int, every: int) -> None:
    rate = AnalysisRate()
    simulation = Simulation(rate)
    simulation.run(60, analysis_ms / 1e3)
    steps = simulation.run(30, analysis_ms / 1e3).steps()
    assert rate.every == every
    assert set(steps) <= {every, every + 1, 2 * every}, steps
    if analysis_ms <= every * 1000 / 30:
        assert set(steps) == {every}, steps


def test_models_that_meet_every_second_frame_are_idle_so_that_none_waits() -> None:
    usual, even = Simulation(None), Simulation(AnalysisRate())
    for one in (usual, even):
        one.run(30, 0.045)
        one.run(30, 0.045)
    assert set(usual.steps()) == {1, 2} and set(even.steps()) == {2}
    assert max(even.delays_s) == pytest.approx(0.045) and max(usual.delays_s) > 0.06


def test_it_comes_back_when_the_models_are_fast_again() -> None:
    rate = AnalysisRate()
    simulation = Simulation(rate)
    simulation.run(20, 0.1)
    assert rate.every == 3
    simulation.run(20, 0.01)
    assert rate.every == 1
    simulation.run(20, 0.4)
    assert rate.every == 10
    simulation.run(20, 0.045)
    assert rate.every == 2


def test_a_machine_that_stood_still_is_soon_back() -> None:
    rate = AnalysisRate()
    simulation = Simulation(rate)
    simulation.run(30, 3.0)
    assert rate.every <= 15
    simulation.run(12, 0.01)
    assert rate.every == 1


def test_models_that_are_fast_only_while_little_is_asked_do_not_make_it_swing() -> None:
    rate = AnalysisRate()
    simulation, changes, before = Simulation(rate), 0, 1
    for _ in range(600):
        simulation.run(1, 0.022 if rate.every > 1 else 0.06)
        changes += rate.every != before
        before = rate.every
    assert changes < 30


@pytest.mark.parametrize("rate_hz", [25, 30, 50, 60])
def test_the_step_is_one_of_frames_whatever_their_rate(rate_hz: int) -> None:
    rate = AnalysisRate()
    Simulation(rate, rate_hz).run(40, 1.6 / rate_hz)
    assert rate.every == 2


def test_a_clock_that_jumps_changes_nothing() -> None:
    rate = AnalysisRate()
    simulation = Simulation(rate)
    simulation.run(20, 0.06)
    for pts_s in (5000.0, 5000.033, 3.0, 3.033):
        rate.choose(Frame(9999, pts_s, pts_s, IMAGE))
    assert rate.every == 2


def test_a_minute_without_pictures_is_no_minute_of_fast_models() -> None:
    """Before it the models were fast for one of the two seconds after which more frames are analysed."""
    rate = AnalysisRate()
    simulation = Simulation(rate)
    simulation.run(20, 0.1)
    simulation.run(3.4, 0.01)
    assert rate.every == 3
    simulation.index += 60 * 30
    simulation.run(0.5, 0.01)
    assert rate.every == 3
    simulation.run(3, 0.01)
    assert rate.every == 1


def test_analysed_frames_are_flipped_in_turn_though_their_indices_are_even() -> None:
    config = PipelineConfig(hflip=True)
    rate = AnalysisRate()
    assert [config.flips(rate.choose(frame)[0]) for frame in frames_of(4)] == [False, True, False, True]
    rate.every = 2
    chosen = [frame for frame, is_analysed in map(rate.choose, frames_of(40)) if is_analysed]
    assert len({frame.index % 2 for frame in chosen}) == 1
    flips = [config.flips(frame) for frame in chosen]
    assert all(earlier != later for earlier, later in itertools.pairwise(flips))


def test_a_live_session_says_how_often_and_its_account_is_exact() -> None:
    frames, results = list[Frame](), list[Result]()
    source = ScriptedSource(150, live=True, rate_hz=RATE_HZ)
    pipeline = Pipeline(FakeDetector(delay_s=0.07), FakeSegmenter(), PipelineConfig(hflip=True))
    session = Session(source, pipeline, results.append, on_frame=frames.append)
    session.start()
    session.wait()
    tally = session.analyses.tally()
    assert session.every > 1 and tally.dropped["analysis"]["even rate"] > 10
    assert tally.balanced and tally.captured == len(frames) == 150 and tally.shown == len(results)
    assert session.tally().balanced and session.tally().shown == len(results)


def test_a_recording_is_analysed_whole_however_slow_the_models_are() -> None:
    results = list[Result]()
    pipeline = Pipeline(FakeDetector(delay_s=0.02), FakeSegmenter(), PipelineConfig())
    session = Session(ScriptedSource(40), pipeline, results.append)
    session.start()
    session.wait()
    assert len(results) == 40 and session.every == 1


def test_ordinals() -> None:
    assert [ordinal(number) for number in (2, 3, 4, 11, 12, 21, 22)] == [
        "2nd", "3rd", "4th", "11th", "12th", "21st", "22nd",
    ]  # fmt: skip

"""The feed: the player needs nothing else, and a live session is one."""

import pytest
from fakes import RATE_HZ, results_of
from viewer_fakes import FakeDetector, FakeSegmenter, FakeSource, ScriptedFeed

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import EngineError
from realtime_polyp.outputs.overlay import label_text
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import SessionError
from realtime_polyp.viewer.condition import Failure
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import Feed, SessionFeed, engines_text
from realtime_polyp.viewer.player import Player


class Clock:
    """A clock that moves only when it is set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Show:
    """A player over scripted feeds, on a clock of its own: nothing waits, and every run is the same."""

    def __init__(self, count: int, *, error: SessionError | None = None) -> None:
        self.clock, self.opened, self.shown = Clock(), list[ScriptedFeed](), list[DisplayedFrame]()
        self._results, self._error = results_of([{1: 0.9}] * count), error
        info = SourceInfo("scripted", live=False, duration_s=count / RATE_HZ)
        self.player = Player(self.open_feed, info, self.paint, clock=self.clock)
        self.player.open()

    def open_feed(self, start_s: float) -> Feed:
        later = [result for result in self._results if result.frame.pts_s >= start_s - 1e-6]
        self.opened.append(ScriptedFeed(later, error=self._error))
        return self.opened[-1]

    def paint(self, displayed: DisplayedFrame) -> Painted:
        self.shown.append(displayed)
        return Painted(picture=True, overlay=displayed.result is not None)

    def run_for(self, seconds: float) -> None:
        end_s = self.clock.now_s + seconds
        while self.clock.now_s < end_s:
            self.clock.now_s += self.player.tick()

    @property
    def indices(self) -> list[int]:
        return [one.frame.index for one in self.shown]


def test_a_recording_is_shown_at_its_own_rate_and_accounted_for() -> None:
    show = Show(50)
    show.run_for(1.01)
    assert show.indices == list(range(26)) and show.player.reading().fps == pytest.approx(RATE_HZ, rel=0.05)
    show.run_for(2.0)
    assert show.player.phase == "ended" and show.indices == list(range(50))
    feed = show.opened[0]
    assert feed.started and feed.tally().shown == 50 and feed.tally().pending == 0
    assert feed.counted[:2] == [("shown", 0), ("annotated", 0)]


def test_a_seek_leaves_the_feed_and_drops_the_pre_roll_of_the_next() -> None:
    show = Show(100)
    show.run_for(0.1)
    show.player.seek(2.0)
    show.run_for(0.1)
    first, second = show.opened
    assert first.stopped and first.tally().pending == 0 and show.player.missed == 0
    early = [index for reason, index in second.counted if reason == "pre-roll"]
    assert early == list(range(43, 50)) and 50 in show.indices and not set(early) & set(show.indices)


def test_the_threshold_of_the_first_feed_is_kept_for_the_others() -> None:
    show = Show(50)
    assert show.player.score_threshold == 0.3
    show.player.set_score_threshold(0.6)
    show.player.seek(1.0)
    show.run_for(0.1)
    assert [feed.score_threshold for feed in show.opened] == [0.6, 0.6]


def test_only_a_still_picture_is_reanalysed_and_only_at_a_lower_threshold() -> None:
    show = Show(50)
    show.run_for(0.1)
    show.player.set_score_threshold(0.2)
    show.player.pause(True)
    show.player.set_score_threshold(0.4)
    assert all(len(one.result.tracks) == 1 for one in show.shown if one.result)
    show.player.set_score_threshold(0.1)
    assert [track.score for track in show.shown[-1].result.tracks][1:] == [0.1]


def test_a_failure_removes_the_overlay_and_keeps_the_picture() -> None:
    show = Show(5, error=SessionError("model", 5, RuntimeError("out of memory")))
    show.run_for(1.0)
    assert show.player.failure == Failure("model", "the model failed at frame 5: out of memory")
    shown, last = show.shown[-2:]
    assert last.frame is shown.frame and shown.result is not None and last.result is None


def test_a_feed_that_cannot_be_opened_again_is_a_failure() -> None:
    show = Show(50)

    def open_feed(start_s: float) -> Feed:
        raise EngineError("the engine is gone")

    show.player.feeds._open_feed = open_feed
    show.player.seek(1.0)
    show.run_for(0.1)
    assert show.player.failure == Failure("viewer", "the engine is gone")


def test_a_session_feed_gives_each_result_to_the_recorder_and_to_the_player() -> None:
    recorded: list[Result] = []
    pipeline = Pipeline(FakeDetector(), FakeSegmenter())
    feed = SessionFeed(FakeSource(5), pipeline, on_result=recorded.append)
    feed.start()
    taken: list[Result] = []
    while not feed.is_over() or len(taken) < 5:
        if result := feed.next_result():
            taken.append(result)
            feed.count_shown(result.frame)
            feed.count_annotated(result)
    assert taken == recorded and [result.frame.index for result in taken] == list(range(5))
    assert feed.tally().shown == 5 and feed.next_picture() is None and feed.warning is None
    assert feed.tracks_polyps and feed.engines_text == "fake    GFLv2 fake + low-rank fake"
    feed.session.conversions = ("de-interlaced",)
    assert feed.engines_text == "de-interlaced    fake    GFLv2 fake + low-rank fake"


def test_a_session_feed_reanalyses_from_the_raw_outputs_without_a_model() -> None:
    detector = FakeDetector()
    feed = SessionFeed(FakeSource(0), Pipeline(detector, None, PipelineConfig(temporal=None)))
    (result,) = feed.session.pipeline.analyse(list(FakeSource(1).frames()))
    calls = detector.calls
    more = feed.reanalyse(result, 0.1)
    assert [round(track.score, 2) for track in result.tracks] == [0.9]
    assert [round(track.score, 2) for track in more.tracks] == [0.9, 0.2] and detector.calls == calls
    assert [track.id for track in more.tracks] == [1, -1], "what was not followed has no number"
    assert [label_text(track.id, track.score) for track in more.tracks] == ["1  90 %", "20 %"]


def test_a_threshold_that_is_assigned_reaches_the_pipeline() -> None:
    feed = SessionFeed(FakeSource(0), Pipeline(FakeDetector(), None))
    feed.score_threshold = 0.7
    assert feed.session.pipeline.config.score_threshold == feed.score_threshold == 0.7


def test_without_models_the_status_line_says_so() -> None:
    assert engines_text(None, None) == "no model: the picture only"

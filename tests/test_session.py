"""The threads: nothing changes, nothing is lost, nothing lags, and nothing is left behind, whatever fails."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from fakes import (
    Ages,
    Auditor,
    FakeDetector,
    ScriptedSource,
    StartedDetector,
    StartedSegmenter,
    assert_same_results,
    frames_of,
    pipeline_of,
    tried_again,
    wait_until,
)

from realtime_polyp.config import PipelineConfig
from realtime_polyp.inference.base import Pending
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.session import Session, SessionError

JOIN_S = 30.0


def ignore(result: Result) -> None:
    pass


def finish(session: Session, *, within_s: float = JOIN_S) -> None:
    """Wait for the end, which must come, with every thread gone; raises what the session raises."""
    deadline_s = time.monotonic() + within_s
    try:
        while not session.wait(0.02):
            assert time.monotonic() < deadline_s, "threads left behind"
    finally:
        names = {thread.name for thread in session._threads if thread.is_alive()}
        assert not names, names


def run(session: Session, *, within_s: float = JOIN_S) -> None:
    """From start to end, its books watched all the way and closed in the end."""
    with Auditor(session) as auditor:
        session.start()
        try:
            finish(session, within_s=within_s)
        finally:
            auditor.__exit__()
            auditor.check()


@pytest.mark.parametrize("config", [PipelineConfig(), PipelineConfig(score_threshold=0.0, temporal=None)])
def test_threads_change_nothing(config: PipelineConfig) -> None:
    shown: list[Result] = []
    pipeline = pipeline_of(config=config)
    run(Session(ScriptedSource(120), pipeline, shown.append), within_s=60)
    assert pipeline.detector.largest == 4  # batches were cut: it is not the same run twice
    alone = list(run_inline(frames_of(120), pipeline_of(config=config)))
    assert sum(len(result.tracks) for result in alone) > 50
    assert_same_results(shown, alone)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_short_videos(count: int) -> None:
    shown: list[Result] = []
    session = Session(ScriptedSource(count), pipeline_of(), shown.append)
    run(session)
    assert [result.frame.index for result in shown] == list(range(count))
    assert session.state == "ended" and session.tally().shown == session.tally().captured == count


def test_a_source_that_fails_at_frame_41() -> None:
    shown: list[Result] = []
    session = Session(ScriptedSource(90, fails_at=41), pipeline_of(), shown.append)
    with pytest.raises(SessionError, match="decoder failed at frame 41: the cable is out") as error:
        run(session)
    assert error.value.stage == "decoder" and error.value.frame_index == 41
    assert isinstance(error.value.__cause__, OSError)
    assert session.state == "failed" and session.tally().captured == 41
    assert [result.frame.index for result in shown] == list(range(len(shown)))


def test_a_source_that_fails_at_once() -> None:
    session = Session(ScriptedSource(90, fails_at=0), pipeline_of(), ignore)
    with pytest.raises(SessionError, match="decoder failed before the first frame: the cable is out"):
        run(session)


def test_an_engine_that_fails_names_model_and_frame() -> None:
    session = Session(ScriptedSource(90), pipeline_of(FakeDetector(fails_at=30)), ignore)
    with pytest.raises(SessionError, match="model failed at frame (27|28|29|30): out of memory"):
        run(session)
    assert session.source.closed.is_set() and session.tally().captured < 90


def test_show_that_raises_names_output_and_frame() -> None:
    def show(result: Result) -> None:
        if result.frame.index == 10:
            raise OSError("no display")

    session = Session(ScriptedSource(90), pipeline_of(), show)
    with pytest.raises(SessionError, match="output failed at frame 10: no display"):
        run(session)
    assert session.tally().shown == 10 and session.tally().captured < 90


def test_the_first_failure_is_the_one_told() -> None:
    def show(result: Result) -> None:
        time.sleep(0.02)
        raise ValueError("told too late")

    source = ScriptedSource(90, fails_at=1, failure=OSError("told first"))
    with pytest.raises(SessionError, match="told first"):
        run(Session(source, pipeline_of(), show))


@pytest.mark.parametrize("live", [False, True])
def test_a_slow_engine(live: bool) -> None:
    session = Session(ScriptedSource(40, live=live, rate_hz=100), pipeline_of(FakeDetector(delay_s=0.03)), ignore)
    run(session)
    tally = session.tally()
    assert tally.captured == 40
    if live:
        assert set(tally.dropped) == {"queue"} and set(tally.dropped["queue"]) == {"newer frame"}
        assert tally.shown < 30
    else:
        assert tally.shown == 40 and not tally.dropped


@pytest.mark.parametrize("live", [False, True])
def test_a_screen_that_blocks(live: bool) -> None:
    session = Session(ScriptedSource(50, live=live, rate_hz=100), pipeline_of(), lambda result: time.sleep(0.02))
    run(session)
    assert session.tally().captured == 50
    assert (session.tally().shown < 45) if live else (session.tally().shown == 50)


def test_a_file_waits_for_a_screen_that_never_comes_back_and_stop_ends_it() -> None:
    forever = threading.Event()
    session = Session(ScriptedSource(500), pipeline_of(), lambda result: forever.wait())  # type: ignore[arg-type]
    with Auditor(session) as auditor:
        session.start()
        wait_until(lambda: session.tally().captured >= 10)
        time.sleep(0.2)
        assert session.tally().captured < 30  # back-pressure: memory does not grow
        session.stop()
        assert not session.wait(0.05)  # it says so rather than hang
        forever.set()
        finish(session)
    auditor.check()
    assert session.tally().shown <= 1


@pytest.mark.parametrize("live", [False, True])
def test_a_stop_in_the_middle(live: bool) -> None:
    session = Session(ScriptedSource(10_000, live=live), pipeline_of(), ignore)
    with Auditor(session) as auditor:
        session.start()
        wait_until(lambda: session.tally().shown > 5)
        session.stop()
        finish(session, within_s=10)
    auditor.check()
    assert session.state == "stopped" and session.tally().captured < 10_000


def test_a_stop_wakes_a_source_that_blocks() -> None:
    session = Session(ScriptedSource(90, blocks_at=5), pipeline_of(), ignore)
    session.start()
    wait_until(lambda: session.tally().shown == 5)
    session.stop()
    finish(session, within_s=10)
    assert session.state == "stopped" and session.tally().pending == 0


def test_a_session_that_was_over_may_be_stopped_and_waited_for_again() -> None:
    session = Session(ScriptedSource(3), pipeline_of(), ignore)
    run(session)
    session.stop()
    assert session.wait() and session.state == "ended" and session.tally().shown == 3


@tried_again
def test_a_live_source_drops_instead_of_lagging() -> None:
    """100 frames/s into 25 batches/s: with a queue, the last frame would be shown about a second late."""
    ages, source = Ages(), ScriptedSource(150, live=True, rate_hz=100)
    session = Session(source, pipeline_of(FakeDetector(delay_s=0.04)), lambda result: ages.add(result.frame))
    run(session, within_s=60)
    assert max(ages.ages_s) < ages.limit_s(0.4) and np.median(ages.ages_s) < ages.limit_s(0.2)
    assert session.tally().dropped_total > 50


@tried_again
def test_what_a_slow_screen_shows_of_a_live_source_is_not_old() -> None:
    """The screen takes 0.1 s a result: a queue that made the models wait would make all it shows 0.7 s late."""
    ages = Ages()

    def show(result: Result) -> None:
        ages.add(result.frame)
        time.sleep(0.1)

    session = Session(ScriptedSource(150, live=True, rate_hz=100), pipeline_of(), show)
    run(session, within_s=60)
    assert np.median(ages.ages_s[-8:]) < ages.limit_s(0.35) and max(ages.ages_s) < ages.limit_s(0.6)
    assert session.tally().dropped_total > 20


class BrokenSource(ScriptedSource):
    """Live; its frames 10 and 20 continue nothing."""

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            yield replace(frame, continues=frame.index not in (10, 20))


def test_a_break_in_a_frame_that_is_left_out_marks_the_next_one_that_is_analysed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only odd frames are analysed: no track goes on over the breaks at 10 and 20."""
    pipeline, analysed = pipeline_of(), list[Frame]()
    submit = pipeline.submit

    def note(frames: Sequence[Frame]) -> Pending[list[Result]]:
        analysed.extend(frames)
        return submit(frames)

    monkeypatch.setattr(pipeline, "submit", note)
    session = Session(BrokenSource(40, live=True, rate_hz=100), pipeline, ignore)
    assert session._rate is not None
    session._rate.every = 2
    run(session)
    indices = [frame.index for frame in analysed]
    assert all(index % 2 for index in indices)
    marked = [frame.index for frame in analysed if not frame.continues]
    assert marked == sorted({min(index for index in indices if index >= broken) for broken in (10, 20)})


class Viewer:
    """What the Qt viewer does: takes the newest picture on a timer and paints it, then says so."""

    def __init__(self, source: ScriptedSource, detector: FakeDetector, *, every_s: float = 0.005) -> None:
        self.session = Session(source, pipeline_of(detector), self._take, display="immediate", paints=True)
        self.shown: list[Frame] = []
        self.ages_s: list[float] = []
        self.results: list[Result] = []
        self._every_s, self._over = every_s, threading.Event()
        self._thread = threading.Thread(target=self._paint, daemon=True)

    def _take(self, result: Result) -> None:
        self.results.append(result)

    def _paint(self) -> None:
        screen = self.session.screen
        assert screen is not None
        while not screen.exhausted and not self._over.is_set():
            if frame := screen.latest():
                self.ages_s.append(time.monotonic() - frame.captured_s)
                self.session.shown(frame)
                self.shown.append(frame)
            time.sleep(self._every_s)

    def run(self) -> None:
        with Auditor(self.session) as auditor:
            self.session.start()
            self._thread.start()
            try:
                finish(self.session, within_s=60)
            finally:
                self._thread.join(2)
                self.session.finish_pictures()
        auditor.check()


@tried_again
def test_immediate_display_shows_pictures_that_were_never_analysed() -> None:
    viewer = Viewer(ScriptedSource(100, live=True, rate_hz=100), FakeDetector(delay_s=0.15))
    viewer.run()
    analysed = {result.frame.index for result in viewer.results}
    assert len(viewer.shown) > 2 * len(analysed) > 0
    assert np.median(viewer.ages_s) < 0.05  # the picture never waits for the models
    tally, analyses = viewer.session.tally(), viewer.session.analyses.tally()
    assert tally.captured == analyses.captured == 100
    assert tally.shown == len(viewer.shown) and set(tally.dropped) <= {"screen"}
    assert analyses.shown == len(analysed) and analyses.dropped["queue"]["newer frame"] > 30


def test_immediate_display_with_a_slow_screen_counts_what_it_never_took() -> None:
    viewer = Viewer(ScriptedSource(60, live=True, rate_hz=100), FakeDetector(), every_s=0.05)
    viewer.run()
    tally = viewer.session.tally()
    assert tally.captured == 60 and tally.shown == len(viewer.shown) < 30
    assert tally.dropped["screen"]["newer frame"] == 60 - tally.shown


def test_immediate_display_with_a_source_that_fails() -> None:
    viewer = Viewer(ScriptedSource(60, live=True, rate_hz=100, fails_at=41), FakeDetector())
    with pytest.raises(SessionError, match="decoder failed at frame 41"):
        viewer.run()
    assert viewer.session.tally().captured == 41


@pytest.mark.parametrize("seed", range(12))
def test_any_bad_luck_ends_with_the_books_closed(seed: int) -> None:
    luck = random.Random(seed)
    detector = FakeDetector(delay_s=luck.choice([0, 0, 0.003]), fails_at=luck.choice([None, None, luck.randrange(60)]))
    source = ScriptedSource(
        luck.randrange(60), live=luck.random() < 0.5, rate_hz=300, fails_at=luck.choice([None, luck.randrange(60)])
    )
    session = Session(source, pipeline_of(detector), _unlucky_screen(luck))
    stop_after_s = luck.choice([None, luck.random() * 0.2])
    with Auditor(session) as auditor:
        session.start()
        if stop_after_s is not None:
            threading.Timer(stop_after_s, session.stop).start()
        try:
            finish(session)
        except SessionError as error:
            assert error is session.error and session.state == "failed"
    auditor.check()


def _unlucky_screen(luck: random.Random) -> Callable[[Result], None]:
    fails_at, blocks_s = luck.choice([None, None, luck.randrange(40)]), luck.choice([0, 0.004])

    def show(result: Result) -> None:
        time.sleep(blocks_s)
        if result.frame.index == fails_at:
            raise OSError("no display")

    return show


@pytest.mark.parametrize("delay_s", [0.0, 0.002])
def test_a_batch_begun_before_the_last_is_finished_changes_nothing(delay_s: float) -> None:
    detector, shown = StartedDetector(delay_s=delay_s), list[Result]()
    run(Session(ScriptedSource(120), Pipeline(detector, StartedSegmenter()), shown.append), within_s=60)  # type: ignore[arg-type]
    assert_same_results(shown, list(run_inline(frames_of(120), pipeline_of())))
    assert detector.most_under_way == 2 and detector.under_way == 0


def test_a_live_source_s_batch_is_finished_before_the_next_is_begun() -> None:
    detector = StartedDetector()
    run(Session(ScriptedSource(20, live=True, rate_hz=200), Pipeline(detector, StartedSegmenter()), ignore))  # type: ignore[arg-type]
    assert detector.most_under_way == 1 and detector.under_way == 0


def test_nothing_stays_under_way_in_an_engine_that_was_stopped_or_failed() -> None:
    stopped, failed = StartedDetector(delay_s=0.01), StartedDetector(fails_at=21)
    session = Session(ScriptedSource(500), Pipeline(stopped, StartedSegmenter()), ignore)  # type: ignore[arg-type]
    session.start()
    while stopped.most_under_way < 2:
        time.sleep(0.001)
    session.stop()
    finish(session, within_s=30)
    with pytest.raises(SessionError, match="the model failed at frame (18|19|20|21): out of memory"):
        run(Session(ScriptedSource(500), Pipeline(failed, StartedSegmenter()), ignore))  # type: ignore[arg-type]
    assert stopped.under_way == failed.under_way == 0


def test_delays_and_stages_are_measured() -> None:
    session = Session(ScriptedSource(20), pipeline_of(FakeDetector(delay_s=0.01)), ignore)
    run(session)
    assert session.video_delay_ms.count == session.annotation_delay_ms.count == 20
    assert session.annotation_delay_ms.percentile(50) >= 10
    stages = {"decode", "field of view", "prepare", "detect", "segment", "postprocess", "camera motion", "track"}
    assert set(session.stages_ms) == stages
    assert session.stages_ms["detect"].largest_ms >= 2.5  # 10 ms a call, of four frames at most


def test_a_program_may_end_with_the_iterator_half_used() -> None:
    """No thread is left that would be killed inside a model, which aborts the program."""
    script = f"""
import atexit, sys, threading
sys.path.insert(0, {str(ROOT / "tests")!r})
from fakes import FakeDetector, FakeSegmenter, ScriptedSource
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session
atexit.register(lambda: print(threading.active_count()))  # what was registered last is called first
results = Session(ScriptedSource(100_000), Pipeline(FakeDetector(), FakeSegmenter()), print).iterate()
next(results)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")

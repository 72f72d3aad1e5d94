"""How fast a recording plays, that the window says so, and a display that skips analysis rather than time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fakes import tried_again
from viewer_fakes import RATE_HZ, FakeDetector, FakeSource, Feeds, picture

from realtime_polyp.outputs.every_picture import OVERLAY_LIMIT_S
from realtime_polyp.viewer.condition import PlayerState, condition_of, pace_badges
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.keep_pace import KeepPace
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.rates import SpeedMeter

PLAYING = PlayerState(phase="playing", live=False, has_picture=True)


def measure(steps: list[tuple[float, float]]) -> tuple[SpeedMeter, float]:
    """A meter after pictures at steps of (seconds of the machine, seconds of the video), and the time then."""
    meter, now_s, pts_s = SpeedMeter(), 100.0, 0.0
    for step_s, video_s in steps:
        now_s, pts_s = now_s + step_s, pts_s + video_s
        meter.add(pts_s, now_s)
        meter.is_slow(now_s, 1.0)
    return meter, now_s


@pytest.mark.parametrize("speed", [0.25, 0.4, 1.0, 8.0])
@pytest.mark.parametrize("rate_hz", [1, 25, 60])
def test_the_speed_is_that_of_the_last_two_seconds(speed: float, rate_hz: int) -> None:
    steps = [(1 / rate_hz / speed, 1 / rate_hz)] * (20 * rate_hz)
    meter, now_s = measure([(0.04, 0.04)] * 100 + steps)
    assert meter.read(now_s) == pytest.approx(speed, rel=0.02)
    assert meter.read(now_s + 0.9 / rate_hz / speed) == pytest.approx(speed, rel=0.02), "a picture lasts until the next"
    assert meter.is_slow(now_s, 1.0) == (speed < 0.95)


def test_a_picture_that_stands_too_long_costs_time() -> None:
    meter, now_s = measure([(0.04, 0.04)] * 100)
    assert meter.read(now_s + 2.0) == pytest.approx(0.5, abs=0.05)
    assert not meter.is_slow(now_s + 1.0, 1.0) and meter.is_slow(now_s + 2.1, 1.0)


def test_a_short_stall_is_not_slow_and_a_jump_in_the_file_is_not_fast() -> None:
    meter, now_s = measure([(0.04, 0.04)] * 50 + [(0.3, 0.04)] + [(0.04, 0.04)] * 12)
    assert not meter.is_slow(now_s, 1.0)
    meter, now_s = measure([(0.04, 0.04)] * 50 + [(0.04, 60.0)] + [(0.04, 0.04)] * 25)
    assert meter.read(now_s) == pytest.approx(1.0, rel=0.02)
    meter, now_s = measure([(0.04, 0.04)] * 50 + [(0.04, -1.0)] + [(0.04, 0.04)] * 25)
    assert meter.read(now_s) == pytest.approx(1.0, rel=0.02)


def test_too_little_is_not_measured() -> None:
    meter, now_s = measure([(0.04, 0.04)] * 5)
    assert meter.read(now_s) is None and not meter.is_slow(now_s, 1.0)


def test_a_slow_recording_is_a_condition_that_names_the_key() -> None:
    condition = condition_of(replace(PLAYING, speed=0.42, is_slow=True))
    assert condition.name == "playing slowly" and condition.tone == "warn" and not condition.blanks
    assert condition.title == "0.4\u00d7 speed" and "press G" in condition.detail
    assert condition_of(replace(PLAYING, speed=0.42, is_slow=True, frame_quality="blurred")).name == "playing slowly"
    assert condition_of(replace(PLAYING, speed=0.04, is_slow=True)).title == "0.04\u00d7 speed"
    assert condition_of(replace(PLAYING, speed=1.0)).name == "running"
    assert "press G" not in condition_of(replace(PLAYING, speed=0.4, is_slow=True, keeps_pace=True)).detail


def test_a_recorded_session_has_no_analysis_to_skip() -> None:
    slow = replace(PLAYING, speed=0.4, is_slow=True, is_recorded=True)
    assert condition_of(slow).name == "playing slowly" and "press G" not in condition_of(slow).detail
    said: list[str] = []
    for live in (False, True):
        player = SimpleNamespace(info=SourceInfo("a session", live))
        KeepPace(player, None, said.append, on=False).toggle()  # type: ignore[arg-type]
    assert said[0].startswith("A recorded session") and said[1].startswith("A live source")


def test_skipped_analysis_has_a_badge_of_its_own() -> None:
    assert pace_badges(replace(PLAYING, keeps_pace=True, analysed=0.41)) == ("Analysis skipped \u2013 press G",)
    assert pace_badges(replace(PLAYING, keeps_pace=True, analysed=1.0)) == ()
    assert pace_badges(replace(PLAYING, analysed=0.41)) == () == pace_badges(replace(PLAYING, keeps_pace=True))


class Show:
    """A player that keeps pace, and what it painted."""

    def __init__(self, count: int, delay_s: float, **script: object) -> None:
        def source(start_s: float) -> FakeSource:
            return FakeSource(count, start_s, **script)  # type: ignore[arg-type]

        self.feeds = Feeds(source, display="paced", detector=FakeDetector(delay_s=delay_s))
        self.feeds.pipeline.warm_up()  # compiling takes longer than the recording
        self.frames: list[DisplayedFrame] = []
        self.player = Player(self.feeds, SourceInfo("fake.mp4", False, count / RATE_HZ), self.paint)
        self.player.open()

    def paint(self, displayed: DisplayedFrame) -> Painted:
        self.frames.append(displayed)
        return Painted(picture=True, overlay=displayed.result is not None)

    def run(self, until: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline_s, self.player.phase
            time.sleep(self.player.tick())

    def run_out(self) -> None:
        self.run(lambda: self.player.phase in ("ended", "failed"))

    @property
    def indices(self) -> list[int]:
        """Of the pictures in the order in which they came."""
        found = [shown.frame.index for shown in self.frames]
        return [index for place, index in enumerate(found) if place == 0 or index != found[place - 1]]


@pytest.fixture
def start() -> Iterator[Callable[..., Show]]:
    made: list[Show] = []

    def make(count: int, delay_s: float = 0.0, **script: object) -> Show:
        made.append(Show(count, delay_s, **script))
        return made[-1]

    yield make
    for show in made:
        assert show.player.close()
        show.feeds.check_accounts()


@tried_again
def test_a_model_that_is_too_slow_does_not_slow_the_recording(start: Callable[..., Show]) -> None:
    """60 pictures at 50 Hz, analyses of 70 ms: the model would need 4.2 s for all of them."""
    show = start(60, 0.07)
    show.run_out()
    assert show.player.phase == "ended"
    assert show.indices == sorted(set(show.indices)) and show.indices[-1] == 59
    session = show.feeds.opened[0].session
    pictures, analyses = session.tally(), session.analyses.tally()
    assert pictures.captured == analyses.captured == 60 and pictures.shown == len(show.indices)
    assert 0 < analyses.shown < 50 and analyses.dropped_total == 60 - analyses.shown
    for shown in show.frames:
        if shown.result:
            assert 0 <= shown.frame.pts_s - shown.result.frame.pts_s <= OVERLAY_LIMIT_S + 1e-6
    assert any(shown.result for shown in show.frames), "on a fast machine most pictures have an overlay"


def test_a_model_that_is_fast_enough_analyses_all_and_each_picture_has_its_own_overlay(start) -> None:
    show = start(40)
    show.run_out()
    session = show.feeds.opened[0].session
    assert session.tally().captured == 40
    own = {shown.frame.index for shown in show.frames if shown.result and shown.result.frame is shown.frame}
    assert own, "on a fast machine all of them"


def test_a_picture_that_stands_still_gets_its_own_overlay(start: Callable[..., Show]) -> None:
    show = start(400, 0.1)
    show.run(lambda: len(show.indices) >= 10)
    show.player.pause(True)
    show.player.seek(2.0)
    show.run(lambda: show.player.phase == "playing" and show.indices[-1] == 2 * RATE_HZ)
    show.run(lambda: bool(show.frames[-1].result and show.frames[-1].result.frame is show.frames[-1].frame))
    assert show.indices[-1] == 2 * RATE_HZ
    show.player.step()
    show.run(lambda: show.indices[-1] == 2 * RATE_HZ + 1)
    show.run(lambda: bool(show.frames[-1].result and show.frames[-1].result.frame is show.frames[-1].frame))


def test_a_picture_whose_analysis_was_skipped_is_analysed_when_it_stands_still(start: Callable[..., Show]) -> None:
    show = start(400, 0.1)

    def is_skipped() -> bool:
        shown = show.frames[-1] if show.frames else None
        return shown is not None and shown.frame.index > 10 and shown.result is not None and not own(shown)

    show.run(is_skipped)
    index = show.frames[-1].frame.index
    show.player.pause(True)
    show.run(lambda: own(show.frames[-1]))
    assert show.player.displayed.frame.index == index and show.player.paused
    show.player.pause(False)
    show.run(lambda: show.indices[-1] > index + 5)
    assert show.indices == sorted(set(show.indices)), "it goes on from there"


def test_a_lowered_threshold_stays_on_a_paused_picture(start: Callable[..., Show]) -> None:
    show = start(400)
    show.run(lambda: len(show.indices) >= 12)
    show.player.pause(True)
    show.run(lambda: show.player.phase == "playing" and own(show.frames[-1]))
    show.player.set_score_threshold(0.1)
    assert len(show.frames[-1].result.tracks) == 2
    for _ in range(5):
        show.player.tick()
    assert len(show.frames[-1].result.tracks) == 2, "the next tick brought the old overlay back"


def own(shown: DisplayedFrame) -> bool:
    return shown.result is not None and shown.result.frame.index == shown.frame.index


def test_a_screen_that_is_too_slow_leaves_pictures_out_and_counts_them(start: Callable[..., Show]) -> None:
    show = start(60)
    paint = show.player.presenter._paint
    show.player.presenter._paint = lambda displayed: (time.sleep(0.05), paint(displayed))[1]  # type: ignore[func-returns-value]
    show.run_out()
    assert show.player.missed > 0 and show.player.tally().shown == 60 - show.player.missed
    assert show.indices[-1] == 59


@tried_again
def test_no_overlay_of_the_scene_before_a_cut(start: Callable[..., Show]) -> None:
    """An edited video: at picture 30 the scene is upside down and in other colours."""

    def image_of(index: int):
        image = picture(index)
        return image if index < 30 else 255 - image[::-1, ::-1] // 2

    show = start(60, 0.03, image_of=image_of)
    show.run_out()
    for shown in show.frames:
        if shown.result:
            assert (shown.result.frame.index >= 30) == (shown.frame.index >= 30)
    assert any(shown.result for shown in show.frames if shown.frame.index < 30)


def test_counts_go_on_over_a_seek(start: Callable[..., Show]) -> None:
    show = start(200)
    show.run(lambda: len(show.indices) >= 10)
    show.player.seek(2.0)
    show.run(lambda: show.player.phase == "playing" and len(show.indices) >= 20)
    tally = show.player.tally()
    assert tally.captured == sum(feed.tally().captured for feed in show.feeds.opened) and tally.balanced

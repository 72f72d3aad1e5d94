"""The player without a screen: what it shows, when, and that every picture is accounted for."""

import time
from collections.abc import Callable, Iterator

import pytest
from viewer_fakes import RATE_HZ, FakeDetector, FakeSource, Feeds, picture

from realtime_polyp.outputs.every_picture import OVERLAY_LIMIT_S
from realtime_polyp.sources.base import SourceError
from realtime_polyp.viewer.condition import Failure, condition_of
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import SessionFeed
from realtime_polyp.viewer.player import Player


class Screen:
    """Records what was painted, and when; shows nothing while hidden."""

    def __init__(self) -> None:
        self.frames: list[DisplayedFrame] = []
        self.at_s: list[float] = []
        self.hidden = False
        self.blocked_s = 0.0

    def paint(self, displayed: DisplayedFrame) -> Painted:
        self.frames.append(displayed)
        self.at_s.append(time.monotonic())
        time.sleep(self.blocked_s)
        return Painted(picture=not self.hidden, overlay=not self.hidden and displayed.result is not None)

    @property
    def indices(self) -> list[int]:
        return [shown.frame.index for shown in self.frames]


class Show:
    """A player, its screen and its feeds; `run` plays until a condition holds."""

    def __init__(self, feeds: Feeds, info: SourceInfo) -> None:
        self.feeds, self.screen = feeds, Screen()
        self.player = Player(feeds, info, self.screen.paint)
        self.player.open()

    def run(self, until: Callable[[], bool] = lambda: False, *, limit_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline_s, f"still {self.player.phase} after {self.screen.indices[-5:]}"
            time.sleep(self.player.tick())

    def run_out(self) -> None:
        self.run(lambda: self.player.phase in ("ended", "failed"))

    def run_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        self.run(lambda: time.monotonic() > end_s)


@pytest.fixture
def start() -> Iterator[Callable[..., Show]]:
    """Start shows. At the end of the test each is closed, every thread has ended and every account is balanced."""
    made: list[Show] = []

    def make(
        count: int, *, live: bool = False, display: str = "synced", detector: FakeDetector | None = None,
        loop: bool = False, begin_s: float = 0.0, **script,
    ):  # fmt: skip
        def source(start_s: float) -> FakeSource:
            return FakeSource(count, start_s, live=live, **script)

        feeds = Feeds(source, display=display, detector=detector)  # type: ignore[arg-type]
        made.append(Show(feeds, SourceInfo("fake.mp4", live, None if live else count / RATE_HZ, begin_s, loop)))
        return made[-1]

    yield make
    for one in made:
        assert one.player.close()
        assert not any(thread.is_alive() for feed in one.feeds.opened for thread in feed.session._threads)
        one.feeds.check_accounts()


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_short_recording_is_shown_whole(start, count):
    show = start(count)
    show.run_out()
    assert show.player.phase == "ended" and show.screen.indices == list(range(count))
    session = show.feeds.opened[0].session
    assert (session.tally().shown, session.annotation_delay_ms.count) == (count, count)


def test_a_recording_plays_at_its_own_rate_each_picture_with_its_own_overlay(start):
    show = start(26)
    show.run_out()
    assert all(one.result and one.result.frame is one.frame for one in show.screen.frames)
    assert 25 / RATE_HZ - 0.02 <= show.screen.at_s[-1] - show.screen.at_s[0] < 25 / RATE_HZ + 20


def test_a_slow_model_slows_a_recording_and_nothing_is_skipped(start):
    show = start(12, detector=FakeDetector(delay_s=0.06))
    show.run_out()
    assert show.screen.indices == list(range(12)) and show.player.missed == 0


def test_a_slow_screen_slows_a_recording_and_nothing_is_skipped(start):
    show = start(12)
    show.screen.blocked_s = 0.05
    show.run_out()
    assert show.screen.indices == list(range(12)) and show.player.missed == 0


def test_a_hidden_window_does_not_stop_the_recording_and_is_counted(start):
    show = start(7)
    show.screen.hidden = True
    show.run_out()
    tally = show.feeds.opened[0].tally()
    assert tally.dropped == {"screen": {"window hidden": 7}} and tally.shown == 0


def test_pause_stands_still_and_step_goes_one_on(start):
    show = start(60)
    show.run(lambda: len(show.screen.frames) >= 5)
    show.player.toggle_pause()
    seen = len(show.screen.frames)
    show.run_for(0.15)
    assert len(show.screen.frames) == seen
    for _ in range(3):
        show.player.step()
    show.run(lambda: len(show.screen.frames) == seen + 3)
    show.run_for(0.1)
    assert show.screen.indices == list(range(seen + 3))
    show.player.toggle_pause()
    started_s = time.monotonic()
    show.run(lambda: len(show.screen.frames) == seen + 13)
    assert time.monotonic() - started_s > 8 / RATE_HZ, "the pause was followed by a burst"
    assert show.player.missed == 0


def test_seek_shows_the_requested_picture_first_with_a_tracked_overlay(start):
    show = start(200)
    show.run(lambda: len(show.screen.frames) >= 3)
    show.player.seek(1.0)
    show.player.seek(2.0)  # the last call counts
    assert show.player.position_s == 2.0
    assert show.player.shown_s == show.screen.frames[-1].frame.pts_s < 1.0, "the old picture is still shown"
    before = len(show.screen.frames)
    show.run(lambda: len(show.screen.frames) > before)
    first = show.screen.frames[before]
    assert first.frame.index == 2 * RATE_HZ
    assert first.result and any(track.visible for track in first.result.tracks)
    assert len(show.feeds.opened) == 2
    assert show.feeds.opened[1].tally().dropped["screen"]["pre-roll"] > 0 and show.player.missed == 0


def test_seek_while_paused_shows_one_picture(start):
    show = start(200)
    show.run(lambda: len(show.screen.frames) >= 3)
    show.player.pause(True)
    before = len(show.screen.frames)
    show.player.seek(1.0)
    show.run(lambda: len(show.screen.frames) > before)
    show.run_for(0.1)
    assert show.screen.indices[before:] == [RATE_HZ] and show.player.paused


def test_seek_beyond_either_end_stays_within(start):
    show = start(50)
    for to_s, position_s in ((-3.0, 0.0), (99.0, 0.95)):
        show.player.seek(to_s)
        assert show.player.position_s == pytest.approx(position_s)
        show.run(lambda: show.player.phase == "playing")


def test_space_at_the_end_plays_again(start):
    show = start(3)
    show.run_out()
    show.player.toggle_pause()
    show.run(lambda: len(show.screen.frames) == 6)
    assert show.screen.indices == [0, 1, 2, 0, 1, 2]


def test_plays_from_the_given_start_and_loops_there(start):
    show = start(30, begin_s=0.5, loop=True)
    show.run(lambda: len(show.screen.frames) == 12)
    assert show.screen.indices == [25, 26, 27, 28, 29, 25, 26, 27, 28, 29, 25, 26]
    assert show.feeds.opened[0].tally().captured == 5, "nothing before the given start is read"


def test_a_loop_does_not_begin_again_while_it_stands_on_the_last_picture(start):
    show = start(6, loop=True)
    show.run(lambda: len(show.screen.frames) >= 2)
    show.player.pause(True)
    for _ in range(6):
        show.player.step()
    show.run(lambda: show.player.phase == "ended")
    assert show.player.paused and show.screen.indices == list(range(6))
    show.player.toggle_pause()
    show.run(lambda: len(show.screen.frames) > 6)
    assert show.screen.indices[6] == 0 and not show.player.paused


def test_a_live_source_that_gives_up_has_lost_its_signal(start):
    show = start(50, live=True, display="immediate", fails_at=5, failure=SourceError("no picture for 5 s"))
    show.run_out()
    assert show.player.failure == Failure("signal", "no picture for 5 s")


def test_a_live_source_that_is_tried_again_is_not_running_before_its_first_picture(start):
    show = start(50, live=True, display="immediate", fails_at=25, failure=SourceError("no picture for 5 s"))
    show.run_out()
    show.player.toggle_pause()
    show.run(lambda: show.player.phase == "playing")
    assert condition_of(show.player.state()).name == "ready", "the picture on the screen is of the time before"
    count = len(show.screen.frames)
    show.run(lambda: len(show.screen.frames) > count)
    assert show.player.state().has_picture


@pytest.mark.parametrize("display", ["synced", "immediate"])
def test_a_dead_decoder_blanks_the_overlay_and_is_named(start, display):
    show = start(100, fails_at=41, live=display == "immediate", display=display)
    show.run_out()
    assert show.player.failure and show.player.failure.stage == "decoder"
    assert "the cable is out" in show.player.failure.message
    assert show.screen.frames[-1].result is None


@pytest.mark.parametrize("display", ["synced", "immediate"])
def test_a_dead_model_blanks_the_overlay_and_is_named(start, display):
    live = display == "immediate"
    show = start(10_000 if live else 100, detector=FakeDetector(fails_at_call=20), live=live, display=display)
    show.run_out()
    assert show.player.failure and show.player.failure.stage == "model"
    assert "out of memory" in show.player.failure.message
    assert show.screen.frames[-1].result is None


def test_after_a_failure_space_tries_again(start):
    show = start(20, detector=FakeDetector(fails_at_call=2))
    show.run_out()
    show.player.toggle_pause()
    show.run_out()
    assert show.player.phase == "ended" and show.player.failure is None


def test_a_source_that_cannot_be_opened_again_is_reported(start):
    show = start(50)

    def gone(start_s: float) -> SessionFeed:
        raise SourceError("fake.mp4 is not there any more")

    show.player.feeds._open_feed = gone
    show.player.seek(0.5)
    show.run_out()
    assert show.player.failure and show.player.failure.message == "fake.mp4 is not there any more"


def test_live_pictures_do_not_wait_for_a_slow_model(start):
    show = start(10_000, live=True, display="immediate", detector=FakeDetector(delay_s=0.09))
    show.run(lambda: len(set(show.screen.indices)) >= 30)
    # between two results the newest one stays over newer pictures
    show.run(lambda: any(one.result and one.result.frame is not one.frame for one in show.screen.frames))
    session = show.feeds.opened[0].session
    assert (session.video_delay_ms.percentile(50) or 1e9) < (session.annotation_delay_ms.percentile(50) or 0)
    assert session.annotation_delay_ms.count < session.video_delay_ms.count


def test_a_live_overlay_that_is_too_old_is_hidden(start):
    show = start(10_000, live=True, display="immediate", detector=FakeDetector(delay_s=OVERLAY_LIMIT_S + 0.1))
    show.run(lambda: len(set(show.screen.indices)) >= 40)
    assert all(one.result is None for one in show.screen.frames)
    assert show.player.state().overlay_age_s is None or show.player.state().overlay_age_s > OVERLAY_LIMIT_S


def test_live_no_signal_hides_the_overlay_and_is_reported(start):
    show = start(10_000, live=True, display="immediate", blocks_at=20)
    show.run(lambda: show.screen.indices[-1:] == [19] and show.player.state().no_picture_s > 0.4)
    assert show.screen.frames[-1].result is None
    show.feeds.opened[0].session.source.unblock.set()
    show.run(lambda: show.screen.indices[-1] > 25 and show.player.state().no_picture_s < 0.4)


@pytest.mark.parametrize("display", ["synced", "immediate"])
def test_a_blocked_screen_makes_a_live_source_drop_and_then_shows_the_newest(start, display):
    show = start(10_000, live=True, display=display)
    show.run(lambda: len(show.screen.frames) >= 5)
    before = show.screen.indices[-1]
    time.sleep(0.5)
    show.run(lambda: show.screen.indices[-1] - before >= 20)
    after = [index for index in show.screen.indices if index > before]
    assert len(set(after)) < after[-1] - before
    assert show.player.missed > 0


def test_live_pause_keeps_the_picture_and_gives_it_its_own_overlay(start):
    show = start(10_000, live=True, display="immediate", detector=FakeDetector(delay_s=0.01))
    show.run(lambda: len(set(show.screen.indices)) >= 10)
    show.player.pause(True)
    index = show.screen.indices[-1]
    show.run(lambda: show.feeds.opened[0].tally().captured > index + 10)
    assert show.screen.indices[-1] == index
    show.player.step()
    show.run(lambda: show.screen.indices[-1] > index + 5)
    show.run_for(0.05)
    show.player.pause(False)
    show.run(lambda: len(set(show.screen.indices)) >= 15)
    assert show.feeds.opened[0].tally().dropped["screen"]["paused"] > 0


def test_a_changed_format_is_noticed_and_no_overlay_of_the_old_one_is_shown(start):
    def image_of(index: int):
        return picture(index, (160, 128) if index < 20 else (200, 100))

    show = start(10_000, live=True, display="immediate", image_of=image_of)
    show.run(lambda: show.screen.indices[-1:] > [30])
    change = show.player.state().format_change
    assert change and (change.before, change.after) == ((160, 128), (200, 100))
    for one in show.screen.frames:
        assert one.result is None or one.result.frame.image.shape == one.frame.image.shape


def test_a_lowered_threshold_is_seen_in_a_paused_picture(start):
    show = start(100)
    show.run(lambda: len(show.screen.frames) >= 12)
    show.player.pause(True)
    show.run_for(0.05)
    assert [round(track.score, 2) for track in show.screen.frames[-1].result.tracks] == [0.9]
    show.player.set_score_threshold(0.25)
    assert len(show.screen.frames[-1].result.tracks) == 1
    show.player.set_score_threshold(0.1)
    assert len(show.screen.frames[-1].result.tracks) == 2
    assert round(show.screen.frames[-1].result.tracks[1].score, 2) == 0.2
    annotated = show.feeds.opened[0].session.annotation_delay_ms.count
    assert annotated == len(set(show.screen.indices)), "a reanalysis is not a second annotation"


def test_the_threshold_outlives_a_seek(start):
    show = start(200)
    show.player.set_score_threshold(0.15)
    show.feeds.pipeline.set_score_threshold(0.5)  # as a factory that builds a new pipeline would
    show.player.seek(1.0)
    show.run(lambda: show.player.phase == "playing")
    assert show.feeds.opened[-1].score_threshold == 0.15


@pytest.mark.parametrize("moment", ["at once", "playing", "paused", "seeking", "ended", "blocked"])
@pytest.mark.parametrize("display", ["synced", "immediate"])
def test_closes_at_any_moment(start, moment, display):
    show = start(15 if moment == "ended" else 500, display=display, live=display == "immediate",
                 blocks_at=10 if moment == "blocked" else None)  # fmt: skip
    if moment in ("playing", "paused", "seeking"):
        show.run(lambda: len(show.screen.frames) >= 5)
    if moment == "paused":
        show.player.pause(True)
        show.run_for(0.1)
    if moment == "seeking":
        show.player.seek(3.0)
    if moment == "ended":
        show.run_out()
    if moment == "blocked":
        show.run_for(0.3)
        show.feeds.sources[0].close = show.feeds.sources[0].unblock.set
    started_s = time.monotonic()
    assert show.player.close() and time.monotonic() - started_s < 10


def test_a_read_that_nothing_can_wake_is_left_behind_in_bounded_time():
    made: list[FakeSource] = []
    feeds = Feeds(lambda start_s: made.append(FakeSource(50, blocks_at=5)) or made[-1])
    one = Show(feeds, SourceInfo("fake.mp4", live=False, duration_s=1.0))
    one.run_for(0.2)
    started_s = time.monotonic()
    assert not one.player.close(within_s=0.3)
    assert time.monotonic() - started_s < 10
    made[0].unblock.set()

"""Steps back and forward, speed, loops and jumps: the player without a screen, and the keys' actions."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from viewer_fakes import RATE_HZ, FakeDetector, FakeSource, Feeds, picture

from realtime_polyp.outputs.overlay import NO_SHAPES
from realtime_polyp.packets import Frame
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.history import History
from realtime_polyp.viewer.pacing import SPEEDS, PlaybackClock, Stride, next_speed
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.replay import ReplayBuffer
from realtime_polyp.viewer.stepping import Stepping
from realtime_polyp.viewer.thinned import Thinned
from realtime_polyp.viewer.transport import Transport, next_alarm_s, previous_alarm_s, speed_note


class Show:
    """A player on a fake recording whose pictures can be found again; `shown` has every painted frame."""

    def __init__(self, count: int, *, live: bool = False, delay_s: float = 0.0) -> None:
        self.shown: list[DisplayedFrame] = []
        self.said: list[str] = []
        self.feeds = Feeds(
            lambda start_s: FakeSource(count, start_s, live=live),
            detector=FakeDetector(delay_s=delay_s),
            display="immediate" if live else "synced",
        )
        info = SourceInfo("fake.mp4", live, None if live else count / RATE_HZ, rate_hz=RATE_HZ)
        self.player = Player(self.feeds, info, self._paint, pictures=lambda frame: picture(frame.index))
        self.alarms = [(1.0, 1.5), (3.0, 3.2)]
        self.transport = Transport(self.player, self.player.seek, lambda: self.alarms, self.said.append)
        self.player.open()

    def _paint(self, displayed: DisplayedFrame) -> Painted:
        self.shown.append(displayed)
        return Painted(picture=True, overlay=displayed.result is not None)

    @property
    def index(self) -> int:
        return self.shown[-1].frame.index

    def run(self, until: Callable[[], bool], limit_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline_s, (self.player.phase, [one.frame.index for one in self.shown[-5:]])
            time.sleep(self.player.tick())

    def do(self, action: str) -> None:
        self.transport.actions()[action]()


@pytest.fixture
def start() -> Iterator[Callable[..., Show]]:
    made: list[Show] = []

    def make(count: int, **script) -> Show:
        made.append(Show(count, **script))
        return made[-1]

    yield make
    for one in made:
        assert one.player.close()
        one.feeds.check_accounts()


class TestSteps:
    def test_back_shows_the_frames_before_with_the_overlays_that_they_had(self, start):
        show = start(100)
        show.run(lambda: len(show.shown) >= 20)
        before = {one.frame.index: one for one in show.shown}
        last = show.index
        for index in range(last - 1, last - 6, -1):
            show.do("step back")
            show.run(lambda index=index: show.index == index)
            again = show.shown[-1]
            assert again.again and again.result.tracks == before[index].result.tracks
            assert np.array_equal(again.frame.image, picture(index)) and again.result.frame is again.frame
        assert show.player.paused and len(show.feeds.opened) == 1

    def test_forward_goes_through_them_again_and_then_on(self, start):
        show = start(100)
        show.run(lambda: len(show.shown) >= 20)
        last = show.index
        for _ in range(3):
            show.do("step back")
        show.run(lambda: show.index == last - 3)
        for index in range(last - 2, last + 3):
            show.do("step")
            show.run(lambda index=index: show.index == index)
        assert [one.again for one in show.shown[-5:]] == [True, True, True, False, False]

    def test_back_where_nothing_was_shown_opens_a_feed_and_goes_to_the_frame_before(self, start):
        show = start(300)
        show.player.pause(True)
        show.player.seek(4.0)
        show.run(lambda: bool(show.shown) and show.index == 4 * RATE_HZ)
        for _ in range(40):
            index = show.index
            show.do("step back")
            show.run(lambda index=index: show.index == index - 1)
        assert show.index == 4 * RATE_HZ - 40 and show.shown[-1].result.tracks
        assert len(show.feeds.opened) == 3, "the frames before were remembered"

    def test_back_stops_at_the_first_frame(self, start):
        show = start(100)
        show.run(lambda: len(show.shown) >= 1)
        show.player.pause(True)
        while show.index > 0:
            index = show.index
            show.do("step back")
            show.run(lambda index=index: show.index == index - 1)
        show.do("step back")
        assert show.index == 0 and show.player.phase == "playing"

    def test_playing_goes_on_from_the_frame_that_was_stepped_back_to(self, start):
        show = start(200)
        show.run(lambda: len(show.shown) >= 30)
        for _ in range(10):
            show.do("step back")
        show.run(lambda: not show.player.stepping.waits)
        index, count = show.index, len(show.shown)
        show.do("pause")
        show.run(lambda: len(show.shown) > count + 5)
        assert [one.frame.index for one in show.shown[count:][:5]] == list(range(index, index + 5))

    def test_back_from_the_end(self, start):
        show = start(20)
        show.run(lambda: show.player.phase == "ended")
        show.do("step back")
        show.run(lambda: show.index == 18)
        assert show.player.state().phase == "playing" and show.player.state().paused

    def test_a_live_source_says_what_to_do_instead(self, start):
        show = start(500, live=True)
        show.run(lambda: bool(show.shown))
        show.do("step back")
        assert "see the last seconds again" in show.said[-1]


class TestSpeed:
    def test_the_clock_plays_at_a_speed(self):
        clock = PlaybackClock()
        clock.set_speed(4.0)
        assert clock.wait_s(10.0, 100.0) == 0
        clock.mark_shown(10.0, 100.0)
        assert clock.wait_s(12.0, 100.1) == pytest.approx(0.4)

    def test_keys_go_through_the_speeds_and_stop_at_the_ends(self):
        assert [next_speed(speed, +1) for speed in SPEEDS] == [*SPEEDS[1:], SPEEDS[-1]]
        assert next_speed(0.25, -1) == 0.25

    def test_a_slow_speed_shows_every_frame_and_takes_longer(self, start):
        show = start(10)
        for _ in range(2):
            show.do("slower")
        started_s = time.monotonic()
        show.run(lambda: show.player.phase == "ended")
        assert time.monotonic() - started_s >= 9 / RATE_HZ * 4 * 0.9
        assert [one.frame.index for one in show.shown] == list(range(10))

    def test_a_speed_above_what_analysis_can_do_leaves_frames_out_and_says_so(self, start):
        show = start(1000, delay_s=0.02)  # at most 50 frames per second, and 400 would be needed
        for _ in range(3):
            show.do("faster")
        show.run(lambda: show.player.phase == "ended")
        steps = [b.frame.index - a.frame.index for a, b in itertools.pairwise(show.shown)]
        assert max(steps) > 8 and len(show.shown) < 400
        assert show.transport.badges()[0].startswith("8\u00d7: 1 of ") and show.player.missed == 0

    def test_back_at_the_usual_speed_no_frame_is_left_out(self, start):
        show = start(3000)
        show.do("faster")
        show.run(lambda: len(show.shown) > 20)
        show.do("slower")
        count = len(show.shown)
        show.run(lambda: len(show.shown) > count + 5)
        indices = [one.frame.index for one in show.shown[count:]]
        assert indices == list(range(indices[0], indices[0] + len(indices)))

    def test_the_distance_follows_the_measured_rate(self):
        stride = Stride()
        stride.set_speed(8.0)
        least_s = stride.step_s
        for i in range(30):
            stride.update(0.2, 8.0, i * 0.1)  # ten pictures per second, all late
        assert 0.8 <= stride.step_s < 1.2 and stride.step_s > least_s

    def test_a_cut_among_frames_that_are_left_out_still_counts(self):
        class Source:
            live = False

            def frames(self):
                for i in range(6):
                    yield Frame(i, i * 0.1, 0.0, np.zeros((2, 2, 3), np.uint8), continues=i != 3)

        thinned = Thinned(Source())
        thinned.step_s = 0.4
        assert [(one.index, one.continues) for one in thinned.frames()] == [(0, True), (3, False)]

    def test_what_is_said(self):
        assert speed_note(4.0, 0.2, 25.0) == "4\u00d7: 1 of 5 pictures is shown"
        assert speed_note(0.25, 0.0, 25.0) == "0.25\u00d7"


class TestLoopsAndJumps:
    def test_a_stretch_is_played_again_and_again(self, start):
        show = start(500)
        show.transport.loop(2.0, 2.2)
        show.run(lambda: [one.frame.index for one in show.shown].count(2 * RATE_HZ + 3) == 3)
        assert max(one.frame.index for one in show.shown) < 2.2 * RATE_HZ
        show.do("loop end")
        show.run(lambda: show.index > 2.3 * RATE_HZ)

    def test_keys_set_a_loop(self, start):
        show = start(500)
        show.run(lambda: len(show.shown) >= 2)
        show.do("loop start")
        first_s = show.player.position_s
        assert show.transport.loop_s == (first_s, None)
        show.run(lambda: show.player.position_s > first_s + 0.3)
        show.do("loop end")
        assert show.player.loop_s == (first_s, show.transport.loop_s[1]) and show.transport.loop_s[1] > first_s + 0.3

    def test_a_loop_to_the_end_of_the_recording_is_played_again(self, start):
        show = start(50)
        show.transport.loop(0.9, 1.0)
        show.run(lambda: [one.frame.index for one in show.shown].count(47) == 3)
        assert show.player.phase != "failed" and not show.player.paused

    def test_keys_of_a_recording_leave_a_live_source_alone(self, start):
        """A seek would end the alarms: the polyp in view would be announced as a new one."""
        show, sought = start(500, live=True), []
        keys = Transport(show.player, sought.append, lambda: show.alarms, show.said.append).actions()
        names = ("back", "forward", "start", "next alarm", "previous alarm", "loop start", "loop end")
        for name in names:
            keys[name]()
        assert not sought and show.player.loop_s is None
        assert len(show.said) == len(names) and all("see the last seconds again" in text for text in show.said)

    def test_next_and_previous_alarm(self):
        alarms = [(1.0, 2.0), (5.0, 6.0)]
        assert (
            next_alarm_s(alarms, 0.0) == 1.0 and next_alarm_s(alarms, 1.0) == 5.0 and next_alarm_s(alarms, 5.0) is None
        )
        assert previous_alarm_s(alarms, 5.5) == 1.0 and previous_alarm_s(alarms, 7.0) == 5.0
        assert previous_alarm_s(alarms, 1.5) is None

    def test_a_seek_is_the_position_at_once(self, start):
        show = start(500)
        show.run(lambda: len(show.shown) >= 2)
        show.do("next alarm")
        assert show.player.position_s == 1.0
        show.do("next alarm")
        assert show.player.position_s == 3.0
        show.do("next alarm")
        assert show.said[-1] == "No alarm is known later than here"

    def test_home_and_end(self, start):
        show = start(100)
        show.run(lambda: len(show.shown) >= 5)
        show.do("end")
        show.run(lambda: show.player.phase == "ended")
        assert show.index == 99
        show.do("start")
        assert show.player.position_s == 0.0


class TestMemory:
    def test_the_oldest_are_forgotten_first_and_pictures_before_overlays(self):
        history = History(overlay_bytes=3 * 4096, picture_bytes=2 * 48)
        for index in range(5):
            history.add(Frame(index, index / 10, 0.0, np.zeros((4, 4, 3), np.uint8)), None)
        assert [index for index in range(5) if history.find(index)] == [2, 3, 4]
        assert [index for index in range(5) if history.picture(index) is not None] == [3, 4]

    def test_a_picture_that_cannot_be_decoded_ends_the_step(self):
        history = History(picture_bytes=1)

        def none(frame):
            raise LookupError

        stepping = Stepping(history, none)
        for index in range(3):
            stepping.add(Frame(index, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8)), None)
        assert stepping.back(2) and stepping.take() is None and not stepping.waits
        assert stepping.lost is not None and stepping.lost.index == 1  # the feed has to show it
        stepping.leave()
        assert stepping.lost is None

    def test_the_last_seconds_of_a_live_picture_are_kept_and_no_more(self):
        buffer = ReplayBuffer(0.52)
        image = picture(0, (1000, 500))
        for i in range(20):
            buffer.add(Frame(i, 0.0, i / 20, image), NO_SHAPES)
            deadline_s = time.monotonic() + 20
            while not buffer.moments() or buffer.moments()[-1].at_s != i / 20:
                assert time.monotonic() < deadline_s
                time.sleep(0.001)
        moments = buffer.moments()
        buffer.close()
        assert len(moments) == 11 and moments[0].at_s == 9 / 20 and moments[0].image().shape == (400, 800, 3)

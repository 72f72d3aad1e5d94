"""The parts of the player by themselves: when a picture is due, and one feed after another."""

from viewer_fakes import ScriptedFeed

from realtime_polyp.viewer.condition import Failure
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.feed_sequence import FeedSequence
from realtime_polyp.viewer.pacing import IDLE_S
from realtime_polyp.viewer.playhead import Playhead


def test_a_picture_waits_until_it_is_due_and_a_step_does_not() -> None:
    playhead = Playhead()
    assert playhead.wait_s(0.0, 100.0) == 0.0
    playhead.mark_shown(0.0, 100.0)
    assert playhead.wait_s(0.5, 100.0) == IDLE_S and playhead.overdue_s(0.5, 100.0) == -0.5
    playhead.pause(True)
    assert playhead.stands and playhead.present_speed == 0.0
    playhead.steps = 1
    assert not playhead.stands and playhead.wait_s(0.5, 100.0) == 0.0
    playhead.mark_shown(0.5, 100.0)
    assert playhead.stands


def test_a_seek_stays_within_the_recording_and_the_last_one_counts() -> None:
    opened: list[float] = []

    def open_feed(start_s: float) -> ScriptedFeed:
        opened.append(start_s)
        return ScriptedFeed([])

    feeds = FeedSequence(open_feed, SourceInfo("scripted", False, 10.0), lambda: 100.0)
    first = feeds.open(0.0)
    feeds.seek(4.0)
    feeds.seek(12.0)
    assert first.stopped and feeds.phase == "seeking" and feeds.start_s == 9.95
    assert feeds.has_stopped() and feeds.open(1.0).shown_from_s == 9.95
    assert opened == [0.0, 9.95 - 1.3]  # the pre-roll, and a second more


def test_a_feed_that_does_not_end_in_time_is_a_failure() -> None:
    class Hanging(ScriptedFeed):
        def is_over(self) -> bool:
            return False

    now_s = 100.0
    feeds = FeedSequence(lambda start_s: Hanging([]), SourceInfo("scripted", False, 10.0), lambda: now_s)
    feeds.open(0.0)
    feeds.seek(5.0)
    assert not feeds.has_stopped() and feeds.stop_failure() is None
    now_s += 5.1
    assert feeds.stop_failure() == Failure("viewer", "the source did not stop within 5 s")

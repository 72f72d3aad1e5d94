"""The player: plays a source through one feed after another and decides which picture is on the screen, when.

It neither imports Qt nor paints. A seek opens another feed, which starts shortly before the requested time. The tracker
has then analysed some earlier frames, and the first overlay is complete.

Its parts: `feed_sequence` opens and leaves feeds, one display for each kind of feed (such as `synced_display`) chooses
the next picture and its overlay, `playhead` knows when it is due, `presenter` puts it on the screen, `stepping` goes
back to what was shown, and `player_state` tells what goes on.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from realtime_polyp.engines.base import EngineError
from realtime_polyp.session import Display, SessionError
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.ledger import Tally
from realtime_polyp.viewer.condition import Failure, Phase, PlayerState
from realtime_polyp.viewer.display_parts import DisplayParts
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import Feed, OpenFeed
from realtime_polyp.viewer.feed_sequence import FeedSequence, failure_of
from realtime_polyp.viewer.history import History
from realtime_polyp.viewer.immediate_display import ImmediateDisplay
from realtime_polyp.viewer.paced_display import PacedDisplay
from realtime_polyp.viewer.pacing import IDLE_S, POLL_S
from realtime_polyp.viewer.player_state import reading_of, state_of
from realtime_polyp.viewer.playhead import Playhead
from realtime_polyp.viewer.presenter import Presenter
from realtime_polyp.viewer.rates import Reading
from realtime_polyp.viewer.stepping import PicturesOf, Stepping, no_pictures
from realtime_polyp.viewer.synced_display import SyncedDisplay

_CANNOT_OPEN = (SourceError, EngineError, OSError)


class Player:
    """Call `open`, then `tick` repeatedly, each time after the number of seconds that it returned, then `close`. All of
    it on one thread.

    open_feed: opens a feed that starts at a given time.
    info: what is known about the source.
    paint: puts a frame on the screen before it returns, and tells what got there.
    clock: the present time, s.
    pictures: finds pictures that were shown before, for steps back.
    """

    def __init__(
        self,
        open_feed: OpenFeed,
        info: SourceInfo,
        paint: Callable[[DisplayedFrame], Painted],
        *,
        clock: Callable[[], float] = time.monotonic,
        pictures: PicturesOf = no_pictures,
    ) -> None:
        self.info, self._clock = info, clock
        self.feeds, self.playhead = FeedSequence(open_feed, info, clock), Playhead()
        self.presenter, self.stepping = Presenter(paint, clock), Stepping(History(), pictures)
        parts = DisplayParts(self.presenter, self.playhead, self.stepping, clock, self._loop, info.live)
        self._displays: dict[Display, SyncedDisplay | ImmediateDisplay | PacedDisplay] = {
            "synced": SyncedDisplay(parts),
            "immediate": ImmediateDisplay(parts),
            "paced": PacedDisplay(parts),
        }
        self.score_threshold: float | None = None
        self.loop_s: tuple[float, float] | None = None  # the stretch that is played again and again

    # What the user asks for

    def open(self) -> None:
        """Open a feed at the last requested position, and play. Raises what `open_feed` raises."""
        feed = self.feeds.open(self.stepping.lead_s)
        if self.score_threshold is None:
            self.score_threshold = feed.score_threshold
        feed.score_threshold = self.score_threshold
        feed.set_step(self.playhead.step_s)
        for display in self._displays.values():
            display.begin()
        self.playhead.begin()
        self.presenter.begin()
        self._restart_clock()
        feed.start()

    def toggle_pause(self) -> None:
        """Pause or resume; at the end or after a failure, play again."""
        if self.phase in ("ended", "failed") and not self.stepping.is_back:
            self._play_again()
        else:
            self.pause(not self.paused)

    def pause(self, paused: bool) -> None:
        """Stand still on the displayed picture, or play on from it."""
        self.playhead.pause(paused)
        self._restart_clock()
        if not paused and self.stepping.is_back and self.displayed:
            self.seek(self.displayed.frame.pts_s)  # the feed is further: play on from here
        elif paused and self._lacks_own_result():
            self.reopen()  # a picture that stands still is analysed

    def _lacks_own_result(self) -> bool:
        """Whether the analysis of the picture on the screen was skipped to keep pace."""
        if self.feed is None or self.feed.display != "paced" or self.displayed is None or self.stepping.is_back:
            return False
        result = self.displayed.result
        return result is None or result.frame.index != self.displayed.frame.index

    def step(self) -> None:
        """Show the next picture, and pause."""
        if not self.paused:
            self.pause(True)
        if self.displayed and self.stepping.forward(self.displayed.frame.index):
            return
        if self.displayed and (self.stepping.is_back or self.step_s):  # the feed is further, or left it out
            self.seek(self.displayed.frame.pts_s + 2e-3)
        else:
            self.playhead.steps += 1

    def step_back(self) -> None:
        """Show the previous picture of a recording with the overlay that it had, and pause."""
        if self.info.live or self.displayed is None or self.phase not in ("playing", "ended"):
            return
        if not self.paused:
            self.pause(True)
        frame = self.stepping.target or self.displayed.frame
        if not self.stepping.back(frame.index) and frame.pts_s > 0 and self.feed and self.feed.display != "immediate":
            self.seek(frame.pts_s)  # it was not shown yet: the new feed starts before it, shows this one, and goes back
            self.feeds.start_s = frame.pts_s
            self.stepping.land_before()

    def set_speed(self, speed: float) -> None:
        """Play a recording at so many times its own rate. Pictures are left out where analysis cannot keep up."""
        left_out_s = self.step_s
        self.playhead.set_speed(speed)
        if self.feed:
            self.feed.set_step(self.step_s)
        if left_out_s and not self.step_s and self.displayed and self.phase == "playing":
            self.seek(self.displayed.frame.pts_s)  # pictures that wait to be shown are too far apart

    def seek(self, to_s: float) -> None:
        """Go to `to_s` of a recording; the last of several calls counts."""
        if not self.info.live and self.phase != "closed":
            self.stepping.leave()
            self.feeds.seek(to_s)

    def reopen(self) -> None:
        """Open another feed at the same place of a recording."""
        if self.phase == "playing" and self.displayed and not self.info.live:
            self.seek(self.displayed.frame.pts_s)

    def set_score_threshold(self, score_threshold: float) -> None:
        """Apply to the frames to come, and to the frame on the screen while it stands still."""
        lowered = self.score_threshold is None or score_threshold < self.score_threshold
        self.score_threshold = score_threshold
        if self.feed is None:
            return
        self.feed.score_threshold = score_threshold
        if (lowered or self.feed.filters_again) and self.is_still and self.displayed and self.displayed.result:
            # The tracker kept nothing below the old threshold, so the boxes come from the models' raw outputs.
            result = self.feed.reanalyse(self.displayed.result, score_threshold)
            # What one picture alone shows is no alarm.
            again = self.displayed.again or not self.feed.filters_again
            self.presenter.show_again(replace(self.displayed, result=result, again=again))

    def show_tracks_again(self) -> None:
        """Give the picture of a recorded session that stands still the tracks that it has now."""
        feed, shown = self.feed, self.displayed
        if feed and feed.filters_again and self.is_still and shown and shown.result:
            result = feed.reanalyse(shown.result, feed.score_threshold)
            self.presenter.show_again(replace(shown, result=result))

    def close(self, within_s: float = 3.0) -> bool:
        """Leave the feed; False if one of its threads still hangs in a blocked read after `within_s`."""
        return self.feeds.close(within_s)

    # What the user is shown

    @property
    def feed(self) -> Feed | None:
        """The feed that plays, or played last; None before the first."""
        return self.feeds.feed

    @property
    def phase(self) -> Phase:
        return self.feeds.phase

    @property
    def failure(self) -> Failure | None:
        return self.feeds.failure

    @property
    def displayed(self) -> DisplayedFrame | None:
        """The frame on the screen."""
        return self.presenter.displayed

    @property
    def paused(self) -> bool:
        return self.playhead.paused

    @property
    def speed(self) -> float:
        return self.playhead.speed

    @property
    def step_s(self) -> float:
        """Distance of the pictures that are shown while playing fast, s of the video; 0: every picture is."""
        return self.playhead.step_s

    @property
    def shown_s(self) -> float:
        """Time of the picture on the screen, s of the video; before the first, where it begins."""
        return self.displayed.frame.pts_s if self.displayed else self.feeds.start_s

    @property
    def position_s(self) -> float:
        """Time of the picture on the screen, or the target of a seek until its first picture comes, s of the video."""
        awaits_first = self.presenter.awaits_first and not self.info.live
        if self.phase == "seeking" or awaits_first or self.displayed is None:
            return self.feeds.start_s
        return self.displayed.frame.pts_s

    @property
    def is_still(self) -> bool:
        """Whether the same picture stays on the screen."""
        return self.paused or self.phase == "ended"

    @property
    def is_behind(self) -> bool:
        """Whether the newest picture came late: the machine has no time for anything else."""
        return self.phase == "seeking" or (self.phase == "playing" and self.playhead.is_late)

    @property
    def missed(self) -> int:
        """The number of pictures that should have been shown and were not, since the start."""
        return self.feeds.missed

    def tally(self) -> Tally:
        """Count the pictures since the start, over all seeks."""
        return self.feeds.tally()

    def state(self) -> PlayerState:
        """Everything that the condition on the screen depends on."""
        is_back, now_s = self.stepping.is_back, self._clock()
        return state_of(self.feeds, self.presenter, self.playhead, is_back=is_back, now_s=now_s)

    def reading(self) -> Reading:
        """The rates of the last moments; empty while nothing moves."""
        return reading_of(self.feeds, self.presenter, self.playhead, now_s=self._clock())

    # Playing

    def tick(self) -> float:
        """Do what is due; returns after how many seconds to call again."""
        if self.phase == "seeking":
            return self._open_next()
        if step := self.stepping.take():
            return self._show_again(step)
        if self.stepping.lost:
            self.seek(self.stepping.lost.pts_s)
            return 0.0
        feed = self.feed
        if self.phase != "playing" or feed is None:
            return self.stepping.poll_s
        try:
            is_over = feed.is_over()  # before taking results: a feed that is over has delivered all of them
        except SessionError as error:
            return self._fail(failure_of(error, live=self.info.live))
        wait_s = self._displays[feed.display].tick(feed)
        if is_over and wait_s is None:
            return self._end()
        return POLL_S if wait_s is None else wait_s

    def _show_again(self, step: DisplayedFrame) -> float:
        """Paint a picture that was shown before: it is accounted for already."""
        if self.feed and self.feed.filters_again and step.result:  # the threshold may have changed since
            step = replace(step, result=self.feed.reanalyse(step.result, self.feed.score_threshold))
        self.presenter.newest = step.result
        self.playhead.steps = 0
        self.presenter.show_again(step)
        return 0.0

    def _loop(self, pts_s: float) -> bool:
        """Go back to the start of the loop if a picture that is due lies behind its end; returns whether it does."""
        if self.loop_s is None or self.paused or pts_s < self.loop_s[1]:
            return False
        self.seek(self.loop_s[0])
        return True

    def _restart_clock(self) -> None:
        """Playing was interrupted: the next picture is due at once."""
        self.playhead.restart()
        self.presenter.annotated_s = self._clock()
        if self.feed and self.displayed:
            self.feed.set_position(self.displayed.frame.pts_s, self.playhead.present_speed)

    # The end of a feed

    def _open_next(self) -> float:
        """Open the next feed as soon as the last one has ended."""
        if not self.feeds.has_stopped():
            failure = self.feeds.stop_failure()
            return self._fail(failure) if failure else POLL_S
        try:
            self.open()
        except _CANNOT_OPEN as error:
            return self._fail(Failure("viewer", str(error)))
        return 0.0

    def _play_again(self) -> None:
        """Play from the start, or from where a recording failed."""
        resumes = self.phase == "failed" and not self.info.live
        self.feeds.start_s = self.position_s if resumes else self.info.start_s
        self.playhead.paused = False
        self.feeds.change()

    def _fail(self, failure: Failure) -> float:
        """Remove the overlay, keep the last picture, and report the failure."""
        self.feeds.fail(failure)
        self.presenter.remove_overlay()
        return IDLE_S

    def _end(self) -> float:
        """Begin again where that was asked for, unless the user paused on the last picture."""
        self.feeds.end()
        if self.paused:
            return IDLE_S
        if self.loop_s and not self.presenter.awaits_first:  # it ends with the recording: no picture lies behind it
            self.seek(self.loop_s[0])
        elif self.info.loop and self.displayed:
            self._play_again()
        return IDLE_S

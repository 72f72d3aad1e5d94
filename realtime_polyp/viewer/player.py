"""The player: plays a source through one feed after another and decides which picture is on the screen, when.

It neither imports Qt nor paints. A feed cannot rewind: a seek leaves the feed and opens another one, which starts
shortly before the requested time. The tracker has then analysed some earlier frames, and the first overlay is complete.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from realtime_polyp.engines.base import EngineError
from realtime_polyp.outputs.every_picture import OVERLAY_LIMIT_S, SceneWatch
from realtime_polyp.packets import Frame, Result
from realtime_polyp.session import Display, SessionError
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.ledger import NO_TALLY, Tally
from realtime_polyp.viewer.condition import NO_SIGNAL_S, Failure, FormatChange, Phase, PlayerState, Size
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.feed import Feed, OpenFeed
from realtime_polyp.viewer.history import History
from realtime_polyp.viewer.paced_display import PacedDisplay
from realtime_polyp.viewer.pacing import PlaybackClock, Stride
from realtime_polyp.viewer.rates import NO_READING, Rates, Reading, SpeedMeter
from realtime_polyp.viewer.stepping import PicturesOf, Stepping, no_pictures

INTENDED_DROPS = ("pre-roll", "paused", "stopped")
"""Reasons for which a picture is left out on purpose; any other reason means that the viewer missed it."""

_PRE_ROLL_S = 0.3  # a feed starts this much before the requested time
_POLL_S, _IDLE_S, _DUE_S = 0.002, 0.03, 0.0015
_SKIP_S = 0.05  # a picture that is later than this is left out where pace is kept and the next one is due
_STOP_LIMIT_S = 5.0
_BEHIND_S = 0.03
_CANNOT_OPEN = (SourceError, EngineError, OSError)


__all__ = ["OVERLAY_LIMIT_S", "Player"]


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
        self._open_feed, self.info, self._paint, self._clock = open_feed, info, paint, clock
        self.feed: Feed | None = None
        self.displayed: DisplayedFrame | None = None
        self.failure: Failure | None = None
        self.phase: Phase = "ready"
        self.paused = False
        self.score_threshold: float | None = None
        self._playback, self._stride, self._rates = PlaybackClock(), Stride(), Rates()
        self._meter, self._scene, self._paced = SpeedMeter(), SceneWatch(), PacedDisplay()
        self._tally_before = NO_TALLY  # of the feeds before this one
        self.stepping = Stepping(History(), pictures)
        self.loop_s: tuple[float, float] | None = None  # the stretch that is played again and again
        self._next: Result | None = None  # taken from the feed, not due yet
        self._newest: Result | None = None
        self._steps = 0  # pictures to show although paused
        self._awaits_first = False  # the feed has not shown a picture yet
        self._start_s = info.start_s
        self._deadline_s = 0.0
        self._last_picture_s = clock()
        self._format_change: tuple[Size, Size, float] | None = None  # before, after, and when
        self._annotated_s = 0.0  # when a picture was last shown with a result that may be drawn over it
        self._late_s = 0.0  # of the picture on the screen, when it was shown

    # What the user asks for

    def open(self) -> None:
        """Open a feed at the last requested position, and play. Raises what `open_feed` raises."""
        # No pre-roll at the start that the user chose: a recording must not start before it.
        pre_roll_s = 0.0 if self._start_s == self.info.start_s else _PRE_ROLL_S + self.stepping.lead_s
        feed = self._open_feed(max(0.0, self._start_s - pre_roll_s))
        if self.score_threshold is None:
            self.score_threshold = feed.score_threshold
        feed.score_threshold = self.score_threshold
        feed.set_step(self._stride.step_s)
        if not self.info.live:
            feed.shown_from_s = self._start_s
        self._tally_before += self.feed.tally() if self.feed else NO_TALLY
        self.feed, self.phase, self.failure = feed, "playing", None
        self._paced.restart()
        self._scene = SceneWatch()
        self._next = self._newest = None
        self._steps = 1 if self.paused else 0
        self._awaits_first = not self.info.live
        self._stride.restart()
        self._last_picture_s = self._clock()
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
        self.paused, self._steps = paused, 0
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
        if self.displayed and (self.stepping.is_back or self._stride.step_s):  # the feed is further, or left it out
            self.seek(self.displayed.frame.pts_s + 2e-3)
        else:
            self._steps += 1

    def step_back(self) -> None:
        """Show the previous picture of a recording with the overlay that it had, and pause."""
        if self.info.live or self.displayed is None or self.phase not in ("playing", "ended"):
            return
        if not self.paused:
            self.pause(True)
        frame = self.stepping.target or self.displayed.frame
        if not self.stepping.back(frame.index) and frame.pts_s > 0 and self.feed and self.feed.display != "immediate":
            self.seek(frame.pts_s)  # it was not shown yet: the new feed starts before it, shows this one, and goes back
            self._start_s = frame.pts_s
            self.stepping.land_before()

    def set_speed(self, speed: float) -> None:
        """Play a recording at so many times its own rate. Pictures are left out where analysis cannot keep up."""
        left_out_s = self._stride.step_s
        self._playback.set_speed(speed)
        self._meter.restart()
        self._stride.set_speed(speed)
        if self.feed:
            self.feed.set_step(self._stride.step_s)
        if left_out_s and not self._stride.step_s and self.displayed and self.phase == "playing":
            self.seek(self.displayed.frame.pts_s)  # pictures that wait to be shown are too far apart

    @property
    def speed(self) -> float:
        return self._playback.speed

    @property
    def step_s(self) -> float:
        """Distance of the pictures that are shown while playing fast, s of the video; 0: every picture is."""
        return self._stride.step_s

    def seek(self, to_s: float) -> None:
        """Go to `to_s` of a recording; the last of several calls counts."""
        if self.info.live or self.phase == "closed":
            return
        self.stepping.leave()
        latest_s = self.info.duration_s if self.info.duration_s is not None else to_s
        self._start_s = min(max(0.0, to_s), max(0.0, latest_s - 0.05))
        if self.phase != "seeking":
            self._change_feed()

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
            self.displayed = replace(self.displayed, result=result, again=again)
            self._paint(self.displayed)

    def close(self, within_s: float = 3.0) -> bool:
        """Leave the feed; False if one of its threads still hangs in a blocked read after `within_s`."""
        if self.phase == "closed":
            return True
        self._stop_feed()
        self.phase = "closed"
        deadline_s = time.monotonic() + within_s
        while not self._has_stopped():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.005)
        return True

    # What the user is shown

    @property
    def position_s(self) -> float:
        """Time of the picture on the screen, or the target of a seek, s of the video."""
        if self.phase == "seeking" or self._awaits_first or self.displayed is None:
            return self._start_s
        return self.displayed.frame.pts_s

    @property
    def is_still(self) -> bool:
        """Whether the same picture stays on the screen."""
        return self.paused or self.phase == "ended"

    @property
    def missed(self) -> int:
        """The number of pictures that should have been shown and were not, since the start."""
        stages = self.tally().dropped.values()
        return sum(count for stage in stages for reason, count in stage.items() if reason not in INTENDED_DROPS)

    def tally(self) -> Tally:
        """Count the pictures since the start, over all seeks."""
        return self._tally_before + (self.feed.tally() if self.feed else NO_TALLY)

    @property
    def is_behind(self) -> bool:
        """Whether the newest picture came late: the machine has no time for anything else."""
        is_late = self._playback.late_s > _BEHIND_S and not self.paused
        return self.phase == "seeking" or (self.phase == "playing" and is_late)

    def state(self) -> PlayerState:
        """Everything that the condition on the screen depends on."""
        now_s = self._clock()
        newest = self._newest
        display = self.feed.display if self.feed else "synced"
        is_playing = self.phase == "playing" and not self.paused and not self.info.live
        change = self._format_change
        return PlayerState(
            phase="playing" if self.phase == "ended" and self.stepping.is_back else self.phase,
            live=self.info.live,
            paused=self.paused,
            has_picture=self.displayed is not None,
            no_picture_s=now_s - self._last_picture_s,
            late_s=self._late_s,
            overlay_age_s=self._overlay_age_s(display, now_s),
            speed=self._meter.read(now_s) if is_playing else None,
            is_slow=is_playing and self._meter.is_slow(now_s, self.speed),
            keeps_pace=display == "paced",
            every=self.feed.every if self.feed else 1,
            analysed=self._rates.analysed(now_s) if is_playing and display == "paced" else None,
            signal=newest.signal if newest else "ok",
            frame_quality=newest.frame_quality if newest else "clear",
            format_change=FormatChange(change[0], change[1], now_s - change[2]) if change else None,
            failure=self.failure,
            warning=self.feed.warning if self.feed and self.phase == "ended" else None,  # it lists all that was lost
            stall=self.feed.stalled(NO_SIGNAL_S) if self.feed and self.phase == "playing" else None,
            troubles=self.feed.troubles if self.feed and self.phase == "playing" else (),
        )

    def _overlay_age_s(self, display: Display, now_s: float) -> float | None:
        newest = self._newest
        if display == "paced" and self.displayed:
            return self.displayed.frame.pts_s - (newest.frame.pts_s if newest else self._start_s)
        return now_s - self._annotated_s if display == "immediate" and newest else None

    def reading(self) -> Reading:
        """The rates of the last moments; empty while nothing moves."""
        now_s = self._clock()
        is_running = self.phase == "playing" and not self.paused
        has_signal = not self.info.live or now_s - self._last_picture_s <= NO_SIGNAL_S
        if not (is_running and has_signal):
            return NO_READING
        reading = self._rates.read(now_s)
        if self.info.live:
            return reading
        is_slow = self._meter.is_slow(now_s, self.speed)
        return replace(reading, speed=self._meter.read(now_s), is_slow=is_slow)

    # Playing

    def tick(self) -> float:
        """Do what is due; returns after how many seconds to call again."""
        if self.phase == "seeking":
            return self._reopen()
        if step := self.stepping.take():
            return self._show_again(step)
        if self.phase != "playing" or self.feed is None:
            return _POLL_S if self.stepping.waits else _IDLE_S
        try:
            is_over = self.feed.is_over()  # before taking results: a feed that is over has delivered all of them
        except SessionError as error:
            return self._fail(_failure_of(error, live=self.info.live))
        ticks = {"synced": self._tick_synced, "immediate": self._tick_immediate, "paced": self._tick_paced}
        wait_s = ticks[self.feed.display](self.feed)
        if is_over and wait_s is None:
            return self._end(self.feed)
        return _POLL_S if wait_s is None else wait_s

    def _tick_synced(self, feed: Feed) -> float | None:
        """Show each result with its own picture, when it is due; returns None when there is none."""
        self._take_next(feed)
        if self._next is None:
            return None
        now_s = self._clock()
        if self.paused and not self._steps:
            return _POLL_S if self.stepping.waits else _IDLE_S
        if not self.paused and not self.info.live:
            wait_s = self._playback.wait_s(self._next.frame.pts_s, now_s)
            if wait_s > _DUE_S:
                return min(wait_s, _IDLE_S)
        if self.loop_s and not self.paused and self._next.frame.pts_s >= self.loop_s[1]:
            self.seek(self.loop_s[0])
            return 0.0
        result, self._next, self._newest = self._next, None, self._next
        self._steps = max(0, self._steps - 1)
        self._mark_shown(feed, result, now_s)
        self._show(feed, DisplayedFrame(result.frame, result), new_picture=True, new_overlay=True)
        return 0.0

    def _mark_shown(self, feed: Feed, result: Result, now_s: float) -> None:
        """Remember what is shown now, and leave more or fewer pictures out while playing fast."""
        self._playback.mark_shown(result.frame.pts_s, now_s)
        self._meter.add(result.frame.pts_s, now_s)
        if self.info.live:
            return
        self.stepping.add(result.frame, result)
        before = self._stride.step_s
        if not self.paused:
            self._stride.update(self._playback.late_s, self.speed, now_s)
        if self._stride.step_s != before:
            feed.set_step(self._stride.step_s)

    def _show_again(self, step: DisplayedFrame) -> float:
        """Paint a picture that was shown before: it is accounted for already."""
        if self.feed and self.feed.filters_again and step.result:  # the threshold may have changed since
            step = replace(step, result=self.feed.reanalyse(step.result, self.feed.score_threshold))
        self.displayed, self._newest = step, step.result
        self._steps = 0
        self._paint(step)
        return 0.0

    def _take_next(self, feed: Feed) -> None:
        """Take the next result to show. A recording's results come one by one. Of a live source's only the newest
        counts, and none while it is paused."""
        while self._next is None or self.info.live:
            result = feed.next_result()
            if result is None:
                break
            self._last_picture_s = self._clock()
            if self._next:
                feed.count_dropped(self._next.frame, "newer frame")
            is_early = not self.info.live and result.frame.pts_s < self._start_s - 1e-3
            self._next = None if is_early else result
            if is_early:
                self.stepping.add(result.frame, result, shown=False)
                feed.count_dropped(result.frame, "pre-roll")
        if self._next and self.info.live and self.paused and not self._steps and self.displayed:
            feed.count_dropped(self._next.frame, "paused")
            self._next = None

    def _tick_immediate(self, feed: Feed) -> float | None:
        """Show the newest picture at once, with the newest result that is recent enough; returns None when nothing is
        new."""
        frame, result = feed.next_picture(), feed.next_result()
        if frame:
            self._last_picture_s = self._clock()
        if self.paused and self.displayed and not (self._steps and frame):
            return self._stand_still(feed, self.displayed, frame, result)
        self._steps = 0
        self._newest = result or self._newest
        before = self.displayed
        picture = frame or (before.frame if before else None)
        if picture is None:
            return None
        overlay = self._usable_result(picture)
        if frame or (before and overlay is not before.result):
            new_overlay = overlay is not None and (before is None or overlay is not before.result)
            shown = DisplayedFrame(picture, overlay)
            self._show(feed, shown, new_picture=frame is not None, new_overlay=new_overlay)
            if frame and not self.info.live:
                self.stepping.add(frame, overlay)
            return 0.0
        return None

    def _tick_paced(self, feed: Feed) -> float | None:
        """Show each picture of a recording when it is due, with the newest usable result; returns None when there is
        none."""
        picture = self._paced.next_picture(feed, self._start_s)
        if self.displayed and self._paced.has_shown and not self.stepping.is_back:
            self._renew_overlay(feed, self.displayed)
        if picture is None:
            return None
        now_s = self._clock()
        if self.paused and not self._steps:
            return _POLL_S if self.stepping.waits else _IDLE_S
        if not self.paused:
            wait_s = self._playback.wait_s(picture.pts_s, now_s)
            if wait_s > _DUE_S:
                return min(wait_s, _IDLE_S)
        if self.loop_s and not self.paused and picture.pts_s >= self.loop_s[1]:
            self.seek(self.loop_s[0])
            return 0.0
        if not self._steps and self._playback.wait_s(picture.pts_s, now_s) < -_SKIP_S:
            picture = self._paced.take(feed, lambda later: self._playback.wait_s(later.pts_s, now_s) <= 0)
        else:
            picture = self._paced.take(feed, lambda later: False)
        self._steps = max(0, self._steps - 1)
        self._playback.mark_shown(picture.pts_s, now_s)
        self._meter.add(picture.pts_s, now_s)
        feed.set_position(picture.pts_s, 0.0 if self.paused else self.speed)
        overlay = self._paced.overlay_of(picture)
        self._newest = self._paced.newest
        self.stepping.add(picture, overlay)
        self._rates.add_analysed(overlay is not None and overlay.frame.index == picture.index, now_s)
        self._show(feed, DisplayedFrame(picture, overlay), new_picture=True, new_overlay=overlay is not None)
        return 0.0

    def _renew_overlay(self, feed: Feed, displayed: DisplayedFrame) -> None:
        """Show a result that came after its picture, or after one shortly before it."""
        overlay = self._paced.overlay_of(displayed.frame)
        if overlay is None or overlay is displayed.result:
            return
        self._newest = overlay
        if overlay.frame.index == displayed.frame.index:
            self._rates.correct_analysed()
        self.stepping.add(displayed.frame, overlay)
        self._show(feed, DisplayedFrame(displayed.frame, overlay), new_picture=False, new_overlay=True)

    def _restart_clock(self) -> None:
        """Playing was interrupted: the next picture is due at once."""
        self._playback.restart()
        self._meter.restart()
        self._annotated_s = self._clock()
        if self.feed and self.displayed:
            self.feed.set_position(self.displayed.frame.pts_s, 0.0 if self.paused else self.speed)

    def _stand_still(
        self, feed: Feed, displayed: DisplayedFrame, frame: Frame | None, result: Result | None
    ) -> float | None:
        """While paused, drop new pictures, but show the displayed picture's own overlay as soon as it is ready."""
        if frame:
            feed.count_dropped(frame, "paused")
        if result and result.frame is displayed.frame and result is not displayed.result:
            self._newest = result
            self._show(feed, DisplayedFrame(displayed.frame, result), new_picture=False, new_overlay=True)
        return _POLL_S if frame else None

    def _usable_result(self, picture: Frame) -> Result | None:
        """The newest result, unless it is too old, or its picture has another size or shows another scene."""
        newest, now_s = self._newest, self._clock()
        self._scene.update(picture)
        is_usable = newest is not None and self._scene.is_usable(newest, picture, now_s - newest.frame.captured_s)
        if is_usable or not picture.continues:
            self._annotated_s = now_s
        return newest if is_usable else None

    def _show(self, feed: Feed, shown: DisplayedFrame, *, new_picture: bool, new_overlay: bool) -> None:
        """Paint, and account for what was painted."""
        if self.displayed and self.displayed.frame.image.shape != shown.frame.image.shape:
            self._format_change = (_size(self.displayed.frame), _size(shown.frame), self._clock())
        self.displayed, self._awaits_first = shown, False
        if new_picture:
            self._late_s = self._clock() - shown.frame.captured_s
        painted = self._paint(shown)
        now_s = self._clock()
        if new_picture and painted.picture:
            feed.count_shown(shown.frame)
            self._rates.add_picture(shown.frame.captured_s, now_s)
        elif new_picture:
            feed.count_dropped(shown.frame, "window hidden")
        if new_overlay and painted.overlay and shown.result:
            feed.count_annotated(shown.result)
            self._rates.add_overlay(shown.result.frame.captured_s, sum(shown.result.stages_ms.values()), now_s)

    # The end of a feed

    def _change_feed(self) -> None:
        """Stop this feed; `tick` opens the next one as soon as it has ended."""
        self._stop_feed()
        self.phase, self._deadline_s = "seeking", self._clock() + _STOP_LIMIT_S

    def _stop_feed(self) -> None:
        if self.feed:
            self.feed.stop()
        self._next = None

    def _has_stopped(self) -> bool:
        """Whether the feed has ended; its account is then closed. A failure while stopping is ignored."""
        if self.feed is None:
            return True
        try:
            is_over = self.feed.is_over()
        except SessionError:
            is_over = True
        if is_over:
            self.feed.drop_pending()
        return is_over

    def _reopen(self) -> float:
        if not self._has_stopped():
            if self._clock() > self._deadline_s:
                stall = self.feed.stalled(NO_SIGNAL_S) if self.feed else None
                reason = str(stall) if stall else f"the source did not stop within {_STOP_LIMIT_S:g} s"
                return self._fail(Failure("viewer", reason))
            return _POLL_S
        try:
            self.open()
        except _CANNOT_OPEN as error:
            return self._fail(Failure("viewer", str(error)))
        return 0.0

    def _play_again(self) -> None:
        """Play from the start, or from where a recording failed."""
        resumes = self.phase == "failed" and not self.info.live
        self._start_s = self.position_s if resumes else self.info.start_s
        self.paused = False
        self._change_feed()

    def _fail(self, failure: Failure) -> float:
        """Remove the overlay, keep the last picture, and report the failure."""
        self._stop_feed()
        self._has_stopped()
        self.phase, self.failure, self._newest = "failed", failure, None
        if self.displayed:
            self.displayed = replace(self.displayed, result=None)
            self._paint(self.displayed)
        return _IDLE_S

    def _end(self, feed: Feed) -> float:
        feed.drop_pending()
        self.phase = "ended"
        if self.info.loop and self.displayed:
            self._play_again()
        return _IDLE_S


def _size(frame: Frame) -> Size:
    height, width = frame.image.shape[:2]
    return width, height


def _failure_of(error: SessionError, *, live: bool) -> Failure:
    """A live source that reports why there is no picture has lost its signal; anything else is a fault."""
    if live and isinstance(error.__cause__, SourceError):
        return Failure("signal", str(error.__cause__))
    return Failure(error.stage, str(error))

"""Pictures that wait for their results: each is shown with its own overlay."""

from realtime_polyp.packets import Result
from realtime_polyp.viewer.display_parts import DisplayParts
from realtime_polyp.viewer.displayed import DisplayedFrame
from realtime_polyp.viewer.feed import Feed

_ROUNDING_S = 1e-3


class SyncedDisplay:
    """What a synced feed shows, and when."""

    def __init__(self, parts: DisplayParts) -> None:
        self._presenter, self._playhead = parts.presenter, parts.playhead
        self._stepping, self._clock = parts.stepping, parts.clock
        self._loop, self._live = parts.loop, parts.live
        self.begin()

    def begin(self) -> None:
        """Another feed begins."""
        self._next: Result | None = None  # taken from the feed, not due yet

    def tick(self, feed: Feed) -> float | None:
        """Show the next result with its own picture, when it is due; returns after how many seconds to call again, None
        when there is none."""
        self._take_next(feed)
        if self._next is None:
            return None
        now_s, pts_s = self._clock(), self._next.frame.pts_s
        if self._playhead.stands:
            return self._stepping.poll_s
        if not self._live and (wait_s := self._playhead.wait_s(pts_s, now_s)):
            return wait_s
        if self._loop(pts_s):
            return 0.0
        result, self._next, self._presenter.newest = self._next, None, self._next
        self._mark_shown(feed, result, now_s)
        self._presenter.show(feed, DisplayedFrame(result.frame, result), new_picture=True, new_overlay=True)
        return 0.0

    def _mark_shown(self, feed: Feed, result: Result, now_s: float) -> None:
        """Remember what is shown now, and leave more or fewer pictures out while playing fast."""
        playhead = self._playhead
        playhead.mark_shown(result.frame.pts_s, now_s)
        if self._live:
            return
        self._stepping.add(result.frame, result)
        before_s = playhead.step_s
        playhead.update_step(now_s)
        if playhead.step_s != before_s:
            feed.set_step(playhead.step_s)

    def _take_next(self, feed: Feed) -> None:
        """Take the next result to show. A recording's results come one by one. Of a live source's only the newest
        counts, and none while it is paused."""
        while self._next is None or self._live:
            result = feed.next_result()
            if result is None:
                break
            self._presenter.arrived_s = self._clock()
            if self._next:
                feed.count_dropped(self._next.frame, "newer frame")
            is_early = not self._live and result.frame.pts_s < feed.shown_from_s - _ROUNDING_S
            self._next = None if is_early else result
            if is_early:
                self._stepping.add(result.frame, result, shown=False)
                feed.count_dropped(result.frame, "pre-roll")
        if self._next and self._live and self._playhead.stands and self._presenter.displayed:
            feed.count_dropped(self._next.frame, "paused")
            self._next = None

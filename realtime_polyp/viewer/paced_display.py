"""Pictures of a recording at its own rate, each with the newest result that may be drawn over it."""

from collections import deque

from realtime_polyp.outputs.every_picture import SceneWatch
from realtime_polyp.packets import Frame, Result
from realtime_polyp.viewer.display_parts import DisplayParts
from realtime_polyp.viewer.displayed import DisplayedFrame
from realtime_polyp.viewer.feed import Feed

_ROUNDING_S = 1e-3
_SKIP_S = 0.05  # a picture that is later than this is left out where the next one is due


class PacedDisplay:
    """What a feed that keeps pace shows, and when."""

    def __init__(self, parts: DisplayParts) -> None:
        self._presenter, self._playhead = parts.presenter, parts.playhead
        self._stepping, self._clock = parts.stepping, parts.clock
        self._loop = parts.loop
        self.begin()

    def begin(self) -> None:
        """Another feed begins."""
        self._has_shown = False  # a picture of this feed
        self._next: Frame | None = None  # taken from the feed, not due yet
        self._results: deque[Result] = deque()
        self._newest: Result | None = None  # up to the picture on the screen, usable or not
        self._drawn: Result | None = None  # as it came: the screen may show it analysed again, at another threshold
        self._scene = SceneWatch()

    def tick(self, feed: Feed) -> float | None:
        """Show each picture when it is due, with the newest usable result; returns after how many seconds to call
        again, None when there is none."""
        picture, displayed = self._next_picture(feed), self._presenter.displayed
        if displayed and self._has_shown and not self._stepping.is_back:
            self._renew_overlay(feed, displayed)
        if picture is None:
            return None
        now_s = self._clock()
        if self._playhead.stands:
            return self._stepping.poll_s
        if wait_s := self._playhead.wait_s(picture.pts_s, now_s):
            return wait_s
        if self._loop(picture.pts_s):
            return 0.0
        self._show(feed, self._take(feed, picture, now_s), now_s)
        return 0.0

    def _next_picture(self, feed: Feed) -> Frame | None:
        """The picture to show next, which stays the next one until `_take`."""
        while result := feed.next_result():
            self._results.append(result)
        while self._next is None:
            frame = feed.next_picture()
            if frame is None:
                return None
            if frame.pts_s < feed.shown_from_s - _ROUNDING_S:
                feed.count_dropped(frame, "pre-roll")
            else:
                self._next = frame
        return self._next

    def _take(self, feed: Feed, picture: Frame, now_s: float) -> Frame:
        """Take the next picture; where it comes too late and later ones are due already, the last of them."""
        playhead = self._playhead
        self._next, self._has_shown = None, True
        skips = not playhead.steps and playhead.overdue_s(picture.pts_s, now_s) > _SKIP_S
        while (later := feed.next_picture()) is not None:
            if not (skips and playhead.overdue_s(later.pts_s, now_s) >= 0):
                self._next = later
                break
            feed.count_dropped(picture, "newer frame")
            picture = later
        return picture

    def _show(self, feed: Feed, picture: Frame, now_s: float) -> None:
        self._playhead.mark_shown(picture.pts_s, now_s)
        feed.set_position(picture.pts_s, self._playhead.present_speed)
        overlay = self._drawn = self._overlay_of(picture)
        self._presenter.newest = self._newest
        self._stepping.add(picture, overlay)
        self._presenter.rates.add_analysed(overlay is not None and overlay.frame.index == picture.index, now_s)
        shown = DisplayedFrame(picture, overlay)
        self._presenter.show(feed, shown, new_picture=True, new_overlay=overlay is not None)

    def _renew_overlay(self, feed: Feed, displayed: DisplayedFrame) -> None:
        """Show a result that came after its picture, or after one shortly before it."""
        overlay = self._overlay_of(displayed.frame)
        if overlay is None or overlay is self._drawn:
            return
        self._drawn = self._presenter.newest = overlay
        if overlay.frame.index == displayed.frame.index:
            self._presenter.rates.correct_analysed()
        self._stepping.add(displayed.frame, overlay)
        shown = DisplayedFrame(displayed.frame, overlay)
        self._presenter.show(feed, shown, new_picture=False, new_overlay=True)

    def _overlay_of(self, frame: Frame) -> Result | None:
        """The result to draw over the picture on the screen: its own, or the newest one before it that is usable."""
        while self._results and self._results[0].frame.pts_s <= frame.pts_s + _ROUNDING_S:
            self._newest = self._results.popleft()
        self._scene.update(frame)
        newest = self._newest
        usable = newest is not None and self._scene.is_usable(newest, frame, frame.pts_s - newest.frame.pts_s)
        return newest if usable else None

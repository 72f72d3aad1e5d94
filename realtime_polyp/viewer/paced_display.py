"""Pictures of a recording at its own rate, each with the newest result that may be drawn over it."""

from collections import deque
from collections.abc import Callable

from realtime_polyp.outputs.every_picture import SceneWatch
from realtime_polyp.packets import Frame, Result
from realtime_polyp.viewer.feed import Feed

_ROUNDING_S = 1e-3


class PacedDisplay:
    """What waits between a feed that keeps pace and the screen. The player decides when a picture is due."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another feed begins."""
        self.has_shown = False
        """A picture of this feed was taken."""
        self._next: Frame | None = None
        self._results: deque[Result] = deque()
        self._newest: Result | None = None
        self._scene = SceneWatch()

    def next_picture(self, feed: Feed, from_s: float) -> Frame | None:
        """The picture to show next, which stays the next one until `take`; earlier ones than `from_s` are dropped."""
        while result := feed.next_result():
            self._results.append(result)
        while self._next is None:
            frame = feed.next_picture()
            if frame is None:
                return None
            if frame.pts_s < from_s - _ROUNDING_S:
                feed.count_dropped(frame, "pre-roll")
            else:
                self._next = frame
        return self._next

    def take(self, feed: Feed, is_due: Callable[[Frame], bool]) -> Frame:
        """Take the next picture; where later ones are due already, the last of them."""
        taken = self._next
        assert taken is not None, "call next_picture first"
        self._next, self.has_shown = None, True
        while (later := feed.next_picture()) is not None:
            if not is_due(later):
                self._next = later
                break
            feed.count_dropped(taken, "newer frame")
            taken = later
        return taken

    def overlay_of(self, frame: Frame) -> Result | None:
        """The result to draw over the picture on the screen: its own, or the newest one before it that is usable."""
        while self._results and self._results[0].frame.pts_s <= frame.pts_s + _ROUNDING_S:
            self._newest = self._results.popleft()
        self._scene.update(frame)
        newest = self._newest
        usable = newest is not None and self._scene.is_usable(newest, frame, frame.pts_s - newest.frame.pts_s)
        return newest if usable else None

    @property
    def newest(self) -> Result | None:
        """The newest result up to the picture on the screen, usable or not."""
        return self._newest

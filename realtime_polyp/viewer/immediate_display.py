"""Pictures that do not wait for results: each is shown at once, with the newest result that may be drawn over it."""

from realtime_polyp.outputs.every_picture import SceneWatch
from realtime_polyp.packets import Frame, Result
from realtime_polyp.viewer.display_parts import DisplayParts
from realtime_polyp.viewer.displayed import DisplayedFrame
from realtime_polyp.viewer.feed import Feed
from realtime_polyp.viewer.pacing import POLL_S


class ImmediateDisplay:
    """What an immediate feed shows."""

    def __init__(self, parts: DisplayParts) -> None:
        self._presenter, self._playhead = parts.presenter, parts.playhead
        self._stepping, self._clock = parts.stepping, parts.clock
        self._live, self._loop = parts.live, parts.loop
        self.begin()

    def begin(self) -> None:
        """Another feed begins."""
        self._scene = SceneWatch()

    def tick(self, feed: Feed) -> float | None:
        """Show the newest picture at once, with the newest result that is recent enough; returns after how many seconds
        to call again, None when nothing is new."""
        presenter, playhead = self._presenter, self._playhead
        frame, result = feed.next_picture(), feed.next_result()
        if frame:
            presenter.arrived_s = self._clock()
        before = presenter.displayed
        if playhead.paused and before and not (playhead.steps and frame):
            return self._stand_still(feed, before, frame, result)
        if frame and not self._live and self._loop(frame.pts_s):
            feed.count_dropped(frame, "loop")
            return 0.0
        playhead.steps = 0
        presenter.newest = result or presenter.newest
        picture = frame or (before.frame if before else None)
        if picture is None:
            return None
        overlay = self._usable_result(picture)
        if frame or (before and overlay is not before.result):
            new_overlay = overlay is not None and (before is None or overlay is not before.result)
            shown = DisplayedFrame(picture, overlay)
            presenter.show(feed, shown, new_picture=frame is not None, new_overlay=new_overlay)
            if frame and not self._live:
                self._stepping.add(frame, overlay)
            return 0.0
        return None

    def _stand_still(
        self, feed: Feed, displayed: DisplayedFrame, frame: Frame | None, result: Result | None
    ) -> float | None:
        """While paused, drop new pictures, but show the displayed picture's own overlay as soon as it is ready."""
        if frame:
            feed.count_dropped(frame, "paused")
        if result and result.frame.index == displayed.frame.index and result is not displayed.result:
            self._presenter.newest = result
            shown = DisplayedFrame(displayed.frame, result)
            self._presenter.show(feed, shown, new_picture=False, new_overlay=True)
        return POLL_S if frame else None

    def _usable_result(self, picture: Frame) -> Result | None:
        """The newest result, unless it is too old, or its picture has another size or shows another scene."""
        newest, now_s = self._presenter.newest, self._clock()
        self._scene.update(picture)
        is_usable = newest is not None and self._scene.is_usable(newest, picture, now_s - newest.frame.captured_s)
        if is_usable or not picture.continues:
            self._presenter.annotated_s = now_s
        return newest if is_usable else None

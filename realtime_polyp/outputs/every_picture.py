"""The overlay of pictures that were not analysed: the newest result that may be drawn over them, as on the screen."""

from collections import deque

from realtime_polyp.field_of_view import whole
from realtime_polyp.packets import Frame, Result
from realtime_polyp.temporal.camera_motion import Thumbnail, is_other_scene, thumbnail

OVERLAY_LIMIT_S = 0.2
"""An overlay is not shown over pictures when its own frame was captured longer ago than this."""

_WAIT_S = 0.5  # a picture does not wait longer for its own result
_MOST_WAITING = 16
_ROUNDING_S = 1e-6
Drawn = tuple[Frame, Result | None]
"""A picture and the result to draw over it."""


class SceneWatch:
    """Tells which results may be drawn over a picture. Call `update` with each picture, in order."""

    def __init__(self) -> None:
        self._before: tuple[Frame, Thumbnail] | None = None
        self._first_index = 0  # of the scene

    def update(self, frame: Frame) -> None:
        """A picture that has nothing in common with the one before it begins another scene."""
        if self._before is not None and self._before[0] is frame:
            return
        now = thumbnail(frame.image, whole(frame.image))
        before = self._before
        jumps = before is None or not frame.continues or frame.index < before[0].index
        if before is None or jumps or is_other_scene(before[1], now):
            self._first_index = frame.index
        self._before = (frame, now)

    def is_usable(self, result: Result, frame: Frame, age_s: float) -> bool:
        """Whether a result of age `age_s` may be drawn over the newest picture: recent, of the same size, of the same
        scene."""
        same_size = result.frame.image.shape == frame.image.shape
        return same_size and age_s <= OVERLAY_LIMIT_S + _ROUNDING_S and result.frame.index >= self._first_index


class EveryPicture:
    """Joins captured pictures and results: each picture once, in order, with its own result where it has one.

    A picture waits until its own result or a later one is there, but no longer than half a second.
    """

    def __init__(self) -> None:
        self._waiting: deque[Frame] = deque()
        self._newest: Result | None = None
        self._scene = SceneWatch()

    def add_picture(self, frame: Frame) -> list[Drawn]:
        """Take the next picture; return those that wait no longer."""
        self._waiting.append(frame)
        drawn = []
        while len(self._waiting) > _MOST_WAITING or frame.pts_s - self._waiting[0].pts_s > _WAIT_S:
            drawn.append(self._draw(self._waiting.popleft()))
        return drawn

    def add_result(self, result: Result) -> list[Drawn]:
        """Take the next result; return the pictures up to its own."""
        drawn = []
        while self._waiting and self._waiting[0].index < result.frame.index:
            drawn.append(self._draw(self._waiting.popleft()))
        self._newest = result
        if self._waiting and self._waiting[0].index == result.frame.index:
            drawn.append(self._draw(self._waiting.popleft()))
        return drawn

    def flush(self) -> list[Drawn]:
        """Return the pictures that still wait, and begin anew: there are no further results for them."""
        drawn = [self._draw(frame) for frame in self._waiting]
        self._waiting.clear()
        self._newest, self._scene = None, SceneWatch()
        return drawn

    def _draw(self, frame: Frame) -> Drawn:
        self._scene.update(frame)
        newest = self._newest
        if newest is None or newest.frame.index == frame.index:
            return frame, newest
        return frame, newest if self._scene.is_usable(newest, frame, frame.pts_s - newest.frame.pts_s) else None

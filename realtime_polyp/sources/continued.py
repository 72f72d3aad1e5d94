"""A live source that was opened anew, with the index and the clock of the session going on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.wrapper import SourceWrapper

_LEAST_STEP_S = 1e-3


@dataclass(frozen=True)
class LastFrame:
    """Where a session's clock stands.

    Attributes:
        index: of the last frame.
        pts_s: its time on the session's clock.
        captured_s: when it was captured, time.monotonic().
    """

    index: int
    pts_s: float
    captured_s: float


class Continued(SourceWrapper):
    """Yields another live source's frames as the continuation of an earlier one.

    Between both passes as much of the video's time as passed on this machine. The first frame continues nothing.
    """

    def __init__(self, source: Source, last: LastFrame) -> None:
        super().__init__(source)
        self._last = last

    def frames(self) -> Iterator[Frame]:
        first: Frame | None = None
        begin_s = 0.0
        for frame in self.source.frames():
            if first is None:
                first = frame
                begin_s = self._last.pts_s + max(_LEAST_STEP_S, frame.captured_s - self._last.captured_s)
            index = self._last.index + 1 + frame.index - first.index
            pts_s = begin_s + frame.pts_s - first.pts_s
            yield replace(frame, index=index, pts_s=pts_s, continues=frame.continues and frame is not first)

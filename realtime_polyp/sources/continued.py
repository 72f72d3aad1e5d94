"""A live source that was opened anew, with the index and the clock of the session going on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source

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


class Continued:
    """Yields another live source's frames as the continuation of an earlier one.

    Between both passes as much of the video's time as passed on this machine. The first frame continues nothing.
    """

    def __init__(self, source: Source, last: LastFrame) -> None:
        self._source, self._last = source, last

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def reads_ahead(self) -> bool:
        return self._source.reads_ahead

    @property
    def size(self) -> tuple[int, int]:
        return self._source.size

    @property
    def decoder(self) -> str | None:
        return self._source.decoder

    @property
    def rate_hz(self) -> Fraction | None:
        return self._source.rate_hz

    @property
    def frames_total(self) -> int | None:
        return self._source.frames_total

    @property
    def duration_s(self) -> float | None:
        return self._source.duration_s

    @property
    def warning(self) -> str | None:
        return self._source.warning

    def frames(self) -> Iterator[Frame]:
        first: Frame | None = None
        begin_s = 0.0
        for frame in self._source.frames():
            if first is None:
                first = frame
                begin_s = self._last.pts_s + max(_LEAST_STEP_S, frame.captured_s - self._last.captured_s)
            index = self._last.index + 1 + frame.index - first.index
            pts_s = begin_s + frame.pts_s - first.pts_s
            yield replace(frame, index=index, pts_s=pts_s, continues=frame.continues and frame is not first)

    def close(self) -> None:
        self._source.close()

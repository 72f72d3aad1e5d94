"""Leaves pictures of a recording out before they are analysed, so that fast playing keeps its speed."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source


class Thinned:
    """Yields another source's frames, without those that come too soon after the one before. Never live.

    step_s: pictures closer than this to the one before are left out, s of the video; 0: none are. It may be set at any
        time from another thread.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.step_s = source, 0.0

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def live(self) -> bool:
        return self.source.live

    @property
    def reads_ahead(self) -> bool:
        return self.source.reads_ahead

    @property
    def size(self) -> tuple[int, int]:
        return self.source.size

    @property
    def decoder(self) -> str | None:
        return self.source.decoder

    @property
    def rate_hz(self) -> Fraction | None:
        return self.source.rate_hz

    @property
    def frames_total(self) -> int | None:
        return self.source.frames_total

    @property
    def duration_s(self) -> float | None:
        return self.source.duration_s

    @property
    def warning(self) -> str | None:
        return self.source.warning

    def frames(self) -> Iterator[Frame]:
        last_s, continues = -float("inf"), True
        for frame in self.source.frames():
            continues = continues and frame.continues  # a cut among the pictures that are left out still counts
            if continues and 0 <= frame.pts_s - last_s < self.step_s - 1e-3:
                continue
            yield frame if frame.continues == continues else replace(frame, continues=continues)
            last_s, continues = frame.pts_s, True

    def close(self) -> None:
        self.source.close()

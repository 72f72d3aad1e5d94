"""Leaves pictures of a recording out before they are analysed, so that fast playing keeps its speed."""

from collections.abc import Iterator
from dataclasses import replace

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.wrapper import SourceWrapper


class Thinned(SourceWrapper):
    """Yields another source's frames, without those that come too soon after the one before. Never live.

    step_s: pictures closer than this to the one before are left out, s of the video; 0: none are. It may be set at any
        time from another thread.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.step_s = 0.0

    def frames(self) -> Iterator[Frame]:
        last_s, continues = -float("inf"), True
        for frame in self.source.frames():
            continues = continues and frame.continues  # a cut among the pictures that are left out still counts
            if continues and 0 <= frame.pts_s - last_s < self.step_s - 1e-3:
                continue
            yield frame if frame.continues == continues else replace(frame, continues=continues)
            last_s, continues = frame.pts_s, True

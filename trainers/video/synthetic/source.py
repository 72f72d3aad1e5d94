"""A clip as a source of frames like any other, with its truth."""

import time
from collections.abc import Iterator
from fractions import Fraction

from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.packets import Frame
from trainers.video.synthetic.clip import Clip
from trainers.video.synthetic.compression import Coded, compressed


class ClipSource:
    """Draws its frames as they are asked for (realtime_polyp.sources.base.Source); each call begins anew."""

    live = reads_ahead = False
    duration_s: float | None = None
    decoder: str | None = None
    warning: str | None = None

    def __init__(self, clip: Clip) -> None:
        self.clip, self.name, self.size = clip, clip.name, clip.scope.frame_size
        self.rate_hz: Fraction | None = clip.rate_hz
        self.frames_total: int | None = len(clip)
        self._stopped = False

    def truth(self) -> VideoTruth:
        return VideoTruth(self.name, self.size, self.clip.rate_hz, list(self.clip.true_frames()))

    def coded(self) -> Iterator[Coded]:
        """Every picture with its place in the H.264 stream, dropped ones too."""
        return compressed(self.clip.pictures(), rate_hz=self.clip.rate_hz)

    def frames(self) -> Iterator[Frame]:
        """Every frame, also those that a live source would drop: that happens after a source, not in it."""
        self._stopped = False
        for index, coded in enumerate(self.coded()):
            if self._stopped:
                return
            yield Frame(index, float(index / self.clip.rate_hz), time.monotonic(), coded.image)

    def close(self) -> None:
        self._stopped = True

"""Frame sensitivity and specificity (METRICS 4): frame by frame, which is not what a clinic feels."""

from collections.abc import Iterable
from dataclasses import dataclass

from realtime_polyp.metrics.events import SeenFrame
from realtime_polyp.metrics.overlaps import matches, stacked


@dataclass(frozen=True)
class FrameCounts:
    """positive: frames with a polyp, of which `reached` show a box on one. negative: frames without, of which `silent`
    show nothing. Frames with faint polyps only are neither."""

    positive: int = 0
    reached: int = 0
    negative: int = 0
    silent: int = 0

    def __add__(self, other: "FrameCounts") -> "FrameCounts":
        return FrameCounts(
            self.positive + other.positive,
            self.reached + other.reached,
            self.negative + other.negative,
            self.silent + other.silent,
        )

    @property
    def sensitivity(self) -> float | None:
        return self.reached / self.positive if self.positive else None

    @property
    def specificity(self) -> float | None:
        return self.silent / self.negative if self.negative else None


def count_frames(frames: Iterable[SeenFrame]) -> FrameCounts:
    return sum((_counts(frame) for frame in frames), FrameCounts())


def _counts(frame: SeenFrame) -> FrameCounts:
    if frame.polyps:
        return FrameCounts(positive=1, reached=int(matches(frame.shown, stacked(list(frame.polyps.values()))).any()))
    if frame.faint:
        return FrameCounts()
    return FrameCounts(negative=1, silent=int(not len(frame.shown)))

"""Frame sensitivity and specificity (docs/accuracy.md)."""

from collections.abc import Iterable
from dataclasses import dataclass

from realtime_polyp.metrics.events import SeenFrame
from realtime_polyp.metrics.overlaps import matches, stacked


@dataclass(frozen=True)
class FrameCounts:
    """Counts of frames. Frames with only difficult ("faint") polyps count as neither positive nor negative.

    Attributes:
        positive: frames with a polyp.
        reached: positive frames with a box on a polyp.
        negative: frames without a polyp.
        silent: negative frames without a box.
    """

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
    if frame.difficult:
        return FrameCounts()
    return FrameCounts(negative=1, silent=int(not len(frame.shown)))

"""How steady the outline of a polyp stays from frame to frame, and what it is worth (METRICS 4)."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.motion import Region, motion_of, moved_mask
from realtime_polyp.metrics.run_lengths import decode, dice
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame
from realtime_polyp.packets import Boxes

_AROUND = 0.25  # of a polyp's box, on every side: the mask there is told as this polyp's
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MaskStability:
    """Sums over one or more videos. steps: a polyp in two neighbouring frames, with a mask on it in one of them at
    least. frames: with a polyp whose outline is known."""

    steps: int = 0
    step_iou_sum: float = 0.0
    frames: int = 0
    dice_sum: float = 0.0

    def __add__(self, other: "MaskStability") -> "MaskStability":
        return MaskStability(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def step_iou(self) -> float | None:
        """Mean IoU of the mask on a polyp with itself a frame before, moved as the polyp moved; 0 where it went out."""
        return self.step_iou_sum / self.steps if self.steps else None

    @property
    def dice(self) -> float | None:
        """Mean Dice of the drawn mask with the true one: steadiness that is paid for with lag shows here."""
        return self.dice_sum / self.frames if self.frames else None


def mask_stability(truth: VideoTruth, screen: Sequence[ShownFrame]) -> MaskStability:
    """screen: one entry a true frame. No figure where no frame has a mask, as without a segmenter."""
    if all(shown.mask is None for shown in screen):
        return MaskStability()
    pairs = list(zip(truth.frames, screen, strict=True))
    total = sum((_against_truth(true, shown) for true, shown in pairs), MaskStability())
    # One decoded mask at a time and the one before it: a minute of full masks would take gigabytes.
    moments = ((true, _pixels(true, shown, truth.size)) for true, shown in pairs)
    for (before, old), (after, new) in pairwise(moments):
        total += sum(_steps(before, old, after, new), MaskStability())
    return total


def _against_truth(true: TrueFrame, shown: ShownFrame) -> MaskStability:
    if not true.polyps or set(true.masks) != set(true.polyps):
        return MaskStability()
    return MaskStability(
        frames=1, dice_sum=0.0 if shown.mask is None else dice(list(true.masks.values()), [shown.mask])
    )


def _pixels(true: TrueFrame, shown: ShownFrame, size: tuple[int, int]) -> Pixels:
    """The mask (H, W) of a frame; none at all where no polyp is there to hold it against."""
    if not true.polyps:
        return np.zeros((0, 0), np.uint8)
    return np.zeros(size[::-1], np.uint8) if shown.mask is None else decode(shown.mask)


def _steps(before: TrueFrame, old: Pixels, after: TrueFrame, new: Pixels) -> Iterator[MaskStability]:
    for identity in set(before.polyps) & set(after.polyps):
        motion = motion_of(identity, before, after)
        if motion is not None:
            region = _region(after.polyps[identity], new.shape)
            expected, known = moved_mask(old, motion, region)
            x1, y1, x2, y2 = region
            overlap = _iou(expected & known, (new[y1:y2, x1:x2] > 0) & known)
            if overlap is not None:
                yield MaskStability(steps=1, step_iou_sum=overlap)


def _region(box: Boxes, shape: tuple[int, ...]) -> Region:
    """Around a polyp, within the picture; a pixel at least."""
    low, high = np.asarray(box, np.float64).reshape(2, 2)
    margin, limit = _AROUND * (high - low), np.array([shape[1], shape[0]])
    x1, y1 = (int(value) for value in np.clip(np.floor(low - margin), 0, limit - 1))
    x2, y2 = (int(value) for value in np.clip(np.ceil(high + margin), [x1 + 1, y1 + 1], limit))
    return x1, y1, x2, y2


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    """None where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else None

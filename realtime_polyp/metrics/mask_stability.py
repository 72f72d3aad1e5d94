"""Stability and accuracy of the shown masks in videos (docs/accuracy.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.motion import Region, find_motion, warp_mask
from realtime_polyp.metrics.run_lengths import decode, dice
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame
from realtime_polyp.packets import Boxes

_MARGIN = 0.25  # of a polyp's box, on every side; the mask within counts as this polyp's
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MaskStability:
    """Counts and sums over one or more videos. The properties are the figures, None if undefined.

    Attributes:
        steps: pairs of consecutive frames with the same polyp and a mask on it in at least one of them.
        step_iou_sum: over the steps, IoU of the mask with the one before, warped by the true motion.
        frames: frames in which the outline of every polyp is known.
        dice_sum: over these frames, Dice of the shown mask with the true one.
    """

    steps: int = 0
    step_iou_sum: float = 0.0
    frames: int = 0
    dice_sum: float = 0.0

    def __add__(self, other: "MaskStability") -> "MaskStability":
        return MaskStability(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def step_iou(self) -> float | None:
        """Mean IoU of the mask on a polyp with the one before, warped by the true motion; 0 if one is empty."""
        return self.step_iou_sum / self.steps if self.steps else None

    @property
    def dice(self) -> float | None:
        """Mean Dice of the shown mask with the true one. It shows the cost of smoothing: lag lowers it."""
        return self.dice_sum / self.frames if self.frames else None


def mask_stability(truth: VideoTruth, screen: Sequence[ShownFrame]) -> MaskStability:
    """Measure the stability of the shown masks; no figure is defined if no frame has a mask.

    screen: what was shown in each frame of the truth.
    """
    if all(shown.mask is None for shown in screen):
        return MaskStability()
    pairs = list(zip(truth.frames, screen, strict=True))
    total = sum((_mask_accuracy(true, shown) for true, shown in pairs), MaskStability())
    # Decode lazily and hold only two masks: all masks of one minute would take gigabytes.
    decoded = ((true, _decode(true, shown, truth.size)) for true, shown in pairs)
    for (before, old), (after, new) in pairwise(decoded):
        total += sum(_steps(before, old, after, new), MaskStability())
    return total


def _mask_accuracy(true: TrueFrame, shown: ShownFrame) -> MaskStability:
    """Dice of one frame. Frames with a difficult polyp do not count: it has no mask, and to outline it is not wrong."""
    if not true.polyps or true.difficult or set(true.masks) != set(true.polyps):
        return MaskStability()
    return MaskStability(
        frames=1, dice_sum=0.0 if shown.mask is None else dice(list(true.masks.values()), [shown.mask])
    )


def _decode(true: TrueFrame, shown: ShownFrame, size: tuple[int, int]) -> Pixels:
    """Return the mask (H, W) of a frame, or an empty array (0, 0) if the frame has no polyp to compare it with."""
    if not true.polyps:
        return np.zeros((0, 0), np.uint8)
    return np.zeros(size[::-1], np.uint8) if shown.mask is None else decode(shown.mask)


def _steps(before: TrueFrame, old: Pixels, after: TrueFrame, new: Pixels) -> Iterator[MaskStability]:
    """Yield the stability between two consecutive frames, for each polyp in both."""
    for identity in set(before.polyps) & set(after.polyps):
        motion = find_motion(identity, before, after)
        if motion is not None:
            region = _region(after.polyps[identity], new.shape)
            expected, known = warp_mask(old, motion, region)
            x1, y1, x2, y2 = region
            overlap = _iou(expected & known, (new[y1:y2, x1:x2] > 0) & known)
            if overlap is not None:
                yield MaskStability(steps=1, step_iou_sum=overlap)


def _region(box: Boxes, shape: tuple[int, ...]) -> Region:
    """Return the region around a polyp, clipped to the picture; at least one pixel."""
    low, high = np.asarray(box, np.float64).reshape(2, 2)
    margin, limit = _MARGIN * (high - low), np.array([shape[1], shape[0]])
    x1, y1 = (int(value) for value in np.clip(np.floor(low - margin), 0, limit - 1))
    x2, y2 = (int(value) for value in np.clip(np.ceil(high + margin), [x1 + 1, y1 + 1], limit))
    return x1, y1, x2, y2


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    """Return the IoU; None if both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else None

"""Where a true movement takes a box or a mask, so that what is left is unsteadiness of our own."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.truth import Affine, TrueFrame
from realtime_polyp.packets import Boxes

Region = tuple[int, int, int, int]  # x1, y1, x2, y2 px


def motion_of(identity: int, before: TrueFrame, after: TrueFrame) -> Affine | None:
    """From one frame to the next: the truth's own where it has one, else what takes the polyp's box to its next box.

    None across a cut, and where it has no box in one of them.
    """
    if after.cut:
        return None
    if after.motion is not None:
        return after.motion
    old, new = before.box(identity), after.box(identity)
    return None if old is None or new is None else between(old, new)


def between(old: Boxes, new: Boxes) -> Affine:
    """The shift and stretch that take one box (4,) to another."""
    low, high = np.asarray(old, np.float64).reshape(2, 2)
    new_low, new_high = np.asarray(new, np.float64).reshape(2, 2)
    scale = (new_high - new_low) / np.maximum(high - low, 1e-6)
    shift = new_low - scale * low
    return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])


def moved_box(box: Boxes, motion: Affine) -> Boxes:
    """A box (4,) after a movement: the bounds of its inscribed ellipse.

    The corners' bounds would grow with every small turn, to and fro; a polyp's do not.
    """
    low, high = np.asarray(box, np.float64).reshape(2, 2)
    centre = motion[:, :2] @ ((low + high) / 2) + motion[:, 2]
    half = np.sqrt((motion[:, :2] ** 2) @ (((high - low) / 2) ** 2))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def moved_mask(mask: NDArray[np.uint8], motion: Affine, region: Region) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A mask (H, W) of 0 and 1 after a movement, within a region (h, w), and where that is known: what came in from
    beyond the picture is not."""
    x1, y1, x2, y2 = region
    placed = motion - np.array([[0, 0, x1], [0, 0, y1]])
    size = (x2 - x1, y2 - y1)
    # Between pixels, not the nearest: half a pixel of rounding would pass for flicker along the whole edge.
    moved = cv2.warpAffine(mask * np.uint8(255), placed, size, flags=cv2.INTER_LINEAR)
    known = cv2.warpAffine(np.full(mask.shape, 255, np.uint8), placed, size, flags=cv2.INTER_LINEAR)
    return np.asarray(moved >= 128), np.asarray(known >= 255)

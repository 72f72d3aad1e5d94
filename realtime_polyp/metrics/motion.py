"""Warps boxes and masks by the true motion; the difference that remains is jitter of the output."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.truth import Affine, TrueFrame
from realtime_polyp.packets import Boxes

Region = tuple[int, int, int, int]  # x1, y1, x2, y2 px


def find_motion(identity: int, before: TrueFrame, after: TrueFrame) -> Affine | None:
    """Return the motion of a polyp from one frame to the next (2, 3), px.

    It is the motion in the truth if given, else the one that maps the polyp's box to its next box. None across a cut,
    or if the polyp has no box in one of the frames.
    """
    if after.cut:
        return None
    if after.motion is not None:
        return after.motion
    old, new = before.box(identity), after.box(identity)
    return None if old is None or new is None else box_motion(old, new)


def box_motion(old: Boxes, new: Boxes) -> Affine:
    """Return the translation and scaling (2, 3) that map one box (4,) to another."""
    low, high = np.asarray(old, np.float64).reshape(2, 2)
    new_low, new_high = np.asarray(new, np.float64).reshape(2, 2)
    scale = (new_high - new_low) / np.maximum(high - low, 1e-6)
    shift = new_low - scale * low
    return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])


def warp_box(box: Boxes, motion: Affine) -> Boxes:
    """Warp a box (4,) and return the bounding box of its inscribed ellipse.

    The bounding box of the warped corners would grow with every small rotation, in either direction.
    """
    low, high = np.asarray(box, np.float64).reshape(2, 2)
    centre = motion[:, :2] @ ((low + high) / 2) + motion[:, 2]
    half = np.sqrt((motion[:, :2] ** 2) @ (((high - low) / 2) ** 2))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def warp_mask(mask: NDArray[np.uint8], motion: Affine, region: Region) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Warp a mask (H, W) of 0 and 1 and return a region of it (h, w), and where that is known (h, w).

    Pixels that were outside the picture before the motion are not known.
    """
    x1, y1, x2, y2 = region
    placed = motion - np.array([[0, 0, x1], [0, 0, y1]])
    size = (x2 - x1, y2 - y1)
    # Bilinear: rounding to the nearest pixel would look like flicker along the whole edge.
    warped = cv2.warpAffine(mask * np.uint8(255), placed, size, flags=cv2.INTER_LINEAR)
    known = cv2.warpAffine(np.full(mask.shape, 255, np.uint8), placed, size, flags=cv2.INTER_LINEAR)
    return np.asarray(warped >= 128), np.asarray(known >= 255)

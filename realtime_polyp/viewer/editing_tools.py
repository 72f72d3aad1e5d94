"""What the mouse does to boxes and outlines, in px of the source. Without Qt and without a window."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.run_lengths import RunLengths, decode, encode, fill_polygons
from realtime_polyp.review.actions import Box
from realtime_polyp.viewer.judging import PolypBox

Handle = tuple[int, int]
"""What of a box the mouse holds: -1 the left or upper side, 1 the right or lower one, 0 neither; (0, 0) all of it."""
Point = tuple[float, float]

LEAST_SIDE_PX = 6
"""A box that is smaller was not meant: the mouse only clicked."""


def grab(box: Box, point: Point, reach: float) -> Handle | None:
    """Return what of a box lies under the mouse; None: nothing. reach: how far a side may be away, px."""
    x1, y1, x2, y2 = box
    x, y = point
    if not (x1 - reach <= x <= x2 + reach and y1 - reach <= y <= y2 + reach):
        return None
    return _side(x, x1, x2, reach), _side(y, y1, y2, reach)


def _side(at: float, low: float, high: float, reach: float) -> int:
    reach = min(reach, (high - low) / 3)
    return -1 if at - low < reach else 1 if high - at < reach else 0


def grab_one(boxes: Iterable[PolypBox], point: Point, reach: float) -> tuple[PolypBox, Handle] | None:
    """Return the box under the mouse: of several, the smallest."""
    found = [(one, handle) for one in boxes if (handle := grab(one.box, point, reach)) is not None]
    return min(found, key=lambda pair: area_of(pair[0].box), default=None)


def drag(box: Box, handle: Handle, by: Point, size: tuple[int, int]) -> Box:
    """Move or resize a box; it stays in the picture. size: (width, height) of the picture, px."""
    x1, x2 = _drag_sides(box[0], box[2], handle[0], by[0], size[0], moves=handle == (0, 0))
    y1, y2 = _drag_sides(box[1], box[3], handle[1], by[1], size[1], moves=handle == (0, 0))
    return x1, y1, x2, y2


def _drag_sides(low: float, high: float, side: int, by: float, limit: int, *, moves: bool) -> tuple[float, float]:
    if moves:
        by = min(max(by, -low), limit - high)
        return low + by, high + by
    if side < 0:
        return min(max(0.0, low + by), high - LEAST_SIDE_PX), high
    if side > 0:
        return low, max(min(float(limit), high + by), low + LEAST_SIDE_PX)
    return low, high


def span_box(start: Point, end: Point, size: tuple[int, int]) -> Box | None:
    """Return the box between two points, within the picture; None where it is too small to be meant."""
    xs = sorted(min(max(0.0, one[0]), float(size[0])) for one in (start, end))
    ys = sorted(min(max(0.0, one[1]), float(size[1])) for one in (start, end))
    if xs[1] - xs[0] < LEAST_SIDE_PX or ys[1] - ys[0] < LEAST_SIDE_PX:
        return None
    return xs[0], ys[0], xs[1], ys[1]


class BrushMask:
    """An outline that is painted. size: (width, height) of the picture, px; start: the outline to correct."""

    def __init__(self, size: tuple[int, int], start: RunLengths | None = None) -> None:
        self.mask: NDArray[np.uint8] = decode(start).copy() if start else np.zeros(size[::-1], np.uint8)
        self._last: Point | None = None

    def paint(self, point: Point, radius: float, *, erase: bool) -> None:
        """Add or remove what the brush covers from the last point of the stroke to this one."""
        before = self._last or point
        ends = [(round(one[0]), round(one[1])) for one in (before, point)]
        cv2.line(self.mask, ends[0], ends[1], 0 if erase else 1, max(1, round(2 * radius)))
        cv2.circle(self.mask, ends[1], max(1, round(radius)), 0 if erase else 1, -1)
        self._last = point

    def lift(self) -> None:
        """The stroke has ended."""
        self._last = None

    def outline(self) -> RunLengths | None:
        """What was painted; None where nothing is left."""
        return encode(self.mask.astype(np.bool_)) if self.mask.any() else None

    def contours(self) -> list[NDArray[np.int32]]:
        """Its contours, each (n, 2), for drawing."""
        return contours_of(self.mask)


def contours_of(mask: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """The contours of a mask (H, W), each (n, 2)."""
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(one.reshape(-1, 2), np.int32) for one in found]


def polygon_outline(corners: Sequence[Point], size: tuple[int, int]) -> RunLengths | None:
    """The inside of a polygon; None with fewer than three corners, or where it is empty."""
    if len(corners) < 3:
        return None
    filled = fill_polygons([[value for corner in corners for value in corner]], size)
    return encode(filled) if filled.any() else None


def box_around(outline: RunLengths) -> Box:
    """The tight box of an outline that is not empty."""
    ys, xs = np.nonzero(decode(outline))
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def area_of(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])

"""One polyp, one shape: the box and the outline that are drawn for a polyp agree.

The tracker gives a box, the segmenter a probability map of the whole picture. For each box this module picks the region
of the map that is its polyp, and moves both to the weighted mean of the two rectangles: the drawn box is the bounding
box of the drawn outline. On val the mean is better than either (docs/experiments.md). A polyp whose probability
is low everywhere has a faint region: it is cut at a lower level, and the box stays where it is. Stateless.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.packets import Boxes, Mask

Outline = NDArray[np.float32]
"""A closed line (n, 2) xy, source px."""

_LEVEL = 0.5  # of the probability at an outline
_FAINT_LEVELS = (0.3, 0.1, 0.03)  # in this order, where _LEVEL gives no region that agrees with the box
_LEAST_CELLS = 12  # of the model's map: smaller connected regions are noise
_FINE = 4  # the map is coarse: it is enlarged before it is cut, or the outline is a staircase
_MARGIN = 0.25  # of the box's size: a region is cut where it reaches further beyond the box
_LEAST_IOU = 0.3  # of region and box
_LEAST_FAINT_IOU = 0.5  # more than the 0.44 of a box with a region that fills all of its surroundings
_BOX_SHARE = 0.25  # of the box in the mean of the two rectangles; chosen on val


@dataclass(frozen=True)
class PolypShape:
    """What is drawn for one polyp.

    Attributes:
        box: (4,) xyxy, source px: the bounding box of the outline, or the box that was given where there is none.
        outline: of the polyp; None where the mask has no region that agrees with the box.
    """

    box: Boxes
    outline: Outline | None


def polyp_shapes(
    boxes: Boxes, mask: Mask | None, *, least_iou: float = _LEAST_IOU, box_share: float = _BOX_SHARE
) -> list[PolypShape]:
    """Return one shape for each box (n, 4) xyxy source px. A part of the mask belongs to the nearest box.

    least_iou: of a region with its box; below it, the region is not taken for this polyp. box_share: of the box in the
    mean of the two rectangles; 1: the box stays where it is, and the outline is moved to it.
    """
    if mask is None or not len(boxes):
        return [PolypShape(box, None) for box in boxes]
    fine = _enlarge(mask)
    corner, cell = _grid(mask, fine)
    placed = ((boxes - np.tile(corner, 2)) / np.tile(cell, 2)).astype(np.float32)
    shapes = []
    for index, box in enumerate(boxes):
        line, level = _own_line(index, placed, fine, least_iou)
        share = box_share if level == _LEVEL else 1.0
        shapes.append(PolypShape(box, None) if line is None else _meet(box, line * cell + corner, share))
    return shapes


def outlines_of(mask: Mask) -> tuple[Outline, ...]:
    """Return the outlines of all regions of a mask, for a run without a detector."""
    fine = _enlarge(mask)
    corner, cell = _grid(mask, fine)
    return tuple((line + 0.5) * cell + corner for line in _lines((fine >= _LEVEL).astype(np.uint8)))


def _own_line(index: int, boxes: Boxes, fine: NDArray[np.float32], least_iou: float) -> tuple[Outline | None, float]:
    """Return the outline of one of the boxes (n, 4), both in px of the enlarged map (h, w), and its level."""
    rows, columns = _window(boxes[index], fine.shape)
    part = fine[rows, columns]
    if not part.size:
        return None, _LEVEL
    offset = np.array([columns.start, rows.start], np.float32)
    moved = np.asarray(boxes - np.tile(offset, 2), np.float32)
    part = _own_part(part, index, moved)
    for level in (_LEVEL, *_FAINT_LEVELS):
        least = least_iou if level == _LEVEL else max(least_iou, _LEAST_FAINT_IOU)
        line = _best_line(part >= level, moved[index], least)
        if line is not None:
            return line + 0.5 + offset, level
    return None, _LEVEL


def _window(box: Boxes, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of the map around a box (4,), as far as its region may reach."""
    margin = _MARGIN * (box[2:] - box[:2])
    low = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
    high = np.minimum(np.ceil(box[2:] + margin), shape[1::-1]).astype(int)
    return slice(int(low[1]), max(int(low[1]), int(high[1]))), slice(int(low[0]), max(int(low[0]), int(high[0])))


def _own_part(part: NDArray[np.float32], index: int, boxes: Boxes) -> NDArray[np.float32]:
    """Return the part (h, w) of the map with 0 wherever another of the boxes (n, 4) is nearer, in units of its size."""
    height, width = part.shape
    others = [
        other
        for other in range(len(boxes))
        if other != index and (boxes[other, :2] < (width, height)).all() and (boxes[other, 2:] > 0).all()
    ]
    if not others:
        return part
    ys, xs = np.ogrid[0.5 : height + 0.5, 0.5 : width + 0.5]
    distances = {one: _distance(boxes[one], xs, ys) for one in (index, *others)}
    nearest = np.min([distances[other] for other in others], axis=0)
    return np.where(distances[index] <= nearest, part, np.float32(0))


def _distance(box: Boxes, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the points lie from the box's centre, 1 at its sides."""
    half_x, half_y = np.maximum((box[2:] - box[:2]) / 2, 0.5)
    x, y = (box[:2] + box[2:]) / 2
    return np.asarray(np.maximum(np.abs(xs - x) / half_x, np.abs(ys - y) / half_y), np.float64)


def _best_line(inside: NDArray[np.bool_], box: Boxes, least_iou: float) -> Outline | None:
    """Return the outline of the region (h, w) that agrees best with the box (4,), both in px of the enlarged map."""
    lines = _lines(inside.astype(np.uint8))
    if not lines:
        return None
    around = np.array([[*line.min(axis=0), *(line.max(axis=0) + 1)] for line in lines], np.float32)
    overlaps = iou_matrix(box[None], around)[0]
    best = int(overlaps.argmax())
    return lines[best] if overlaps[best] >= least_iou else None


def _lines(binary: NDArray[np.uint8]) -> Sequence[Outline]:
    """Return the outlines (n, 2) of the regions that are large enough, px of the enlarged map."""
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
    large = [contour for contour in contours if cv2.contourArea(contour) >= _LEAST_CELLS * _FINE**2]
    return [contour[:, 0].astype(np.float32) for contour in large]


def _meet(box: Boxes, outline: Outline, box_share: float) -> PolypShape:
    """Move a box (4,) and an outline to the weighted mean of the two rectangles."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    around = np.concatenate([low, high])
    mean = box_share * box + (1 - box_share) * around
    scale = (mean[2:] - mean[:2]) / np.maximum(high - low, 1e-3)
    return PolypShape(mean.astype(np.float32), ((outline - low) * scale + mean[:2]).astype(np.float32))


def _enlarge(mask: Mask) -> NDArray[np.float32]:
    height, width = mask.probability.shape
    size = (width * _FINE, height * _FINE)
    return cv2.resize(mask.probability, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _grid(mask: Mask, fine: NDArray[np.float32]) -> tuple[Boxes, Boxes]:
    """Return where the map begins and the size of one px of the enlarged map, both (2,) xy source px."""
    field = mask.field_of_view
    cell = np.array([field.width / fine.shape[1], field.height / fine.shape[0]], np.float32)
    return np.array([field.x1, field.y1], np.float32), cell

"""Tells which boxes are of one polyp where the labels do not say: those that overlap from one frame to the next."""

from collections.abc import Sequence

import numpy as np

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.packets import Boxes

LEAST_IOU = 0.1
LONGEST_GAP_S = 1.0  # a polyp that was not labelled for longer is another one


def link_boxes(frames: Sequence[int], boxes: Sequence[Boxes], *, rate_hz: float) -> list[int]:
    """Return the number of each box's polyp, from 1. frames: index of each box's frame; boxes: (4,) xyxy px each.

    Best overlaps first, a box continues the polyp whose last box, at most LONGEST_GAP_S ago, it overlaps by LEAST_IOU.
    """
    numbers = [0] * len(boxes)
    last: dict[int, tuple[int, Boxes]] = {}  # polyp: frame and box
    places: dict[int, list[int]] = {}  # frame: its boxes
    for place, frame in enumerate(frames):
        places.setdefault(frame, []).append(place)
    for frame, here in sorted(places.items()):
        recent = [one for one, (before, _) in last.items() if frame - before <= LONGEST_GAP_S * rate_hz]
        _continue_polyps(here, recent, last, boxes, numbers)
        for place in here:
            numbers[place] = numbers[place] or len(last) + 1
            last[numbers[place]] = (frame, boxes[place])
    return numbers


def _continue_polyps(
    here: Sequence[int],
    recent: Sequence[int],
    last: dict[int, tuple[int, Boxes]],
    boxes: Sequence[Boxes],
    numbers: list[int],
) -> None:
    if not here or not recent:
        return
    overlaps = iou_matrix(np.stack([boxes[place] for place in here]), np.stack([last[one][1] for one in recent]))
    while overlaps.max() >= LEAST_IOU:
        row, column = divmod(int(overlaps.argmax()), len(recent))
        numbers[here[row]] = recent[column]
        overlaps[row, :] = overlaps[:, column] = 0

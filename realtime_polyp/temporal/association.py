"""Match boxes with tracks: greedily by IoU, or by proximity for boxes that moved too far to overlap."""

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled
from realtime_polyp.geometry import pairwise_iou
from realtime_polyp.packets import Boxes

_SIZE_RATIO = 3.0  # largest ratio of the areas of two boxes that can be the same polyp


def match(tracks: list[Boxes], found: Boxes, least_iou: float) -> dict[int, int]:
    """Return {index of the track: index of the detection}, best IoU first, each used once, none below `least_iou`."""
    if not tracks or not len(found):
        return {}
    pairs = greedy(pairwise_iou(np.stack(tracks), found), np.float32(least_iou))
    return {int(track): int(detection) for track, detection in pairs}


@compiled()
def greedy(similarity: NDArray[np.float32], least: np.float32) -> NDArray[np.int64]:
    """Return pairs (k, 2) in order of falling similarity; ties go to the first track, then the first detection."""
    rows, columns = similarity.shape
    pairs = np.empty((min(rows, columns), 2), np.int64)
    left = similarity.copy()
    for count in range(len(pairs)):
        best, row, column = np.float32(-1), 0, 0
        for i in range(rows):
            for j in range(columns):
                if left[i, j] > best:
                    best, row, column = left[i, j], i, j
        if best < least:
            return pairs[:count]
        pairs[count, 0], pairs[count, 1] = row, column
        left[row, :] = -1
        left[:, column] = -1
    return pairs


@compiled()
def proximity(a: Boxes, b: Boxes, reach: float = 1.0) -> NDArray[np.float32]:
    """Return the proximity (n, m) of boxes a (n, 4) and b (m, 4), xyxy.

    1 where centres coincide, falling to 0 where neither centre lies in the other box, or sizes are too different.
    reach: the boxes are scaled by this much first.
    """
    result = np.zeros((len(a), len(b)), np.float32)
    for i in range(len(a)):
        for j in range(len(b)):
            width = reach * max(a[i, 2] - a[i, 0], b[j, 2] - b[j, 0]) / 2
            height = reach * max(a[i, 3] - a[i, 1], b[j, 3] - b[j, 1]) / 2
            areas = (a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1]), (b[j, 2] - b[j, 0]) * (b[j, 3] - b[j, 1])
            if width <= 0 or height <= 0 or max(areas) > _SIZE_RATIO * min(areas):
                continue
            across = abs(a[i, 0] + a[i, 2] - b[j, 0] - b[j, 2]) / 2 / width
            down = abs(a[i, 1] + a[i, 3] - b[j, 1] - b[j, 3]) / 2 / height
            result[i, j] = max(np.float32(0), np.float32(1 - max(across, down)))
    return result

"""From a model's raw candidates to detections and masks in source pixels."""

import numba
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import Detections, Mask
from realtime_polyp.preprocess.letterbox import Placement

NMS_IOU = 0.01  # the paper's: polyps in one picture do not overlap
SCORE_THRESHOLD = 0.3
WEAK_THRESHOLD = 0.1
MOST_DETECTIONS = 100
_MOST_CANDIDATES = 1000  # of the best, before NMS


def detections_of(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    placement: Placement,
    *,
    score_threshold: float = SCORE_THRESHOLD,
    nms_iou: float = NMS_IOU,
) -> Detections:
    """Predictions of one image, boxes (P, 4) model px and scores (P,) -> detections in source px, best first."""
    chosen = np.flatnonzero(scores >= score_threshold)
    order = chosen[np.argsort(-scores[chosen], kind="stable")[:_MOST_CANDIDATES]]
    moved = placement.boxes_to_source(boxes[order])
    has_area = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
    moved, order = moved[has_area], order[has_area]
    kept = nms(moved, nms_iou)[:MOST_DETECTIONS]
    return Detections(moved[kept], scores[order[kept]].astype(np.float32))


def stronger(detections: Detections, score_threshold: float) -> Detections:
    """Those that reach the threshold."""
    count = int((detections.scores >= score_threshold).sum())
    return Detections(detections.boxes[:count], detections.scores[:count])


def mask_of(probability: NDArray[np.float32], placement: Placement, size: tuple[int, int]) -> Mask:
    """The field's part of a map (h', w') of the input size (h, w): the padding cut away, nothing scaled or moved, and
    what was mirrored turned back.

    The map's cells must be of the size that placements keep to: 1, 2 or 4 px.
    """
    rows, columns = placement.inner(size[0] // probability.shape[0])
    inner = probability[rows, columns]
    return Mask(np.ascontiguousarray(inner[:, ::-1] if placement.hflip else inner, np.float32), placement.field_of_view)


@numba.njit(cache=True)
def nms(boxes: NDArray[np.float32], most_iou: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression of boxes (n, 4) sorted by falling score: indices kept, in order.

    A box goes when its IoU with a kept one exceeds `most_iou`.
    """
    count = len(boxes)
    gone = np.zeros(count, np.bool_)
    kept = np.empty(count, np.int64)
    found = 0
    for i in range(count):
        if gone[i]:
            continue
        kept[found] = i
        found += 1
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        for j in range(i + 1, count):
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if gone[j] or width <= 0 or height <= 0:
                continue
            other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
            gone[j] = width * height > most_iou * (area + other - width * height)
    return kept[:found]

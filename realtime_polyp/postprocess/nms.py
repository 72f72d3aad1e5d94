"""Convert raw predictions to detections and masks in source pixels; non-maximum suppression."""

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled
from realtime_polyp.packets import Detections, Mask
from realtime_polyp.preprocess.letterbox import Placement

NMS_IOU = 0.01  # the paper's value: polyps in one picture do not overlap
SCORE_THRESHOLD = 0.3
WEAK_THRESHOLD = 0.1
MOST_DETECTIONS = 100
_PRE_NMS_TOP_N = 1000


def detections_of(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    placement: Placement,
    *,
    score_threshold: float = SCORE_THRESHOLD,
    nms_iou: float = NMS_IOU,
) -> Detections:
    """Convert one image's predictions to detections in source px, best first: threshold, top-n, clip, NMS.

    boxes: (P, 4) xyxy, model px. scores: (P,). placement: where the field of view lies in the model's input.
    """
    candidates = np.flatnonzero(scores >= score_threshold)
    order = candidates[np.argsort(-scores[candidates], kind="stable")[:_PRE_NMS_TOP_N]]
    moved = placement.boxes_to_source(boxes[order])
    has_area = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
    moved, order = moved[has_area], order[has_area]
    kept = nms(moved, nms_iou)[:MOST_DETECTIONS]
    return Detections(moved[kept], scores[order[kept]].astype(np.float32))


def stronger(detections: Detections, score_threshold: float) -> Detections:
    """Return the detections that reach the threshold. detections: best first."""
    count = int((detections.scores >= score_threshold).sum())
    return Detections(detections.boxes[:count], detections.scores[:count])


def mask_of(probability: NDArray[np.float32], placement: Placement, size: tuple[int, int]) -> Mask:
    """Cut the padding off a probability map and undo its horizontal flip; nothing is resampled.

    probability: (h', w'), 1, 2 or 4 times smaller than the model's input. size: (h, w) of the input.
    """
    rows, columns = placement.inner(size[0] // probability.shape[0])
    inner = probability[rows, columns]
    return Mask(np.ascontiguousarray(inner[:, ::-1] if placement.hflip else inner, np.float32), placement.field_of_view)


@compiled()
def nms(boxes: NDArray[np.float32], most_iou: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression of boxes (n, 4), best first: return the indices that remain, in order.

    A box is removed when its IoU with a remaining better one exceeds `most_iou`.
    """
    count = len(boxes)
    removed = np.zeros(count, np.bool_)
    kept = np.empty(count, np.int64)
    found = 0
    for i in range(count):
        if removed[i]:
            continue
        kept[found] = i
        found += 1
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        for j in range(i + 1, count):
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if removed[j] or width <= 0 or height <= 0:
                continue
            other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
            removed[j] = width * height > most_iou * (area + other - width * height)
    return kept[:found]

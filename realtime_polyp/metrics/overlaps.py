"""Overlap and matching of boxes."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from realtime_polyp.geometry import intersection_and_union, iou_matrix

Boxes = NDArray[np.float32]

LEAST_IOU = 0.2  # of a shown box with a true one, to count as showing it


def matches(boxes: Boxes, true: Boxes, *, least_iou: float = LEAST_IOU) -> NDArray[np.bool_]:
    """Return (n, m): whether box n of (n, 4) and true box m of (m, 4) have at least this IoU."""
    shared, union = intersection_and_union(boxes, true)
    return np.asarray((shared > 0) & (shared >= least_iou * union))


def false_boxes(shown: Boxes, true: Boxes) -> NDArray[np.bool_]:
    """Return (n,): whether a shown box (n, 4) matches no true box (m, 4)."""
    return np.asarray(~matches(shown, true).any(axis=1))


def pairs(boxes: Boxes, others: Boxes, *, least_iou: float = LEAST_IOU) -> list[tuple[int, int]]:
    """Match boxes (n, 4) one to one with others (m, 4) at the largest sum of IoU; no pair is below `least_iou`."""
    if not len(boxes) or not len(others):
        return []
    overlap = iou_matrix(boxes, others)
    overlap[~matches(boxes, others, least_iou=least_iou)] = 0.0
    rows, columns = linear_sum_assignment(-overlap)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if overlap[row, column] > 0]


def stacked(boxes: "list[Boxes]") -> Boxes:
    """Stack boxes (4,) to an array (n, 4)."""
    return np.stack(boxes) if boxes else np.zeros((0, 4), np.float32)

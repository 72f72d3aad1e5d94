"""Geometry of boxes and pictures: overlap of boxes, clipping to the field of view, downscaling.

Boxes are xyxy. `realtime_polyp.models.boxes` has the same functions for torch tensors.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from realtime_polyp.compiled import compiled
from realtime_polyp.field_of_view import FieldOfView, Image

Boxes = NDArray[np.float32]


@compiled()
def pairwise_iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return the IoU (n, m) of every box of a (n, 4) with every box of b (m, 4), in float32. Compiled, for live use."""
    result = np.zeros((len(a), len(b)), np.float32)
    for i in range(len(a)):
        for j in range(len(b)):
            width = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
            height = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
            if width > 0 and height > 0:
                shared = width * height
                both = (a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1]) + (b[j, 2] - b[j, 0]) * (b[j, 3] - b[j, 1])
                result[i, j] = shared / max(both - shared, np.float32(1e-6))
    return result


def intersection_and_union(
    a: NDArray[Any], b: NDArray[Any], *, dtype: DTypeLike | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the areas of intersection and union (n, m) of every box of a (n, 4) with every box of b (m, 4).

    dtype: precision of the areas; None: that of the boxes.
    """
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = _area(high - low, dtype)
    areas, other_areas = (_area(boxes[:, 2:] - boxes[:, :2], dtype) for boxes in (a, b))
    return shared, areas[:, None] + other_areas[None] - shared


def iou_matrix(a: NDArray[Any], b: NDArray[Any], *, dtype: DTypeLike | None = None) -> NDArray[np.float64]:
    """Return the IoU (n, m) of every box of a (n, 4) with every box of b (m, 4); 0 where both are empty.

    dtype: precision of the areas; None: that of the boxes.
    """
    shared, union = intersection_and_union(a, b, dtype=dtype)
    return np.asarray(np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0), np.float64)


def _area(sides: NDArray[Any], dtype: DTypeLike | None) -> NDArray[Any]:
    """Product of the sides (..., 2); 0 where one is negative."""
    clipped = np.clip(sides, 0, None)
    return np.asarray((clipped if dtype is None else clipped.astype(dtype)).prod(-1))


def clip_boxes(boxes: NDArray[np.float32], field: FieldOfView) -> NDArray[np.float32]:
    """Clip boxes (n, 4) or (4,), source px, to the field of view; a box outside it gets no area."""
    low = np.array([field.x1, field.y1] * 2, np.float32)
    high = np.array([field.x2, field.y2] * 2, np.float32)
    return np.asarray(np.clip(boxes, low, high), np.float32)


def shrink(image: Image, size: tuple[int, int]) -> Image:
    """Resize an image to (h, w): exact halving as often as possible, then linear interpolation.

    This is free of aliasing and, for 1080p, 8 times faster than area interpolation.
    """
    height, width = size
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        halved = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
        image = np.asarray(halved, np.uint8)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

"""Which islands of a mask are drawn: those at a shown box, so that box and mask tell one story."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import Boxes

_NEAR_BOX = 0.25  # of the box's size: an island this far outside every shown box is not drawn


def at_a_box(low: NDArray[np.floating], high: NDArray[np.floating], boxes: Boxes) -> bool:
    """Whether an island from low (x, y) to high (x, y) lies at one of the boxes (n, 4) xyxy, all source px."""
    margin = _NEAR_BOX * (boxes[:, 2:] - boxes[:, :2])
    apart = (high < boxes[:, :2] - margin) | (low > boxes[:, 2:] + margin)
    return bool((~apart.any(axis=1)).any())


def drawn_part(mask: NDArray[np.bool_], boxes: Boxes) -> NDArray[np.bool_]:
    """A mask (H, W) of source px without its islands away from all shown boxes (n, 4) xyxy."""
    if not len(boxes) or not mask.any():
        return np.zeros_like(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    corners = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    sizes = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    drawn = np.array([at_a_box(low, low + size, boxes) for low, size in zip(corners, sizes, strict=True)])
    drawn[0] = False  # what is no island
    return np.asarray(drawn[labels])

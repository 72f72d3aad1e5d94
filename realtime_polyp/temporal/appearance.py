"""Appearance of a polyp, for re-identification: a small colour patch, compared by correlation."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Boxes

Appearance = NDArray[np.float32]

_SIZE_PX = 12
_MARGIN = 0.15  # of the box size: the surroundings help to identify a polyp


def extract_appearance(image: Image, box: Boxes) -> Appearance | None:
    """Cut a zero-mean patch (12, 12, 3) around a box (4,) xyxy px from a frame (H, W, 3).

    None where less than 4 px of the box lie in the frame.
    """
    margin = _MARGIN * np.tile(box[2:] - box[:2], 2) * np.array([-1, -1, 1, 1])
    high = np.tile(image.shape[1::-1], 2)
    x1, y1, x2, y2 = (int(value) for value in np.clip(np.round(box + margin), 0, high))
    if x2 - x1 < 4 or y2 - y1 < 4:
        return None
    across, down = max(1, (x2 - x1) // (2 * _SIZE_PX)), max(1, (y2 - y1) // (2 * _SIZE_PX))
    part = np.ascontiguousarray(image[y1:y2:down, x1:x2:across])
    patch = cv2.resize(part, (_SIZE_PX, _SIZE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(patch - patch.mean(axis=(0, 1)), np.float32)


def similarity(a: Appearance, b: Appearance) -> float:
    """Return the correlation of two patches, -1..1."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size > 0 else 0.0

"""How a polyp looks, to know it again after it was out of sight: a small colour patch, compared by correlation."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Boxes

Appearance = NDArray[np.float32]

_SIZE_PX = 12
_MARGIN = 0.15  # of the box's size: what surrounds a polyp tells it too


def appearance_of(image: Image, box: Boxes) -> Appearance | None:
    """A patch (12, 12, 3) of the frame (H, W, 3) round a box xyxy px, its mean taken out; None off the frame."""
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
    """Correlation of two patches: 1 the same, 0 nothing in common."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size > 0 else 0.0

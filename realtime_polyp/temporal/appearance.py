"""Appearance of a polyp, for re-identification: a small colour patch, compared by correlation."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.geometry import pairwise_iou
from realtime_polyp.packets import Boxes

Appearance = NDArray[np.float32]

_SIZE_PX = 12
_SAME_BOX_IOU = 0.5  # a stored patch stands for a box that overlaps its own by this much
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


class PictureAppearances:
    """Extracts appearances from one frame (H, W, 3), and remembers which.

    taken: the boxes (4,) and their patches, in order; a recorder stores them so that the tracker runs again without
        the picture.
    """

    def __init__(self, image: Image) -> None:
        self._image = image
        self.taken: list[tuple[Boxes, Appearance]] = []

    def extract(self, box: Boxes) -> Appearance | None:
        """As `extract_appearance`."""
        appearance = extract_appearance(self._image, box)
        if appearance is not None:
            self.taken.append((box, appearance))
        return appearance


class StoredAppearances:
    """Appearances of one frame that were extracted when it was recorded: (box (4,), patch (12, 12, 3)) each."""

    def __init__(self, stored: Sequence[tuple[Boxes, Appearance]]) -> None:
        self._stored = stored

    def extract(self, box: Boxes) -> Appearance | None:
        """Return the patch of the stored box that overlaps this one most; None where none has IoU 0.5 or more."""
        if not self._stored:
            return None
        overlaps = pairwise_iou(box[None], np.stack([stored for stored, _ in self._stored]))[0]
        best = int(overlaps.argmax())
        return self._stored[best][1] if overlaps[best] >= _SAME_BOX_IOU else None

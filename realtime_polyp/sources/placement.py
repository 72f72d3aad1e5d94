"""Where the stored pixels of a video are in the picture as displayed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Placement:
    """How stored pixels are displayed: stretched to square pixels, then transposed, then flipped.

    Attributes:
        stored: (width, height) px in the file.
        scaled: the same with square pixels.
        transposed, flip_x, flip_y: the orientation.
    """

    stored: tuple[int, int]
    scaled: tuple[int, int]
    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def turned(self) -> bool:
        return self.transposed or self.flip_x or self.flip_y

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) px as displayed."""
        return self.scaled[::-1] if self.transposed else self.scaled

    def show_box(self, box: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move a box (4,) xyxy from stored to displayed px."""
        corners = np.reshape(box, (2, 2)) * np.divide(self.scaled, self.stored)
        corners = corners[:, ::-1] if self.transposed else corners
        flips, size = np.array([self.flip_x, self.flip_y]), np.array(self.shown, np.float64)
        corners = np.where(flips, size - corners, corners)
        return np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)

    def show_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Move a mask (H, W) from stored to displayed px."""
        scaled = cv2.resize(mask.astype(np.uint8), self.scaled, interpolation=cv2.INTER_NEAREST_EXACT)
        shown = scaled.T if self.transposed else scaled
        return np.asarray(shown[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1], np.bool_)

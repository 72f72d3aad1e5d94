"""The endoscopic field of view: the rectangle of the frame that holds the endoscope's picture.

Around it are banners, text and small pictures. Models see only this rectangle; results are in px of the whole frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

LEAST_SIDE_PX = 32
"""Of a field of view that a person names."""

_SEARCH_WIDTH_PX = 240
_LIT_LEVEL = 32  # of 255, brightest channel; recorders paint the surround up to about 20
_MIN_AREA = 0.08  # of the frame; anything smaller is not the picture
_MIN_COVERED = 0.08  # of the tallest column (row): thinner spurs of the lit region are text or a touching inset


@dataclass(frozen=True)
class FieldOfView:
    """A rectangle of the frame, source px, right and bottom exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        return self.y2 - self.y1

    @property
    def box(self) -> list[int]:
        return [self.x1, self.y1, self.x2, self.y2]

    def crop(self, image: Image) -> Image:
        """Crop an image (H, W, 3) to the field of view, without copying."""
        return image[self.y1 : self.y2, self.x1 : self.x2]

    def union(self, other: "FieldOfView") -> "FieldOfView":
        return FieldOfView(
            min(self.x1, other.x1), min(self.y1, other.y1), max(self.x2, other.x2), max(self.y2, other.y2)
        )

    def contains(self, other: "FieldOfView", *, slack_px: int = 0) -> bool:
        return (
            other.x1 >= self.x1 - slack_px
            and other.y1 >= self.y1 - slack_px
            and other.x2 <= self.x2 + slack_px
            and other.y2 <= self.y2 + slack_px
        )


def parse_field(text: str) -> FieldOfView:
    """Read "x1,y1,x2,y2", px. Raises ValueError with one sentence for anything else, or a side under 32 px."""
    try:
        x1, y1, x2, y2 = (int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is no field of view: give x1,y1,x2,y2 in px, such as 100,0,740,576") from None
    if x1 < 0 or y1 < 0 or x2 - x1 < LEAST_SIDE_PX or y2 - y1 < LEAST_SIDE_PX:
        raise ValueError(
            f"{text!r} is no field of view: its corners must not be negative, x2 and y2 at least {LEAST_SIDE_PX} px "
            "behind x1 and y1"
        )
    return FieldOfView(x1, y1, x2, y2)


def whole(image: Image) -> FieldOfView:
    """Return the field of view that covers the whole image."""
    height, width = image.shape[:2]
    return FieldOfView(0, 0, width, height)


def find_field(image: Image) -> FieldOfView | None:
    """Find the bounding rectangle of the largest lit region of an image (H, W, 3) RGB; None if all of it is dark."""
    step = max(1, image.shape[1] // _SEARCH_WIDTH_PX)
    small = image[::step, ::step]
    region = _largest_region(small.max(axis=2) > _LIT_LEVEL)
    if region is None or region.sum() < _MIN_AREA * region.size:
        return None
    left, right = _covered_span(region.sum(axis=0))
    top, bottom = _covered_span(region.sum(axis=1))
    height, width = image.shape[:2]
    # One search cell of margin: the threshold cuts off the region's rim.
    return FieldOfView(
        max(0, (left - 1) * step),
        max(0, (top - 1) * step),
        min(width, (right + 1) * step),
        min(height, (bottom + 1) * step),
    )


def _largest_region(lit: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _covered_span(counts: NDArray[np.int64]) -> tuple[int, int]:
    covered = np.flatnonzero(counts >= max(1, _MIN_COVERED * counts.max()))
    return int(covered[0]), int(covered[-1]) + 1

"""Contrast of what is drawn over a picture: WCAG 2.2, relative luminance and contrast ratio."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image

ENOUGH = 3.0
"""What WCAG 2.2 asks of graphics, success criterion 1.4.11."""

_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)
_LINEAR = np.array(
    [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.arange(256) / 255], np.float32
)


@dataclass(frozen=True)
class Contrasts:
    """Contrast ratios of a drawing, 1..21, at every px that touches it.

    Attributes:
        line: of the brightest px of the drawing near by: the line itself.
        best: of the line or of its dark edge, whichever has more.
    """

    line: NDArray[np.float32]
    best: NDArray[np.float32]


def luminance(image: Image) -> NDArray[np.float32]:
    """Relative luminance (H, W), 0..1, of an sRGB image (H, W, 3)."""
    return np.asarray(_LINEAR[image] @ _WEIGHTS, np.float32)


def ratio(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contrast ratio, 1..21, of two luminances."""
    return np.asarray((np.maximum(one, other) + 0.05) / (np.minimum(one, other) + 0.05), np.float32)


def contrasts_of(picture: Image, drawn: Image, reach_px: int) -> Contrasts:
    """Contrast between a drawing and the picture that it lies on.

    drawn: the picture (H, W, 3) with the drawing. reach_px: from the outer px of an edge to the middle of its line.
    """
    changed = (picture != drawn).any(axis=2)
    painted, below = luminance(drawn), luminance(picture)
    window = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    brightest = np.asarray(cv2.dilate(np.where(changed, painted, 0).astype(np.float32), window), np.float32)
    darkest = np.asarray(cv2.erode(np.where(changed, painted, 1).astype(np.float32), window), np.float32)
    beside = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~changed
    line, edge = ratio(brightest, below)[beside], ratio(darkest, below)[beside]
    return Contrasts(line, np.maximum(line, edge))

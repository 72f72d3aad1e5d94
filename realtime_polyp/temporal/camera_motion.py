"""How the camera moved from one picture to the next: sparse optical flow, and the similarity that most points follow.

A scope moves more than what it looks at: boxes and masks are carried along with the picture before anything is matched
(the camera compensation of BoT-SORT, Aharon et al. 2022). Pyramidal Lucas-Kanade (Bouguet 2001) on a grid of points of
a small grey picture, then RANSAC.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView, Image

Matrix = NDArray[np.float32]

_WIDTH_PX = 128
_SPACING_PX = 12
_FLOW = {"winSize": (11, 11), "maxLevel": 2, "criteria": (3, 6, 0.03), "minEigThreshold": 2e-4}
_FEWEST_POINTS = 8
_WITHIN_PX = 1.5  # of the small picture
_LEAST_AGREEING = 0.35
_ZOOM = (0.7, 1.4)  # from one frame to the next; beyond, the points lied
_LIT_LEVEL = 24
_RIM = np.ones((9, 9), np.uint8)  # as far from the dark as a point's window reaches
_CUT_BELOW = 0.5  # correlation of two pictures between which no movement was found


@dataclass(frozen=True)
class Thumbnail:
    """grey (h, w) uint8 of the field; cell_px: how many source px one of its px is, across and down."""

    grey: NDArray[np.uint8]
    field_of_view: FieldOfView

    @property
    def cell_px(self) -> tuple[float, float]:
        return self.field_of_view.width / self.grey.shape[1], self.field_of_view.height / self.grey.shape[0]


@dataclass(frozen=True)
class Motion:
    """matrix (2, 3): where a point of the frame before, in source px, is now. known: enough points fuse_box_and_mask on it.

    cut: the two pictures have nothing in common.
    """

    matrix: Matrix
    known: bool = True
    cut: bool = False

    @property
    def zoom(self) -> float:
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2].astype(np.float64)))))


STILL = Motion(np.eye(2, 3, dtype=np.float32))
UNKNOWN = Motion(np.eye(2, 3, dtype=np.float32), known=False)
CUT = Motion(np.eye(2, 3, dtype=np.float32), known=False, cut=True)


class Camera:
    """Tells each frame's movement from the one before; one `update` a frame, in order."""

    def __init__(self) -> None:
        self._before: Thumbnail | None = None

    def update(self, image: Image, field: FieldOfView, *, wanted: bool = True) -> Motion:
        """Of a frame (H, W, 3) RGB and its field. wanted: False only looks, for the next frame's sake."""
        before, self._before = self._before, thumbnail(image, field)
        return camera_motion(before, self._before) if wanted else UNKNOWN


def thumbnail(image: Image, field: FieldOfView) -> Thumbnail:
    """The field's small grey picture, of a frame (H, W, 3) RGB: green alone, the channel in which vessels show."""
    step = max(1, field.width // (2 * _WIDTH_PX))
    green = np.ascontiguousarray(field.crop(image)[::step, ::step, 1])
    height = max(1, round(_WIDTH_PX * field.height / field.width))
    return Thumbnail(cv2.resize(green, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA), field)  # type: ignore[arg-type]


def camera_motion(before: Thumbnail | None, now: Thumbnail) -> Motion:
    """From the frame before to this one; unknown without one, or when the field was found anew elsewhere."""
    if before is None or before.field_of_view != now.field_of_view or before.grey.shape != now.grey.shape:
        return UNKNOWN
    matrix = _similarity(*_followed(before.grey, now.grey))
    if matrix is not None:
        return Motion(_in_source_px(matrix, now))
    return CUT if _alike(before.grey, now.grey) < _CUT_BELOW else UNKNOWN


def _followed(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> tuple[Matrix, Matrix]:
    """Points of a grid (n, 2) and where they went (n, 2), of those that could be followed."""
    height, width = before.shape
    half = _SPACING_PX // 2
    columns, rows = np.meshgrid(np.arange(half, width, _SPACING_PX), np.arange(half, height, _SPACING_PX))
    inner = cv2.erode(before, _RIM)[rows, columns] >= _LIT_LEVEL  # the surround stands still whatever the camera does
    grid = np.stack([columns[inner], rows[inner]], 1).astype(np.float32)
    if not len(grid):
        return grid, grid
    went, found, _ = cv2.calcOpticalFlowPyrLK(before, now, grid, None, **_FLOW)  # type: ignore[call-overload]
    kept = found.ravel() == 1
    return grid[kept], went[kept]


def _similarity(points: Matrix, went: Matrix) -> NDArray[np.float64] | None:
    """Shift, turn and zoom (2, 3) that most points follow, in the small picture's px; None when too few agree."""
    if len(points) < _FEWEST_POINTS:
        return None
    matrix, agreeing = cv2.estimateAffinePartial2D(points, went, method=cv2.RANSAC, ransacReprojThreshold=_WITHIN_PX)
    if matrix is None or agreeing.mean() < _LEAST_AGREEING:
        return None
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    return np.asarray(matrix, np.float64) if _ZOOM[0] <= zoom <= _ZOOM[1] else None


def _alike(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> float:
    """Correlation of both pictures where either is lit, without fine detail, which blur takes away; at most 1."""
    height, width = now.shape
    size = (max(1, width // 8), max(1, height // 8))
    a, b = (cv2.resize(one, size, interpolation=cv2.INTER_AREA).astype(np.float32) for one in (before, now))
    lit = np.maximum(a, b) >= _LIT_LEVEL
    if not lit.any():
        return 1.0
    a, b = a[lit] - a[lit].mean(), b[lit] - b[lit].mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else 0.0


def _in_source_px(matrix: NDArray[np.float64], now: Thumbnail) -> Matrix:
    """The same movement, of source px. Sampling at cell centres: the half px cancels within a few hundredths."""
    across, down = now.cell_px
    to_source = np.array([[across, 0, now.field_of_view.x1], [0, down, now.field_of_view.y1], [0, 0, 1]])
    moved = to_source @ np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(to_source)
    return np.asarray(moved[:2], np.float32)

"""Estimate the camera motion between frames: sparse optical flow, and the similarity transform that most points follow.

An endoscope moves more than the tissue does. Boxes and masks are warped with the camera before they are matched (camera
motion compensation, as in BoT-SORT, Aharon et al., 2022). The flow is pyramidal Lucas-Kanade (Bouguet, 2001) on a grid
of points of a small grey picture; RANSAC finds the transform.
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
_MIN_POINTS = 8
_INLIER_PX = 1.5  # of the small picture
_MIN_INLIERS = 0.35  # share of the points
_ZOOM = (0.7, 1.4)  # from one frame to the next; anything beyond is a wrong fit
_LIT_LEVEL = 24  # of 255; darker pixels are surround or lumen
_RIM = np.ones((9, 9), np.uint8)  # keeps the window of a point away from the dark surround
_CUT_BELOW = 0.5  # correlation; applies where no motion was found


@dataclass(frozen=True)
class Thumbnail:
    """A small grey picture of the field of view.

    Attributes:
        grey: (h, w) uint8.
        field_of_view: the region of the frame that it shows.
    """

    grey: NDArray[np.uint8]
    field_of_view: FieldOfView

    @property
    def cell_px(self) -> tuple[float, float]:
        """Source px per thumbnail px, horizontally and vertically."""
        return self.field_of_view.width / self.grey.shape[1], self.field_of_view.height / self.grey.shape[0]


@dataclass(frozen=True)
class Motion:
    """Camera motion between two consecutive frames.

    Attributes:
        matrix: (2, 3) similarity transform that maps points of the previous frame to this one, source px.
        known: enough points agree on the matrix; otherwise it is the identity.
        cut: the two pictures have nothing in common.
    """

    matrix: Matrix
    known: bool = True
    cut: bool = False

    @property
    def zoom(self) -> float:
        """Scale factor of the matrix."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2].astype(np.float64)))))


STILL = Motion(np.eye(2, 3, dtype=np.float32))
UNKNOWN = Motion(np.eye(2, 3, dtype=np.float32), known=False)
CUT = Motion(np.eye(2, 3, dtype=np.float32), known=False, cut=True)


class Camera:
    """Estimates the motion of each frame relative to the previous one. Call `update` once per frame, in order."""

    def __init__(self) -> None:
        self._before: Thumbnail | None = None

    def update(self, image: Image, field: FieldOfView, *, estimate: bool = True) -> Motion:
        """Return the motion of a frame (H, W, 3) RGB. estimate: False only stores the frame and returns UNKNOWN."""
        before, self._before = self._before, thumbnail(image, field)
        return camera_motion(before, self._before) if estimate else UNKNOWN


def thumbnail(image: Image, field: FieldOfView) -> Thumbnail:
    """Return a small picture of the field in a frame (H, W, 3) RGB: the green channel, in which vessels stand out."""
    step = max(1, field.width // (2 * _WIDTH_PX))
    green = np.ascontiguousarray(field.crop(image)[::step, ::step, 1])
    height = max(1, round(_WIDTH_PX * field.height / field.width))
    return Thumbnail(cv2.resize(green, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA), field)  # type: ignore[arg-type]


def camera_motion(before: Thumbnail | None, now: Thumbnail) -> Motion:
    """Return the motion from the previous frame; UNKNOWN without one, or when the field of view has changed."""
    if before is None or before.field_of_view != now.field_of_view or before.grey.shape != now.grey.shape:
        return UNKNOWN
    matrix = _fit_similarity(*_track_points(before.grey, now.grey))
    if matrix is not None:
        return Motion(_in_source_px(matrix, now))
    return CUT if _correlation(before.grey, now.grey) < _CUT_BELOW else UNKNOWN


def is_other_scene(before: Thumbnail, now: Thumbnail) -> bool:
    """Whether two pictures in a row look like two scenes. Quicker than `camera_motion`, and blind to fast motion."""
    if before.field_of_view != now.field_of_view or before.grey.shape != now.grey.shape:
        return True
    return _correlation(before.grey, now.grey) < _CUT_BELOW


def _track_points(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> tuple[Matrix, Matrix]:
    """Return grid points (n, 2) and their new positions (n, 2), for those that could be tracked."""
    height, width = before.shape
    half = _SPACING_PX // 2
    columns, rows = np.meshgrid(np.arange(half, width, _SPACING_PX), np.arange(half, height, _SPACING_PX))
    inner = cv2.erode(before, _RIM)[rows, columns] >= _LIT_LEVEL  # the dark surround does not move with the camera
    grid = np.stack([columns[inner], rows[inner]], 1).astype(np.float32)
    if not len(grid):
        return grid, grid
    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, now, grid, None, **_FLOW)  # type: ignore[call-overload]
    tracked = status.ravel() == 1
    return grid[tracked], moved[tracked]


def _fit_similarity(points: Matrix, moved: Matrix) -> NDArray[np.float64] | None:
    """Fit shift, rotation and zoom (2, 3), in thumbnail px, to the points; None when too few agree."""
    if len(points) < _MIN_POINTS:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(points, moved, method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX)
    if matrix is None or inliers.mean() < _MIN_INLIERS:
        return None
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    return np.asarray(matrix, np.float64) if _ZOOM[0] <= zoom <= _ZOOM[1] else None


def _correlation(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> float:
    """Return the correlation of both pictures where either is lit; coarse, so that blur does not lower it."""
    height, width = now.shape
    size = (max(1, width // 8), max(1, height // 8))
    a, b = (cv2.resize(one, size, interpolation=cv2.INTER_AREA).astype(np.float32) for one in (before, now))
    lit = np.maximum(a, b) >= _LIT_LEVEL
    if not lit.any():
        return 1.0
    a, b = a[lit] - a[lit].mean(), b[lit] - b[lit].mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def _in_source_px(matrix: NDArray[np.float64], now: Thumbnail) -> Matrix:
    """Convert a matrix (2, 3) from thumbnail to source px. The offset of pixel centres is below 0.05 px and ignored."""
    x_px, y_px = now.cell_px
    to_source = np.array([[x_px, 0, now.field_of_view.x1], [0, y_px, now.field_of_view.y1], [0, 0, 1]])
    moved = to_source @ np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(to_source)
    return np.asarray(moved[:2], np.float32)

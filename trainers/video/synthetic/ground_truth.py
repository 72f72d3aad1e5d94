"""Ground truth of a frame: boxes, masks, motion, and which polyps are too hard to see to be required."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.run_lengths import encode
from realtime_polyp.metrics.truth import TrueFrame
from trainers.video.synthetic.camera import Affine
from trainers.video.synthetic.render import (
    REFERENCE_WIDTH_PX,
    instrument_lines,
    motion_between,
    motion_blur_px,
    water_opacity,
)
from trainers.video.synthetic.scene import Scene
from trainers.video.synthetic.scope import Scope

MIN_AREA_SHARE = 0.0015  # of the field's box, as in the ground truth of the phantom
MIN_LUMA = 40.0
MIN_SHARE = 0.3  # of the polyp that must lie inside the view and not be covered
MAX_MOTION_BLUR, MAX_DEFOCUS = 0.06, 0.014  # of the field's width: beyond, no edge is left
MAX_PRESSED = 0.3
_WATER_HIDES = 0.4
_MIN_PX = 16  # a polyp with fewer pixels is not in the ground truth
RULE = (
    f"a polyp is difficult (not required) where less than {MIN_SHARE:.0%} of it is visible, where it fills less than "
    f"{MIN_AREA_SHARE:.2%} of the field, is darker than {MIN_LUMA:g} of 255 on average, or lies under water for more "
    f"than half, and while the picture has motion blur over {MAX_MOTION_BLUR:.0%} or defocus of {MAX_DEFOCUS:.1%} of "
    "the field's width, or the lens is pressed to the wall"
)


def true_frame(scene: Scene, scope: Scope, place: int) -> TrueFrame:
    """Return the ground truth of a scene's frame `place`."""
    matrix = scene.camera.matrix(place, scope)
    unclear = _is_unclear(scene, scope, place)
    polyps, difficult, masks = {}, {}, {}
    for identity, mask in zip(scene.ids, scene.tissue.masks, strict=False):
        visible = _visible_part(mask, matrix, scene, scope, place)
        if np.count_nonzero(visible) < _MIN_PX:
            continue
        box = _box(visible, scope)
        if unclear or _is_difficult(visible, mask, matrix, scene, scope, place):
            difficult[identity] = box
        else:
            polyps[identity] = box
            masks[identity] = encode(_place_in_frame(visible, scope))
    cut = scene.cut and place == 0
    return TrueFrame(polyps, difficult, cut, masks, _motion(scene, scope, place))


def _motion(scene: Scene, scope: Scope, place: int) -> Affine | None:
    """Return the motion from the previous frame, frame px; None in a scene's first frame."""
    if place == 0:
        return None
    corner = np.array([[1.0, 0, scope.corner[0]], [0, 1, scope.corner[1]], [0, 0, 1]])
    inner = motion_between(scene.camera.matrix(place - 1, scope), scene.camera.matrix(place, scope))
    whole = corner @ np.vstack([inner, [0, 0, 1]]) @ np.linalg.inv(corner)
    return np.asarray(whole[:2])


def _is_unclear(scene: Scene, scope: Scope, place: int) -> bool:
    """Whether the picture is too poor to recognise anything."""
    conditions = scene.conditions
    return bool(
        motion_blur_px(scene.camera, scope, place) > MAX_MOTION_BLUR * scope.size[0]
        or conditions.defocus_px[place] > MAX_DEFOCUS * REFERENCE_WIDTH_PX
        or conditions.pressed[place] > MAX_PRESSED
    )


def _visible_part(mask: NDArray[np.uint8], matrix: Affine, scene: Scene, scope: Scope, place: int) -> NDArray[np.uint8]:
    """Return the visible part of a polyp in the field (h, w), 0 or 1: inside the opening, not behind an instrument."""
    # Interpolation puts its edge where the picture's is, not on the still's coarser grid.
    warped = cv2.warpAffine(mask, matrix, scope.size, flags=cv2.INTER_LINEAR)
    visible = ((warped >= 128) & (scope.opening >= 128)).astype(np.uint8)
    if scene.conditions.instrument[place] > 0:
        cv2.line(visible, *_shaft(scene, scope, place))
    return visible


def _shaft(scene: Scene, scope: Scope, place: int) -> tuple[tuple[int, int], tuple[int, int], int, int]:
    start, tip, thickness = instrument_lines(scene.conditions, scope, place)
    return start, tip, 0, thickness


def _is_difficult(
    visible: NDArray[np.uint8], mask: NDArray[np.uint8], matrix: Affine, scene: Scene, scope: Scope, place: int
) -> bool:
    area = np.count_nonzero(visible)
    whole = np.count_nonzero(mask) * abs(np.linalg.det(matrix[:, :2]))
    if area < MIN_AREA_SHARE * visible.size or area < MIN_SHARE * whole:
        return True
    luma = float(np.mean(cv2.mean(scene.tissue.image, mask)[:3])) * scene.conditions.gain[place]
    return bool(luma < MIN_LUMA or _share_under_water(visible, scene, scope, place) > 0.5)


def _share_under_water(visible: NDArray[np.uint8], scene: Scene, scope: Scope, place: int) -> float:
    """Return the share of a polyp's pixels that water hides."""
    if scene.conditions.water[place] <= 0.05:
        return 0.0
    water = water_opacity(scene.conditions, scope, place)
    small = cv2.resize(visible, water.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    return float((water[small] > _WATER_HIDES).mean()) if small.any() else 0.0


def _box(visible: NDArray[np.uint8], scope: Scope) -> NDArray[np.float32]:
    """Return the tight box (4,) xyxy of a mask in the field, frame px."""
    x, y, width, height = cv2.boundingRect(visible)
    left, top = x + scope.corner[0], y + scope.corner[1]
    return np.array([left, top, left + width, top + height], np.float32)


def _place_in_frame(visible: NDArray[np.uint8], scope: Scope) -> NDArray[np.bool_]:
    width, height = scope.frame_size
    x, y = scope.corner
    mask = np.zeros((height, width), np.bool_)
    mask[y : y + scope.size[1], x : x + scope.size[0]] = visible > 0
    return mask

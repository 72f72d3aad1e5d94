"""What is true of a frame: boxes, masks, movement, and which polyps are too faint to be demanded of anyone."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.run_lengths import encode
from realtime_polyp.metrics.truth import TrueFrame
from trainers.video.synthetic.camera import Affine
from trainers.video.synthetic.render import USUAL_WIDTH_PX, between, instrument_lines, smear_px, water_over
from trainers.video.synthetic.scene import Scene
from trainers.video.synthetic.scope import Scope

MIN_AREA_SHARE = 0.0015  # of the field's box, as in the phantom's truth
MIN_LUMA = 40.0
MIN_SHARE = 0.3  # of the polyp itself, that must be inside the view and not covered
MOST_SMEAR, MOST_DEFOCUS = 0.06, 0.014  # of the field's width: beyond, no edge is left
MOST_PRESSED = 0.3
_WATER_HIDES = 0.4
_LEAST_PX = 16  # fewer are nowhere in the truth
RULE = (
    f"a polyp is faint where less than {MIN_SHARE:.0%} of it is seen, or less than {MIN_AREA_SHARE:.2%} of the field, "
    f"or darker than {MIN_LUMA:g} of 255 on average, or more than half of it under water, or while the picture is "
    f"smeared over {MOST_SMEAR:.0%} or out of focus by {MOST_DEFOCUS:.1%} of the field's width, or pressed to the wall"
)


def true_frame(scene: Scene, scope: Scope, place: int) -> TrueFrame:
    """Of a scene's frame `place`."""
    matrix = scene.camera.matrix(place, scope)
    hard = _hard_to_see(scene, scope, place)
    polyps, faint, masks = {}, {}, {}
    for identity, mask in zip(scene.ids, scene.tissue.masks, strict=False):
        seen = _visible(mask, matrix, scene, scope, place)
        if np.count_nonzero(seen) < _LEAST_PX:
            continue
        box = _box(seen, scope)
        if hard or _is_faint(seen, mask, matrix, scene, scope, place):
            faint[identity] = box
        else:
            polyps[identity] = box
            masks[identity] = encode(_on_screen(seen, scope))
    cut = scene.cut and place == 0
    return TrueFrame(polyps, faint, cut, masks, _motion(scene, scope, place))


def _motion(scene: Scene, scope: Scope, place: int) -> Affine | None:
    """From the frame before, in px of the whole frame; None at a scene's first."""
    if place == 0:
        return None
    corner = np.array([[1.0, 0, scope.corner[0]], [0, 1, scope.corner[1]], [0, 0, 1]])
    inner = between(scene.camera.matrix(place - 1, scope), scene.camera.matrix(place, scope))
    whole = corner @ np.vstack([inner, [0, 0, 1]]) @ np.linalg.inv(corner)
    return np.asarray(whole[:2])


def _hard_to_see(scene: Scene, scope: Scope, place: int) -> bool:
    """Whatever it is: the picture is too bad."""
    conditions = scene.conditions
    return bool(
        smear_px(scene.camera, scope, place) > MOST_SMEAR * scope.size[0]
        or conditions.defocus_px[place] > MOST_DEFOCUS * USUAL_WIDTH_PX
        or conditions.pressed[place] > MOST_PRESSED
    )


def _visible(mask: NDArray[np.uint8], matrix: Affine, scene: Scene, scope: Scope, place: int) -> NDArray[np.uint8]:
    """A polyp in the field (h, w), 0 or 1: inside the opening, not behind an instrument."""
    # Interpolated, so that its edge is where the picture's is, not on the still's coarser grid.
    warped = cv2.warpAffine(mask, matrix, scope.size, flags=cv2.INTER_LINEAR)
    seen = ((warped >= 128) & (scope.opening >= 128)).astype(np.uint8)
    if scene.conditions.instrument[place] > 0:
        cv2.line(seen, *_shaft(scene, scope, place))
    return seen


def _shaft(scene: Scene, scope: Scope, place: int) -> tuple[tuple[int, int], tuple[int, int], int, int]:
    start, tip, thickness = instrument_lines(scene.conditions, scope, place)
    return start, tip, 0, thickness


def _is_faint(
    seen: NDArray[np.uint8], mask: NDArray[np.uint8], matrix: Affine, scene: Scene, scope: Scope, place: int
) -> bool:
    area = np.count_nonzero(seen)
    whole = np.count_nonzero(mask) * abs(np.linalg.det(matrix[:, :2]))
    if area < MIN_AREA_SHARE * seen.size or area < MIN_SHARE * whole:
        return True
    luma = float(np.mean(cv2.mean(scene.tissue.image, mask)[:3])) * scene.conditions.gain[place]
    return bool(luma < MIN_LUMA or _under_water(seen, scene, scope, place) > 0.5)


def _under_water(seen: NDArray[np.uint8], scene: Scene, scope: Scope, place: int) -> float:
    """The share of a polyp's pixels that water hides."""
    if scene.conditions.water[place] <= 0.05:
        return 0.0
    water = water_over(scene.conditions, scope, place)
    small = cv2.resize(seen, water.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    return float((water[small] > _WATER_HIDES).mean()) if small.any() else 0.0


def _box(seen: NDArray[np.uint8], scope: Scope) -> NDArray[np.float32]:
    """Tight, in px of the whole frame."""
    x, y, width, height = cv2.boundingRect(seen)
    left, top = x + scope.corner[0], y + scope.corner[1]
    return np.array([left, top, left + width, top + height], np.float32)


def _on_screen(seen: NDArray[np.uint8], scope: Scope) -> NDArray[np.bool_]:
    width, height = scope.frame_size
    x, y = scope.corner
    mask = np.zeros((height, width), np.bool_)
    mask[y : y + scope.size[1], x : x + scope.size[0]] = seen > 0
    return mask

"""Renders one frame: the still under the moving camera, and everything that degrades the picture on its way."""

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from trainers.video.synthetic.camera import Affine, Camera
from trainers.video.synthetic.conditions import Conditions
from trainers.video.synthetic.scope import Scope

REFERENCE_WIDTH_PX = 840  # width of the field that `Conditions.defocus_px` refers to
_SHUTTER = 0.5  # exposure, as a fraction of a frame's time
_SHARP_PX = 2.5  # a shorter motion blur is invisible
_STEP_PX = 5  # between the images that are averaged to a motion blur
_MAX_STEPS = 9
_COARSE_PX = 14  # a longer motion blur is made at half the size
_PRESSED_RGB = (196, 66, 44)
_WATER_RGB = (226, 222, 196)
_SHAFT = ((70, 74, 82), (128, 134, 140), (188, 192, 196))  # colours of an instrument, from edge to highlight
_SHAFT_WIDTH = 0.085  # as a fraction of the field's width


def render_frame(image: Image, camera: Camera, conditions: Conditions, scope: Scope, place: int, index: int) -> Image:
    """Render the whole frame (H, W, 3) uint8 RGB.

    image: the still's tissue. place: the frame's index in the scene. index: its index in the clip.
    """
    field = render_motion_blur(image, camera, scope, place)
    field = add_water(field, conditions, scope, place)
    field = blur(field, conditions.defocus_px[place] * scope.size[0] / REFERENCE_WIDTH_PX)
    field = press(field, conditions.pressed[place])
    field = add_instrument(field, conditions, scope, place)
    field = scale_light(field, conditions.gain[place])
    field = add_glare(field, conditions, scope, place)
    dimmed = cv2.multiply(field, scope.light, scale=1 / 255)
    noisy = cv2.add(dimmed, scope.frame_noise(index), dtype=cv2.CV_8U)
    visible = cv2.copyTo(noisy, scope.opening, np.zeros_like(noisy))
    return scope.place_in_frame(np.asarray(visible, np.uint8))


def motion_blur_px(camera: Camera, scope: Scope, place: int) -> float:
    """Return how far the picture moves during the exposure, at the point that moves most, field px."""
    corners = np.column_stack([scope.outline * (scope.size[0] / 2) + scope.middle, np.ones(len(scope.outline))])
    before, after = (camera.matrix(place + side * _SHUTTER / 2, scope) for side in (-1, 1))
    moved = corners @ motion_between(before, after).T - corners[:, :2]
    return float(np.hypot(*moved.T).max())


def motion_between(before: Affine, after: Affine) -> Affine:
    """Return the motion (2, 3) in the field between the camera matrices of two moments."""
    square = np.vstack([before, [0, 0, 1]])
    return np.asarray(after @ np.linalg.inv(square))


def render_motion_blur(image: Image, camera: Camera, scope: Scope, place: int) -> Image:
    """Render the field (h, w, 3), averaged over the exposure."""
    smear = motion_blur_px(camera, scope, place)
    if smear < _SHARP_PX:
        return _warp(image, camera.matrix(place, scope), scope.size)
    steps = min(_MAX_STEPS, 2 + int(smear / _STEP_PX))
    moments = place + _SHUTTER * (np.linspace(0, 1, steps) - 0.5)
    scale = 0.5 if smear > _COARSE_PX else 1.0
    size = (int(scope.size[0] * scale), int(scope.size[1] * scale))
    total = np.zeros((size[1], size[0], 3), np.float32)
    for moment in moments:
        cv2.accumulate(_warp(image, scale * camera.matrix(moment, scope), size), total)
    mean = np.asarray(cv2.convertScaleAbs(total, alpha=1 / steps), np.uint8)
    if scale < 1:
        blurred = blur(mean, smear * scale / steps / 2)
        return np.asarray(cv2.resize(blurred, scope.size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return mean


def _warp(image: Image, matrix: Affine, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def blur(image: Image, sigma_px: float) -> Image:
    """Blur with a Gaussian; wide blurs are computed at a lower resolution."""
    if sigma_px < 0.7:
        return image
    if sigma_px < 3:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)
    size = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
    smaller = blur(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), sigma_px / 2)
    return np.asarray(cv2.resize(smaller, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def press(field: Image, strength: float) -> Image:
    """Press the lens to the wall: at strength 1 only a red glow is left."""
    if strength <= 0:
        return field
    red = np.full_like(field, _PRESSED_RGB)
    return np.asarray(cv2.addWeighted(blur(field, 45 * strength), 1 - 0.85 * strength, red, 0.85 * strength, 0))


def scale_light(field: Image, gain: float) -> Image:
    """Scale the light, clipped like a sensor."""
    table = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(field, table), np.uint8)


def water_opacity(conditions: Conditions, scope: Scope, place: int) -> NDArray[np.float32]:
    """Return the opacity of a sheet of running water, 0..0.75, as a coarse map (h / 8, w / 8)."""
    width, height = scope.size[0] // 8, scope.size[1] // 8
    ripples = np.random.default_rng(conditions.seed).standard_normal((3 * height // 6, width // 6)).astype(np.float32)
    sheet = cv2.resize(ripples, (width, 3 * height), interpolation=cv2.INTER_CUBIC)
    down = int(place * height / 40) % (2 * height)
    level = np.linspace(1.1, -1.1, width)[None] if conditions.seed % 2 else np.linspace(-1.1, 1.1, width)[None]
    covered = sheet[2 * height - down : 3 * height - down] * 0.35 + level + 2.2 * conditions.water[place] - 1.6
    return np.asarray(0.75 * np.clip(covered * 1.5, 0, 1), np.float32)


def add_water(field: Image, conditions: Conditions, scope: Scope, place: int) -> Image:
    if conditions.water[place] <= 0.05:
        return field
    share = cv2.resize(water_opacity(conditions, scope, place), scope.size, interpolation=cv2.INTER_LINEAR)[..., None]
    water = cv2.addWeighted(blur(field, 7), 0.75, np.full_like(field, _WATER_RGB), 0.25, 0)
    return np.asarray(field + (water.astype(np.float32) - field) * share, np.uint8)


def instrument_lines(conditions: Conditions, scope: Scope, place: int) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Return an instrument's shaft: its start at the rim and its tip (x, y), and its width, field px."""
    rng = np.random.default_rng(conditions.seed + 1)
    width, height = scope.size
    start = np.array([rng.uniform(0.62, 0.9) * width, 1.05 * height])
    goal = np.array([rng.uniform(0.35, 0.65) * width, rng.uniform(0.25, 0.6) * height])
    sway = 0.02 * width * np.array([np.sin(place / 9), np.cos(place / 13)])
    tip = start + conditions.instrument[place] * (goal + sway - start)
    ends = [(int(x), int(y)) for x, y in (start, tip)]
    return ends[0], ends[1], int(_SHAFT_WIDTH * width * rng.uniform(0.6, 1.1))


def add_instrument(field: Image, conditions: Conditions, scope: Scope, place: int) -> Image:
    if conditions.instrument[place] <= 0:
        return field
    start, tip, thickness = instrument_lines(conditions, scope, place)
    drawn = field.copy()
    for shade, colour in zip((1.0, 0.7, 0.25), _SHAFT, strict=True):
        cv2.line(drawn, start, tip, colour, max(1, int(thickness * shade)), cv2.LINE_AA)
    return drawn


def add_glare(field: Image, conditions: Conditions, scope: Scope, place: int) -> Image:
    """Add flickering white highlights of wet tissue near the light."""
    strength = conditions.glare[place]
    if strength <= 0.05:
        return field
    rng = np.random.default_rng(conditions.seed + 2)
    width, height = scope.size
    spots = np.zeros((height // 2, width // 2), np.uint8)
    middle = rng.uniform(0.2, 0.8, 2) * [width / 2, height / 2]
    for number in range(int(4 + 10 * rng.random())):
        spot = middle + rng.normal(0, 0.11 * width / 2, 2) + [4 * np.sin(place / 5 + number), 3 * np.cos(place / 7)]
        axes = rng.uniform(0.004, 0.022, 2) * width / 2 * (0.5 + 0.5 * strength)
        if np.sin(place * rng.uniform(0.2, 0.7) + number) > -0.4:
            where = tuple(int(v) for v in spot)
            cv2.ellipse(spots, where, tuple(int(v) + 1 for v in axes), rng.uniform(0, 180), 0, 360, 255, -1)
    halo = cv2.GaussianBlur(spots, (0, 0), 5)
    light = cv2.resize(cv2.max(cv2.GaussianBlur(spots, (0, 0), 0.8), halo), scope.size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(field, cv2.merge([light, light, light])), np.uint8)

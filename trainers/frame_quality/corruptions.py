"""Synthetic corruptions of clear pictures: the training data of the frame quality classifier.

Each function takes a picture (h, w, 3) uint8 RGB and a random generator, and returns a new picture of the same size.
Lengths are fractions of its width. Figures measured on these pictures are only indicative of real ones.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import FrameQuality

Picture = NDArray[Any]  # (h, w, 3) uint8 RGB; cv2 does not say more of what it returns
Layer = NDArray[Any]  # (h, w), (h, w, 1) or (h, w, 3) float32
Corruption = Callable[[Picture, np.random.Generator], Picture]

# Chosen by eye: from about here on a polyp's surface is no longer to be made out.
DEFOCUS = (0.028, 0.06)  # radius of the disc that a point becomes
MOTION = (0.06, 0.20)  # length of the line that a point becomes
SLIGHT_DEFOCUS, SLIGHT_MOTION = (0.001, 0.008), (0.004, 0.02)  # pictures as soft as this are clear
_SURROUND_LEVEL = 24


def disc_kernel(radius_px: float) -> NDArray[np.float32]:
    """The kernel of a lens out of focus; its rim is smooth, so that radii between whole pixels differ."""
    reach = int(np.ceil(radius_px))
    across = np.arange(-reach, reach + 1)
    kernel = np.clip(radius_px + 0.5 - np.hypot(*np.meshgrid(across, across)), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def line_kernel(length_px: float, angle: float) -> NDArray[np.float32]:
    """The kernel of a steady movement; angle in radians."""
    reach = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.linspace(-length_px / 2, length_px / 2, max(2, 4 * reach))
    np.add.at(kernel, tuple(np.rint(reach + steps * way).astype(int) for way in (np.sin(angle), np.cos(angle))), 1)
    return kernel / kernel.sum()


# Blurred


def defocus(picture: Picture, rng: np.random.Generator, radii: tuple[float, float] = DEFOCUS) -> Picture:
    return cv2.filter2D(picture, -1, disc_kernel(rng.uniform(*radii) * picture.shape[1]))


def blur_motion(picture: Picture, rng: np.random.Generator, lengths: tuple[float, float] = MOTION) -> Picture:
    kernel = line_kernel(rng.uniform(*lengths) * picture.shape[1], rng.uniform(0, np.pi))
    return cv2.filter2D(picture, -1, kernel)


# Glare


def overexpose(picture: Picture, rng: np.random.Generator) -> Picture:
    """Too much light everywhere: the wall near the lamp goes white."""
    return _to_uint8(picture.astype(np.float32) * rng.uniform(2.2, 4.0) + rng.uniform(10, 60))


def add_reflections(picture: Picture, rng: np.random.Generator) -> Picture:
    """One to three large reflections with soft rims, over a third of the picture or more."""
    height, width = picture.shape[:2]
    light = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        axes = rng.uniform(0.18, 0.4, 2) * width
        centre = rng.uniform(0.15, 0.85, 2) * (width, height)
        cv2.ellipse(light, (tuple(centre), tuple(2 * axes), rng.uniform(0, 180)), 1.0, cv2.FILLED)
    soft = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.02, 0.06) * width)[..., None]
    return _blend(picture, np.array([255, 252, 245], np.float32), np.clip(1.3 * soft, 0, 1))


# Water


def add_bubbles(picture: Picture, rng: np.random.Generator) -> Picture:
    """Foam: bubbles of many sizes crowd the picture; each has a bright rim, a milky inside and a highlight."""
    foam = picture.astype(np.float32)
    height, width = picture.shape[:2]
    milk = rng.uniform(0.05, 0.35)
    for _ in range(int(rng.integers(120, 500))):
        radius = width * min(0.07, 0.008 * float(rng.pareto(2.0) + 1))
        centre = (rng.uniform(0, 1, 2) * (width, height)).astype(int)
        _draw_bubble(foam, centre, max(2, round(radius)), milk, rng)
    return _to_uint8(foam)


def _draw_bubble(foam: Layer, centre: NDArray[np.int64], radius_px: int, milk: float, rng: np.random.Generator) -> None:
    """Painted in place."""
    top_left, bottom_right = np.maximum(centre - radius_px - 1, 0), centre + radius_px + 2
    patch = foam[top_left[1] : bottom_right[1], top_left[0] : bottom_right[0]]
    x, y = (int(value) for value in centre - top_left)
    inside = patch.copy()
    cv2.circle(inside, (x, y), radius_px, (235, 232, 220), cv2.FILLED, cv2.LINE_AA)
    patch += milk * (inside - patch)
    shade = float(rng.uniform(150, 250))
    cv2.circle(patch, (x, y), radius_px, (shade, shade, 0.92 * shade), max(1, radius_px // 6), cv2.LINE_AA)
    cv2.circle(patch, (x - radius_px // 3, y - radius_px // 3), max(1, radius_px // 6), (255, 255, 250), cv2.FILLED)


def flood(picture: Picture, rng: np.random.Generator) -> Picture:
    """Water runs over the lens: the picture behind it swims, streaks and goes pale."""
    height, width = picture.shape[:2]
    strength_px, rows_columns = rng.uniform(0.03, 0.09) * width, np.indices((height, width), np.float32)
    shifts = [strength_px * smooth_noise((height, width), rng, rng.uniform(0.03, 0.09)) for _ in range(2)]
    swimming = cv2.remap(
        picture,
        rows_columns[1] + shifts[0],
        rows_columns[0] + shifts[1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    soft = cv2.GaussianBlur(swimming, (0, 0), rng.uniform(0.004, 0.014) * width)
    streaks = np.clip(
        smooth_noise((height, width), rng, rng.uniform(0.01, 0.05), stretch=rng.uniform(3, 9)) - 0.8, 0, 1
    )[..., None]
    pale = _blend(soft, np.array([205, 205, 195], np.float32), np.float32(rng.uniform(0.15, 0.5)))
    return _blend(pale, np.array([250, 250, 245], np.float32), np.clip(streaks * rng.uniform(0.6, 1.4), 0, 1))


def cloud(picture: Picture, rng: np.random.Generator) -> Picture:
    """Under dirty water: a yellow, brown or greenish veil with little contrast and floating specks."""
    height, width = picture.shape[:2]
    liquid = np.array(_LIQUIDS[int(rng.integers(len(_LIQUIDS)))], np.float32) * np.float32(rng.uniform(0.7, 1.25))
    depth = rng.uniform(0.68, 0.92) + 0.1 * smooth_noise((height, width), rng, 0.15)[..., None]
    veiled = _blend(cv2.GaussianBlur(picture, (0, 0), 0.008 * width), liquid, np.clip(depth, 0, 1))
    for _ in range(int(rng.integers(5, 60))):
        centre = (rng.uniform(0, 1, 2) * (width, height)).astype(int).tolist()
        shade = np.clip(liquid * rng.uniform(0.6, 1.5), 0, 255).tolist()
        cv2.circle(veiled, centre, max(1, round(rng.uniform(0.002, 0.012) * width)), shade, cv2.FILLED, cv2.LINE_AA)
    return veiled


_LIQUIDS = ((190, 160, 80), (150, 110, 50), (165, 170, 95), (200, 180, 130), (120, 100, 40))


# No mucosa


def red_out(picture: Picture, rng: np.random.Generator) -> Picture:
    """The tip lies against the wall: one glowing red to orange, brighter in one place, without form."""
    height, width = picture.shape[:2]
    size = rng.uniform(0.06, 0.16)
    left, top = (int(rng.uniform(0.15, 0.75) * length) for length in (width, height))
    patch = picture[top : top + max(4, round(size * height)), left : left + max(4, round(size * width))]
    wall = cv2.GaussianBlur(cv2.resize(patch, (width, height), interpolation=cv2.INTER_CUBIC), (0, 0), 0.05 * width)
    red = np.array([rng.uniform(170, 250), rng.uniform(40, 130), rng.uniform(15, 90)], np.float32)
    glow = rng.uniform(0.75, 1.05) + rng.uniform(0.05, 0.25) * smooth_noise((height, width), rng, 0.3)
    return _to_uint8(_blend(wall, red, np.float32(rng.uniform(0.4, 0.9))) * glow[..., None])


def darken(picture: Picture, rng: np.random.Generator) -> Picture:
    """Hardly any light: the lamp is off, or the tip looks down an empty tube."""
    dimmed = picture.astype(np.float32) * rng.uniform(0.06, 0.2)
    return _to_uint8(dimmed + rng.normal(0, rng.uniform(1, 4), picture.shape))


def cover_with_stool(picture: Picture, rng: np.random.Generator) -> Picture:
    """Stool before the lens: brown to green lumps over nearly all of it."""
    height, width = picture.shape[:2]
    stool = np.array(_STOOL[int(rng.integers(len(_STOOL)))], np.float32) * np.float32(rng.uniform(0.7, 1.3))
    relief = smooth_noise((height, width), rng, 0.06) + 0.5 * smooth_noise((height, width), rng, 0.012)
    lumps = stool * (1 + rng.uniform(0.08, 0.25) * relief[..., None]) * _vignette((height, width), rng)
    cover = np.clip(2.2 + 1.2 * smooth_noise((height, width), rng, 0.15), 0, 1)[..., None]
    return _blend(picture, lumps, cover)


_STOOL = ((120, 85, 30), (140, 115, 40), (95, 70, 35), (110, 115, 45), (75, 60, 30))


# Outside


def show_photograph(picture: Picture, rng: np.random.Generator, *, photographs: Sequence[Picture]) -> Picture:
    """The scope is out of the body: a third to nearly all of a photograph, in any light."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = (max(16, int(length * rng.uniform(0.35, 0.95))) for length in photograph.shape[:2])
    top = int(rng.integers(photograph.shape[0] - height + 1))
    left = int(rng.integers(photograph.shape[1] - width + 1))
    piece = photograph[top : top + height, left : left + width]
    return _relight(cv2.resize(piece, picture.shape[1::-1], interpolation=cv2.INTER_AREA), rng)


def show_room(picture: Picture, rng: np.random.Generator) -> Picture:
    """The scope is out of the body: a wall with drapes, furniture, cables and lamps, drawn procedurally."""
    height, width = size = picture.shape[:2]
    scene = np.empty((height, width, 3), np.float32)
    scene[:] = _SURFACES[int(rng.integers(len(_SURFACES)))]
    _draw_furniture(scene, rng)
    _draw_cables(scene, rng)
    for _ in range(int(rng.integers(0, 3))):
        centre, lamp = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.05, 0.3, 2) * width
        corners = cv2.boxPoints((tuple(centre), tuple(lamp), rng.uniform(0, 90))).astype(np.int32)
        cv2.fillConvexPoly(scene, corners, (255, 255, 250), cv2.LINE_AA)
    folds = 1 + rng.uniform(0, 0.15) * smooth_noise(size, rng, 0.05, stretch=3)
    return _relight(scene * folds[..., None] * _vignette(size, rng), rng)


def _draw_furniture(scene: Layer, rng: np.random.Generator) -> None:
    """Plain surfaces with straight edges, painted in place."""
    for _ in range(int(rng.integers(3, 14))):
        colour = np.array(_SURFACES[int(rng.integers(len(_SURFACES)))]) * rng.uniform(0.5, 1.1)
        corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 6)), 2)) * scene.shape[1::-1]
        cv2.fillConvexPoly(scene, cv2.convexHull(corners.astype(np.int32)), colour.tolist(), cv2.LINE_AA)


def _draw_cables(scene: Layer, rng: np.random.Generator) -> None:
    """None to five straight pieces of cable or rail, painted in place."""
    for _ in range(int(rng.integers(0, 6))):
        start, end = (rng.uniform(-0.1, 1.1, (2, 2)) * scene.shape[1::-1]).astype(int).tolist()
        shade = float(rng.choice((20, 120, 240)))
        width_px = max(1, round(rng.uniform(0.004, 0.03) * scene.shape[1]))
        cv2.line(scene, start, end, (shade, shade, shade), width_px, cv2.LINE_AA)


def _relight(scene: Picture | Layer, rng: np.random.Generator) -> Picture:
    lit = scene * rng.uniform(0.6, 1.3) * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    return defocus(_to_uint8(lit), rng, (0.001, 0.02))


# RGB of walls, drapes, steel, floors, wood, gloves and skin.
_SURFACES = (
    (225, 225, 220), (190, 195, 195), (150, 155, 160), (60, 110, 160), (40, 90, 120), (50, 130, 110), (90, 150, 170),
    (205, 195, 170), (150, 120, 90), (40, 42, 48), (120, 130, 190), (215, 170, 145), (100, 105, 110), (235, 235, 245),
)  # fmt: skip


# All qualities


def corruptions(photographs: Sequence[Picture]) -> dict[FrameQuality, dict[str, Corruption]]:
    """Return {quality other than "clear": {kind: corruption}}. photographs: of scenes outside the body."""
    outside: dict[str, Corruption] = {"room": show_room}
    if photographs:
        outside["photograph"] = partial(show_photograph, photographs=photographs)
    return {
        "blurred": {"defocus": defocus, "movement": blur_motion},
        "glare": {"overexposure": overexpose, "reflection": add_reflections},
        "water": {"bubbles": add_bubbles, "flood": flood, "turbid": cloud},
        "no mucosa": {"red-out": red_out, "dark": darken, "stool": cover_with_stool},
        "outside": outside,
    }


def soften(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture unchanged or slightly blurred; it stays clear."""
    kind = rng.random()
    if kind < 0.25:
        return defocus(picture, rng, SLIGHT_DEFOCUS)
    return blur_motion(picture, rng, SLIGHT_MOTION) if kind < 0.5 else picture


def relight_and_compress(picture: Picture, rng: np.random.Generator) -> Picture:
    """Vary light, camera noise and JPEG quality, so that the classifier cannot tell qualities apart by them."""
    lit = 255 * (picture.astype(np.float32) / 255) ** np.float32(rng.uniform(0.85, 1.15))
    lit *= rng.uniform(0.8, 1.15) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    noisy = _to_uint8(lit + rng.normal(0, rng.uniform(0, 3), picture.shape[:2])[..., None])
    _, coded = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None  # it was encoded a line before
    return decoded.astype(np.uint8, copy=False)


def keep_surround(field: Picture, corrupted: Picture) -> Picture:
    """Return `corrupted` inside the field of view (h, w, 3) and its dark surround outside: no lens blurs its rim."""
    surround = find_surround(field)
    return np.where(surround[..., None], field, corrupted)


def find_surround(field: Picture) -> NDArray[np.bool_]:
    """The dark regions that touch the picture's border (h, w)."""
    dim = (field.max(axis=2) <= _SURROUND_LEVEL).astype(np.uint8)
    dim = cv2.morphologyEx(dim, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, labels = cv2.connectedComponents(dim, connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, rim[rim > 0])


def smooth_noise(size: tuple[int, int], rng: np.random.Generator, length: float, *, stretch: float = 1.0) -> Layer:
    """Smooth noise (h, w) of mean 0 and deviation 1; length: of a wave; stretch: how much longer it is downwards."""
    height, width = size
    cells = max(2, round(1 / length)), max(2, round(height / width / length / stretch))
    noise = rng.standard_normal((cells[1], cells[0])).astype(np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return (smooth - smooth.mean()) / max(1e-3, float(smooth.std()))


def _vignette(size: tuple[int, int], rng: np.random.Generator) -> Layer:
    """Light (h, w, 1) of a lamp in the tip: less, further from a point near the middle."""
    height, width = size
    y, x = np.indices((height, width), np.float32)
    middle_x, middle_y = rng.uniform(0.3, 0.7, 2) * (width, height)
    distance = np.hypot(x - np.float32(middle_x), y - np.float32(middle_y)) / width
    return (1 - np.float32(rng.uniform(0, 0.9)) * distance)[..., None].clip(0.1, 1)


def _blend(below: Picture | Layer, above: Layer, share: Layer | np.float32) -> Picture:
    """`above` (h, w, 3) or a colour over `below`; share: of it, 0..1, (h, w, 1) or one number."""
    base = below.astype(np.float32)
    return _to_uint8(base + share * (above - base))


def _to_uint8(values: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

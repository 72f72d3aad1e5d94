"""Screen of a virtual endoscope: a black frame around a field of view with cut or round corners and a darker rim."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

FRAME_SIZE = (960, 720)
_SURROUND_LEVEL = 9  # of 255; recorders rarely write 0
_RIM_DARKER = 0.35
_NOISE_LEVELS = 2.2
_NOISE_SPARE_PX = 64  # the pattern is larger by this, to be shifted


@dataclass(frozen=True)
class Scope:
    """Layout of the screen.

    Attributes:
        corner: (x, y) of the field's top left corner in the frame, px.
        size: (width, height) of the field, px.
        outline: (k, 2) convex polygon around the field's centre, in units of half the field's width.
        frame_size: (width, height) of the frame, px.
        seed: seed of the noise.
    """

    corner: tuple[int, int]
    size: tuple[int, int]
    outline: NDArray[np.float64]
    frame_size: tuple[int, int] = FRAME_SIZE
    seed: int = 0

    @property
    def middle(self) -> NDArray[np.float64]:
        """(x, y) of the field's centre, field px."""
        return np.array(self.size, np.float64) / 2

    def reach(self, angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return half the extent of the outline along the still's axes (n, 2), rotated by angles (n,)."""
        cos, sin = np.cos(angle_rad)[:, None], np.sin(angle_rad)[:, None]
        x, y = self.outline[:, 0], self.outline[:, 1]
        return np.stack([np.abs(cos * x + sin * y).max(axis=1), np.abs(cos * y - sin * x).max(axis=1)], axis=1)

    @cached_property
    def opening(self) -> NDArray[np.uint8]:
        """(h, w) uint8: 255 inside the outline, 0 outside, antialiased."""
        width, height = self.size
        points = np.round((self.outline * (width / 2) + self.middle) * 16).astype(np.int32)
        opening = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(opening, points, 255, cv2.LINE_AA, shift=4)
        return opening

    @cached_property
    def light(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8: the opening, darker towards its rim."""
        width, height = self.size
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        fall = 1 - _RIM_DARKER * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.5
        return np.repeat(np.round(self.opening * fall).astype(np.uint8)[..., None], 3, axis=2)

    @cached_property
    def noise(self) -> NDArray[np.int16]:
        """A noise pattern, larger than the field."""
        height, width = self.size[1] + _NOISE_SPARE_PX, self.size[0] + _NOISE_SPARE_PX
        levels = np.random.default_rng(self.seed).normal(0, _NOISE_LEVELS, (height, width, 3))
        return np.round(levels).astype(np.int16)

    def frame_noise(self, index: int) -> NDArray[np.int16]:
        """Return the noise (h, w, 3) of a frame: a part of the pattern that depends on the index."""
        x, y = 37 * index % _NOISE_SPARE_PX, 23 * index % _NOISE_SPARE_PX
        return self.noise[y : y + self.size[1], x : x + self.size[0]]

    def place_in_frame(self, field: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Place the field's image (h, w, 3) in a frame (H, W, 3)."""
        width, height = self.frame_size
        frame = np.full((height, width, 3), _SURROUND_LEVEL, np.uint8)
        x, y = self.corner
        frame[y : y + self.size[1], x : x + self.size[0]] = np.maximum(field, _SURROUND_LEVEL)
        return frame


def draw_scope(rng: np.random.Generator, frame_size: tuple[int, int] = FRAME_SIZE) -> Scope:
    """Draw one of the shapes that recorders have: octagon, circle cut above and below, or rounded rectangle."""
    width, height = frame_size
    field_h = int(height * rng.uniform(0.93, 0.98))
    field_w = min(int(field_h * rng.uniform(1.08, 1.28)), width - 16)
    aspect = field_h / field_w
    shapes = {
        "octagon": _octagon(aspect, rng.uniform(0.2, 0.35)),
        "circle": _circle(aspect),
        "rounded": _rounded_rectangle(aspect, rng.uniform(0.08, 0.2)),
    }
    outline = shapes[str(rng.choice(list(shapes)))]
    x = int((width - field_w) * rng.choice([0.5, 0.85]))
    return Scope((x, (height - field_h) // 2), (field_w, field_h), outline, frame_size, int(rng.integers(2**31)))


def _octagon(aspect: float, cut: float) -> NDArray[np.float64]:
    quarter = np.array([[1, aspect - cut], [1 - cut, aspect]])
    right = np.concatenate([quarter[::-1] * [1, -1], quarter])
    return np.concatenate([right, right[::-1] * [-1, 1]])


def _circle(aspect: float) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return np.stack([np.cos(angle), np.clip(np.sin(angle), -aspect, aspect)], axis=1)


def _rounded_rectangle(aspect: float, radius: float) -> NDArray[np.float64]:
    turn = np.linspace(-np.pi / 2, 0, 9)
    arc = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    upper = arc + [1 - radius, radius - aspect]
    right = np.concatenate([upper, upper[::-1] * [1, -1]])
    return np.concatenate([right, right[::-1] * [-1, 1]])

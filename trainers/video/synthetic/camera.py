"""Camera of a virtual scope: its position in each frame, and the map from a still to the field of view.

The still is continued by its mirror image. The camera stays in a room that holds no mirrored polyp.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainers.video.synthetic.random_curves import Curve, wander
from trainers.video.synthetic.scope import Scope

Affine = NDArray[np.float64]  # (2, 3)
_SQUASH = 8  # exponent of the soft limit at the room's walls: larger is later and harder


@dataclass(frozen=True)
class Room:
    """The rectangle that a camera may see.

    Attributes:
        low, high: corners (x, y), still px; they may lie beyond the still.
    """

    low: tuple[float, float]
    high: tuple[float, float]

    def widest(self, scope: Scope, max_angle_rad: float) -> float:
        """Return the largest half width of a view that stays inside at all angles up to this one, still px."""
        reach = scope.reach(np.linspace(-max_angle_rad, max_angle_rad, 9)).max(axis=0)
        return float(((np.array(self.high) - np.array(self.low)) / 2 / reach).min())


@dataclass(frozen=True)
class Camera:
    """The camera's view in each frame.

    Attributes:
        middle: (n, 2) the view's centre, still px.
        half_width: (n,) half the view's width, still px.
        angle_rad: (n,) the view's rotation, rad.
    """

    middle: NDArray[np.float64]
    half_width: Curve
    angle_rad: Curve

    def __len__(self) -> int:
        return len(self.half_width)

    def matrix(self, moment: float, scope: Scope) -> Affine:
        """Return the map from still px to field px at a moment.

        moment: in frames, fractions included; beyond the ends it counts as the first or last frame.
        """
        frames = np.arange(len(self))
        x, y = (np.interp(moment, frames, self.middle[:, axis]) for axis in range(2))
        scale = scope.size[0] / 2 / np.interp(moment, frames, self.half_width)
        angle = np.interp(moment, frames, self.angle_rad)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([turn, scope.middle - turn @ [x, y]])


def place_camera(room: Room, scope: Scope, aim: NDArray[np.float64], half_width: Curve, angle_rad: Curve) -> Camera:
    """Place a camera in a room.

    aim: (n, 2) in units of the free space: -1 is the leftmost (topmost) place, 1 the rightmost (lowest). Values beyond
        stay at the limit.

    Raises:
        ValueError: a view is wider than the room.
    """
    reach = half_width[:, None] * scope.reach(angle_rad)
    low, high = np.array(room.low) + reach, np.array(room.high) - reach
    if (high < low - 1e-6).any():
        raise ValueError(f"a view of half width {half_width.max():.0f} px is too wide for {room}")
    held = aim / (1 + np.abs(aim) ** _SQUASH) ** (1 / _SQUASH)
    return Camera((low + high) / 2 + held * (high - low) / 2, half_width, angle_rad)


def aim_at(point: NDArray[np.float64], room: Room, scope: Scope, half_width: float) -> tuple[float, float]:
    """Return the aim that brings a point of the still as close to the view's centre as the room allows."""
    reach = half_width * scope.reach(np.zeros(1))[0]
    low, high = np.array(room.low) + reach, np.array(room.high) - reach
    x, y = np.clip((2 * point - low - high) / np.maximum(high - low, 1e-6), -0.9, 0.9)
    return float(x), float(y)


def draw_hand_motion(rng: np.random.Generator, count: int, rate_hz: float) -> NDArray[np.float64]:
    """Draw the motion of a hand and a breathing patient (n, 2), in units of the view's half width."""
    drift = [0.10 * wander(rng, count, 1.8 * rate_hz) for _ in range(2)]
    tremor = [0.0035 * wander(rng, count, 0.16 * rate_hz) for _ in range(2)]
    seconds = np.arange(count) / rate_hz
    breath = 0.03 * np.sin(2 * np.pi * (0.27 * seconds + rng.random()))
    direction = rng.uniform(0, 2 * np.pi)
    ways = zip(drift, tremor, (np.cos(direction), np.sin(direction)), strict=True)
    return np.stack([d + t + breath * share for d, t, share in ways], axis=1)

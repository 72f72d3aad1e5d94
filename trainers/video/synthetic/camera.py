"""Where a virtual scope looks in each frame, and how that maps a still into its field.

Beyond the still its mirror image goes on, so a camera has a room to move in that holds no polyp's mirror image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainers.video.synthetic.random_curves import Curve, wander
from trainers.video.synthetic.scope import Scope

Affine = NDArray[np.float64]  # (2, 3)
_SQUASH = 8  # how late and how hard a camera is held back at its room's walls


@dataclass(frozen=True)
class Room:
    """What a camera may see, still px: low and high (x, y), possibly beyond the still."""

    low: tuple[float, float]
    high: tuple[float, float]

    def widest(self, scope: Scope, most_angle_rad: float) -> float:
        """The largest half width of a view that stays inside at any angle up to this."""
        reach = scope.reach(np.linspace(-most_angle_rad, most_angle_rad, 9)).max(axis=0)
        return float(((np.array(self.high) - np.array(self.low)) / 2 / reach).min())


@dataclass(frozen=True)
class Camera:
    """A view for each frame: its middle (n, 2) and half its width (n,), still px, and how it is turned (n,)."""

    middle: NDArray[np.float64]
    half_width: Curve
    angle_rad: Curve

    def __len__(self) -> int:
        return len(self.half_width)

    def matrix(self, moment: float, scope: Scope) -> Affine:
        """From still px to px of the scope's field at a moment, in frames; held at the first and last."""
        frames = np.arange(len(self))
        x, y = (np.interp(moment, frames, self.middle[:, axis]) for axis in range(2))
        scale = scope.size[0] / 2 / np.interp(moment, frames, self.half_width)
        angle = np.interp(moment, frames, self.angle_rad)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([turn, scope.middle - turn @ [x, y]])


def camera_in(room: Room, scope: Scope, aim: NDArray[np.float64], half_width: Curve, angle_rad: Curve) -> Camera:
    """aim (n, 2): -1 is as far left (up) as the room lets the view go, 1 as far right (down); beyond, it stays there.

    Raises ValueError for a view that is wider than the room.
    """
    reach = half_width[:, None] * scope.reach(angle_rad)
    low, high = np.array(room.low) + reach, np.array(room.high) - reach
    if (high < low - 1e-6).any():
        raise ValueError(f"a view of half width {half_width.max():.0f} px is too wide for {room}")
    held = aim / (1 + np.abs(aim) ** _SQUASH) ** (1 / _SQUASH)
    return Camera((low + high) / 2 + held * (high - low) / 2, half_width, angle_rad)


def aim_at(point: NDArray[np.float64], room: Room, scope: Scope, half_width: float) -> tuple[float, float]:
    """The aim that brings a point of the still to the field's middle, as nearly as the room allows."""
    reach = half_width * scope.reach(np.zeros(1))[0]
    low, high = np.array(room.low) + reach, np.array(room.high) - reach
    x, y = np.clip((2 * point - low - high) / np.maximum(high - low, 1e-6), -0.9, 0.9)
    return float(x), float(y)


def by_hand(chance: np.random.Generator, count: int, rate_hz: float) -> NDArray[np.float64]:
    """What a hand and a breathing patient add to an aim (n, 2), in shares of the view's half width."""
    drift = [0.10 * wander(chance, count, 1.8 * rate_hz) for _ in range(2)]
    tremor = [0.0035 * wander(chance, count, 0.16 * rate_hz) for _ in range(2)]
    seconds = np.arange(count) / rate_hz
    breath = 0.03 * np.sin(2 * np.pi * (0.27 * seconds + chance.random()))
    direction = chance.uniform(0, 2 * np.pi)
    ways = zip(drift, tremor, (np.cos(direction), np.sin(direction)), strict=True)
    return np.stack([d + t + breath * share for d, t, share in ways], axis=1)

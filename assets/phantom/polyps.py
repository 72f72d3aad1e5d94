"""Polyps: smooth unions of ellipsoids that sit on the wall, each with its own colour, lumps and grain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from phantom.geometry import Tube, sample_centre, sample_wall, wall_normal
from phantom.texture import noise3
from phantom.vectors import JIT, dot, plus

Blob = tuple[float, float, float, float, float, float]  # centre (along, across, out of the wall), then its radii


@dataclass(frozen=True)
class Polyp:
    """One polyp: where it sits, and how it looks. Lengths in lumen radii, colours as factors on the mucosa's."""

    id: int
    kind: str
    paris: str
    z: float
    angle: float
    blobs: tuple[Blob, ...]
    tint: tuple[float, float, float] = (1.1, 0.8, 0.8)
    size: float = 1.0
    lump: float = 0.02
    grain: float = 0.2
    turn: float = 0.0


class PolypTable(NamedTuple):
    """The same as arrays for the compiled code; n polyps, m blobs."""

    first: NDArray[np.int64]  # (n + 1,) where each polyp's blobs begin
    blobs: NDArray[np.float64]  # (m, 6)
    frame: NDArray[np.float64]  # (n, 4, 3) base point, then the axes along, across, out
    bound: NDArray[np.float64]  # (n, 4) centre and radius of a ball that holds the polyp and its shadow
    skin: NDArray[np.float64]  # (n, 6) tint, lump height, grain, smallest blob radius


SESSILE: tuple[Blob, ...] = ((0, 0, 0.0, 0.31, 0.27, 0.19), (0.11, 0.05, 0.06, 0.17, 0.17, 0.15))
DIMINUTIVE: tuple[Blob, ...] = ((0, 0, 0.0, 0.13, 0.12, 0.09),)
FLAT: tuple[Blob, ...] = (
    (0, 0, 0.0, 0.40, 0.28, 0.08),
    (0.16, 0.08, 0.02, 0.18, 0.16, 0.075),
    (-0.18, -0.06, 0.015, 0.16, 0.15, 0.075),
)
STALKED: tuple[Blob, ...] = (
    (0, 0, 0.0, 0.085, 0.085, 0.06),
    (0.01, 0, 0.08, 0.065, 0.065, 0.09),
    (0.05, 0.01, 0.19, 0.06, 0.06, 0.09),
    (0.12, 0.02, 0.29, 0.065, 0.065, 0.08),
    (0.22, 0.03, 0.40, 0.20, 0.17, 0.16),
    (0.28, -0.04, 0.45, 0.12, 0.13, 0.11),
)
LOBED: tuple[Blob, ...] = (
    (0, 0, 0.04, 0.26, 0.24, 0.20),
    (0.17, 0.08, 0.15, 0.16, 0.16, 0.15),
    (-0.12, 0.14, 0.14, 0.17, 0.15, 0.16),
    (0.02, -0.16, 0.16, 0.17, 0.16, 0.16),
    (0.03, 0.03, 0.24, 0.15, 0.15, 0.13),
)


def scaled_blobs(polyp: Polyp) -> NDArray[np.float64]:
    """(k, 6): the blobs at the polyp's size, turned about the wall's normal. Radii stay: blobs are near round."""
    blobs = np.array(polyp.blobs, float) * polyp.size
    c, s = math.cos(polyp.turn), math.sin(polyp.turn)
    along, across = blobs[:, 0].copy(), blobs[:, 1].copy()
    blobs[:, 0], blobs[:, 1] = c * along - s * across, s * along + c * across
    return blobs


def wall_frame(tube: Tube, z: float, angle: float) -> NDArray[np.float64]:
    """(4, 3): the wall point at (z, angle), then unit axes along the tube, around it, and out of the wall."""
    cx, cy, _, _ = sample_centre(tube.centre, tube.z_start, tube.cells_per_unit, z)
    radius = sample_wall(tube.wall, tube.z_start, tube.cells_per_unit, z, angle, 0)
    base = np.array([cx + radius * math.cos(angle), cy + radius * math.sin(angle), z])
    out = np.array(wall_normal(tube.wall, tube.centre, tube.z_start, tube.cells_per_unit, tuple(base))[0])
    along = np.array([0.0, 0.0, 1.0]) - out * out[2]
    along /= np.linalg.norm(along)
    return np.stack([base, along, np.cross(out, along), out])


def build_table(tube: Tube, polyps: tuple[Polyp, ...]) -> PolypTable:
    """Arrays for the compiled code, in the order of ``polyps``."""
    blobs = [scaled_blobs(polyp) for polyp in polyps]
    frames = np.stack([wall_frame(tube, polyp.z, polyp.angle) for polyp in polyps])
    first = np.cumsum([0] + [len(group) for group in blobs])
    bounds, skins = [], []
    for polyp, group, frame in zip(polyps, blobs, frames, strict=True):
        middle = group[:, :3].mean(axis=0)
        reach = (np.linalg.norm(group[:, :3] - middle, axis=1) + group[:, 3:].max(axis=1)).max()
        bounds.append([*(frame[0] + middle @ frame[1:]), 1.15 * reach + polyp.lump + 0.16])
        skins.append([*polyp.tint, polyp.lump, polyp.grain, group[:, 3:].min()])
    return PolypTable(first, np.concatenate(blobs), frames, np.array(bounds), np.array(skins))


@njit(**JIT)
def blend(a, b, k):
    """Smooth minimum: min(a, b) with the crease rounded over a width of about k."""
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - 0.25 * h * h * k


@njit(**JIT)
def to_local(table, i, point):
    """World point -> (along, across, out) of polyp i."""
    f = table.frame[i]
    x, y, z = point[0] - f[0, 0], point[1] - f[0, 1], point[2] - f[0, 2]
    return (
        x * f[1, 0] + y * f[1, 1] + z * f[1, 2],
        x * f[2, 0] + y * f[2, 1] + z * f[2, 2],
        x * f[3, 0] + y * f[3, 1] + z * f[3, 2],
    )


@njit(**JIT)
def blob_distance(blob, a, b, c):
    """Approximate signed distance from a local point to an ellipsoid."""
    u, v, w = (a - blob[0]) / blob[3], (b - blob[1]) / blob[4], (c - blob[2]) / blob[5]
    k0 = math.sqrt(u * u + v * v + w * w)
    u, v, w = u / blob[3], v / blob[4], w / blob[5]
    return k0 * (k0 - 1.0) / max(math.sqrt(u * u + v * v + w * w), 1e-9)


@njit(**JIT)
def polyp_distance(table, i, point):
    """Approximate signed distance from a world point to polyp i."""
    a, b, c = to_local(table, i, point)
    best = 1e9
    for k in range(table.first[i], table.first[i + 1]):
        best = blend(best, blob_distance(table.blobs[k], a, b, c), 0.05)
    lump = table.skin[i, 3]
    if best < 4.0 * lump:
        best += lump * (noise3(a * 7.0 + 7.3 * i, b * 7.0, c * 7.0) + 0.4 * noise3(a * 15.0, b * 15.0 + i, c * 15.0))
    return best


@njit(**JIT)
def nearest_polyp(table, active, point):
    """(distance, index) over the polyps in the bit set ``active``; (1e9, -1) where there is none."""
    best, who = 1e9, -1
    for i in range(table.frame.shape[0]):
        if active & (1 << i):
            d = polyp_distance(table, i, point)
            if d < best:
                best, who = d, i
    return best, who


@njit(**JIT)
def near_ray(table, origin, direction):
    """Bit set of the polyps whose bounding ball the ray meets."""
    active = 0
    for i in range(table.bound.shape[0]):
        ball = table.bound[i]
        to_ball = (ball[0] - origin[0], ball[1] - origin[1], ball[2] - origin[2])
        closest = plus(to_ball, direction, -max(dot(to_ball, direction), 0.0))
        if dot(closest, closest) < ball[3] * ball[3]:
            active |= 1 << i
    return active


@njit(**JIT)
def near_point(table, point):
    """Bit set of the polyps whose bounding ball holds the point."""
    active = 0
    for i in range(table.bound.shape[0]):
        ball = table.bound[i]
        offset = (ball[0] - point[0], ball[1] - point[1], ball[2] - point[2])
        if dot(offset, offset) < ball[3] * ball[3]:
            active |= 1 << i
    return active

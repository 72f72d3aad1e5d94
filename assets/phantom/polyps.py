"""Polyps: smooth unions of ellipsoids that sit on the wall, each with its own colour, lumps and grain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from phantom.geometry import Floats, Tube, sample_centre, sample_wall, wall_normal
from phantom.texture import noise3

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


SESSILE: tuple[Blob, ...] = ((0, 0, 0.02, 0.25, 0.22, 0.19), (0.10, 0.05, 0.06, 0.15, 0.15, 0.15))
DIMINUTIVE: tuple[Blob, ...] = ((0, 0, 0.0, 0.13, 0.12, 0.09),)
FLAT: tuple[Blob, ...] = ((0, 0, 0.0, 0.40, 0.28, 0.08), (0.16, 0.08, 0.02, 0.18, 0.16, 0.075),
                          (-0.18, -0.06, 0.015, 0.16, 0.15, 0.075))
STALKED: tuple[Blob, ...] = ((0, 0, 0.0, 0.12, 0.12, 0.05), (0.01, 0, 0.08, 0.065, 0.065, 0.09),
                             (0.05, 0.01, 0.19, 0.06, 0.06, 0.09), (0.12, 0.02, 0.29, 0.065, 0.065, 0.08),
                             (0.22, 0.03, 0.40, 0.20, 0.17, 0.16), (0.28, -0.04, 0.45, 0.12, 0.13, 0.11))
LOBED: tuple[Blob, ...] = ((0, 0, 0.04, 0.26, 0.24, 0.20), (0.17, 0.08, 0.15, 0.16, 0.16, 0.15),
                           (-0.12, 0.14, 0.14, 0.17, 0.15, 0.16), (0.02, -0.16, 0.16, 0.17, 0.16, 0.16),
                           (0.03, 0.03, 0.24, 0.15, 0.15, 0.13))


def scaled_blobs(polyp: Polyp) -> NDArray[np.float64]:
    """The polyp's blobs at its size, turned about the wall's normal: (k, 6). Radii do not turn; blobs are near round."""
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
    out = np.array(wall_normal(tube.wall, tube.centre, tube.z_start, tube.cells_per_unit, *base)[:3])
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


def resized(polyp: Polyp, size: float) -> Polyp:
    """The same polyp, ``size`` times as large."""
    return replace(polyp, size=polyp.size * size)


@njit(cache=True)
def blend(a, b, k):
    """Smooth minimum: min(a, b) with the crease rounded over a width of about k."""
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - 0.25 * h * h * k


@njit(cache=True)
def to_local(table, i, x, y, z):
    """World point -> (along, across, out) of polyp i."""
    f = table.frame[i]
    px, py, pz = x - f[0, 0], y - f[0, 1], z - f[0, 2]
    return (px * f[1, 0] + py * f[1, 1] + pz * f[1, 2], px * f[2, 0] + py * f[2, 1] + pz * f[2, 2],
            px * f[3, 0] + py * f[3, 1] + pz * f[3, 2])


@njit(cache=True)
def polyp_distance(table, i, x, y, z):
    """Approximate signed distance from a world point to polyp i."""
    a, b, c = to_local(table, i, x, y, z)
    best = 1e9
    for k in range(table.first[i], table.first[i + 1]):
        blob = table.blobs[k]
        u, v, w = a - blob[0], b - blob[1], c - blob[2]
        k0 = math.sqrt((u / blob[3]) ** 2 + (v / blob[4]) ** 2 + (w / blob[5]) ** 2)
        k1 = math.sqrt((u / blob[3] ** 2) ** 2 + (v / blob[4] ** 2) ** 2 + (w / blob[5] ** 2) ** 2)
        best = blend(best, k0 * (k0 - 1.0) / max(k1, 1e-9), 0.05)
    lump = table.skin[i, 3]
    if lump > 0.0 and best < 4.0 * lump:
        best += lump * noise3(a * 11.0 + 7.0 * i, b * 11.0, c * 11.0)
    return best


@njit(cache=True)
def nearest_polyp(table, active, x, y, z):
    """(distance, index) over the polyps in the bit set ``active``; (1e9, -1) where there is none."""
    best, who = 1e9, -1
    for i in range(table.frame.shape[0]):
        if active & (1 << i):
            d = polyp_distance(table, i, x, y, z)
            if d < best:
                best, who = d, i
    return best, who


@njit(cache=True)
def near_ray(table, ox, oy, oz, dx, dy, dz):
    """Bit set of the polyps whose bounding ball the ray meets."""
    active = 0
    for i in range(table.bound.shape[0]):
        ball = table.bound[i]
        px, py, pz = ball[0] - ox, ball[1] - oy, ball[2] - oz
        ahead = max(px * dx + py * dy + pz * dz, 0.0)
        if px * px + py * py + pz * pz - 2 * ahead * (px * dx + py * dy + pz * dz) + ahead * ahead < ball[3] ** 2:
            active |= 1 << i
    return active

"""The colon wall: a bent tube whose radius is a table over (depth z, angle theta), and what a ray asks of it.

Lengths are in lumen radii (one is about 25 mm). The centre line is (x(z), y(z), z), so z is depth along the tube, and
the wall is where the distance from the centre line equals ``radius(z, theta)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq
from scipy.ndimage import gaussian_filter

from phantom.vectors import JIT, clamp, mix, unit

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tube:
    """wall (nz, ntheta, 4): radius, d/dz, d/dtheta, openness in 0..1; centre (nz, 4): x, y, dx/dz, dy/dz."""

    wall: Floats
    centre: Floats
    z_start: float
    cells_per_unit: float


@dataclass(frozen=True)
class Fold:
    """One haustral fold: a ridge around part of the circumference. Angles in radians, lengths in lumen radii."""

    z: float
    depth: float
    width: float
    angle: float
    span: float
    tilt: float


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> Floats:
    """Periodic Gaussian-filtered noise of mean 0 and standard deviation 1, shape ``shape``. Filtered by FFT: fast."""
    spectrum = rfft2(rng.standard_normal(shape, dtype=np.float32))
    down, across = fftfreq(shape[0])[:, None] * sigma[0], rfftfreq(shape[1])[None, :] * sigma[1]
    spectrum *= np.exp(-2 * math.pi**2 * (down**2 + across**2)).astype(np.float32)
    noise = irfft2(spectrum, s=shape)
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


def plan_folds(rng: np.random.Generator, z_start: float, z_stop: float) -> list[Fold]:
    """Folds at uneven spacing; every one covers about half of the circumference, on alternating sides."""
    folds, z, angle = [], z_start, rng.uniform(0, 2 * math.pi)
    while z < z_stop:
        angle += 2 * math.pi / 3 + rng.normal(0, 0.5)
        folds.append(
            Fold(
                z=z,
                depth=rng.uniform(0.2, 0.46),
                width=rng.uniform(0.085, 0.14),
                angle=angle,
                span=rng.uniform(0.8, 1.6),
                tilt=rng.normal(0, 0.12),
            )
        )
        z += rng.uniform(0.3, 0.75)
    return folds


def fold_height(fold: Fold, z: Floats, theta: Floats, warp: Floats) -> Floats:
    """How far the fold reaches into the lumen at depths z (nz, 1) and angles theta (1, ntheta)."""
    away = np.angle(np.exp(1j * (theta - fold.angle)))
    reach = 1.0 / (1.0 + np.exp((np.abs(away) - fold.span) / 0.22))
    offset = z - fold.z - fold.tilt * np.cos(away) - 0.07 * warp
    crest = np.exp(-(np.abs(offset / fold.width) ** 1.7))
    foot = np.exp(-((offset / (2.8 * fold.width)) ** 2))
    return fold.depth * reach * (0.7 * crest + 0.3 * foot)


def wall_radius(rng: np.random.Generator, z: Floats, theta: Floats, cells_per_unit: float) -> Floats:
    """Radius table (nz, ntheta): a slightly triangular tube, swollen by noise, narrowed by folds."""
    shape, per_radian = (z.size, theta.size), theta.size / (2 * math.pi)
    swell = smooth_noise(rng, shape, (0.45 * cells_per_unit, 0.5 * per_radian))
    ripple = smooth_noise(rng, shape, (0.09 * cells_per_unit, 0.12 * per_radian))
    warp = smooth_noise(rng, shape, (0.3 * cells_per_unit, 0.25 * per_radian))
    radius = 1.0 + 0.06 * np.cos(3 * theta + 0.4 * z) + 0.05 * swell + 0.014 * ripple
    folds = np.zeros(shape)
    for fold in plan_folds(rng, float(z[0, 0]), float(z[-1, 0])):
        rows = np.abs(z[:, 0] - fold.z) < 1.2
        folds[rows] = np.maximum(folds[rows], fold_height(fold, z[rows], theta, warp[rows]))
    return gaussian_filter(radius - folds, (1.2, 1.2), mode=("nearest", "wrap"))


def centre_line(z: Floats) -> Floats:
    """(nz, 4): a winding centre line and its slopes. The two flexures hide what lies beyond them."""
    x = 0.80 * np.sin(0.62 * z + 0.3) + 0.35 * np.sin(1.13 * z + 1.9) + 1.3 * np.tanh((z - 6.4) / 0.9)
    y = 0.70 * np.sin(0.53 * z + 2.1) + 0.30 * np.sin(1.31 * z + 0.2) - 1.3 * np.tanh((z - 13.2) / 0.9)
    return np.stack([x, y, np.gradient(x, z), np.gradient(y, z)], axis=1).astype(np.float32)


def build_tube(rng: np.random.Generator, *, z_start: float, z_stop: float, cells_per_unit: float = 96.0) -> Tube:
    """The tube from z_start to z_stop, tabled at cells_per_unit cells per lumen radius."""
    z = np.arange(z_start, z_stop, 1.0 / cells_per_unit)
    theta = np.arange(768) * (2 * math.pi / 768)
    radius = wall_radius(rng, z[:, None], theta[None, :], cells_per_unit)
    padded = np.pad(radius, ((0, 0), (1, 1)), mode="wrap")
    slope_theta = np.gradient(padded, 2 * math.pi / 768, axis=1)[:, 1:-1]
    slope_z = np.gradient(radius, 1.0 / cells_per_unit, axis=0)
    around = gaussian_filter(radius, (0.22 * cells_per_unit, 30), mode=("nearest", "wrap"))
    openness = np.clip(1.0 - 3.2 * np.maximum(radius - around - 0.01, 0), 0.2, 1.0)
    wall = np.stack([radius, slope_z, slope_theta, openness], axis=2).astype(np.float32)
    return Tube(wall=wall, centre=centre_line(z), z_start=z_start, cells_per_unit=cells_per_unit)


@njit(**JIT)
def sample_centre(centre, z_start, cells_per_unit, z):
    """(x, y, dx/dz, dy/dz) of the centre line at depth z, held constant beyond both ends."""
    row = clamp((z - z_start) * cells_per_unit, 0.0, centre.shape[0] - 1.001)
    k = int(row)
    f = row - k
    return (
        mix(centre[k, 0], centre[k + 1, 0], f),
        mix(centre[k, 1], centre[k + 1, 1], f),
        mix(centre[k, 2], centre[k + 1, 2], f),
        mix(centre[k, 3], centre[k + 1, 3], f),
    )


@njit(**JIT)
def sample_wall(wall, z_start, cells_per_unit, z, theta, channel):
    """One channel of the wall table at (z, theta in -pi..pi), bilinear, periodic in theta."""
    row = clamp((z - z_start) * cells_per_unit, 0.0, wall.shape[0] - 1.001)
    width = wall.shape[1]
    col = theta * (width / (2.0 * math.pi))
    if col < 0.0:
        col += width
    k, j = int(row), int(col)
    f, g = row - k, col - j
    j0 = j if j < width else 0
    j1 = j0 + 1 if j0 + 1 < width else 0
    top = mix(wall[k, j0, channel], wall[k, j1, channel], g)
    return mix(top, mix(wall[k + 1, j0, channel], wall[k + 1, j1, channel], g), f)


@njit(**JIT)
def wall_gap(wall, centre, z_start, cells_per_unit, point):
    """Radial distance from a point to the wall: positive inside the lumen, zero on the mucosa."""
    cx, cy, _, _ = sample_centre(centre, z_start, cells_per_unit, point[2])
    qx, qy = point[0] - cx, point[1] - cy
    radius = sample_wall(wall, z_start, cells_per_unit, point[2], math.atan2(qy, qx), 0)
    return radius - math.sqrt(qx * qx + qy * qy)


@njit(**JIT)
def wall_normal(wall, centre, z_start, cells_per_unit, point):
    """(unit normal into the lumen, theta) at a wall point, from the tabled slopes."""
    cx, cy, sx, sy = sample_centre(centre, z_start, cells_per_unit, point[2])
    qx, qy = point[0] - cx, point[1] - cy
    r2 = max(qx * qx + qy * qy, 1e-12)
    r, theta = math.sqrt(r2), math.atan2(qy, qx)
    dz = sample_wall(wall, z_start, cells_per_unit, point[2], theta, 1)
    dt = sample_wall(wall, z_start, cells_per_unit, point[2], theta, 2)
    nz = dz + dt * (qy * sx - qx * sy) / r2 + (qx * sx + qy * sy) / r
    return unit((-dt * qy / r2 - qx / r, dt * qx / r2 - qy / r, nz)), theta

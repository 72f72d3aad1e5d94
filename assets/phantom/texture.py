"""Mucosa as a tile: colour mottling, branching vessels, wetness and fine relief over (theta, z), all procedural."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numba import njit

from phantom.geometry import Floats, smooth_noise
from phantom.vectors import JIT, mix

TILE_LENGTH = 8.0  # lumen radii along z before the tile repeats; around, it spans the whole circumference
TILE_SHAPE = (1536, 1280)  # rows along z, columns around
MOTTLE, VESSEL, WET, BUMP_Z, BUMP_THETA, DEBRIS = range(6)


def grow_vessel(
    rng: np.random.Generator, canvas: Floats, start: tuple[float, float], heading: float, width_px: float
) -> None:
    """Draw one vessel tree into canvas: a wandering line that thins and forks until it is a hair."""
    stack = [(start[0], start[1], heading, width_px)]
    while stack:
        x, y, angle, width = stack.pop()
        for _ in range(int(rng.integers(8, 22))):
            angle += rng.normal(0, 0.17)
            nx, ny = x + 9 * math.cos(angle), y + 9 * math.sin(angle)
            tone = min(1.0, 0.25 + 0.2 * width)
            ends = [(int(16 * v) for v in (x, y)), (int(16 * v) for v in (nx, ny))]
            cv2.line(canvas, tuple(ends[0]), tuple(ends[1]), tone, max(1, round(width)), cv2.LINE_AA, 4)
            x, y = nx, ny
        if width > 0.8:
            fork = rng.uniform(0.3, 0.8)
            stack.append((x, y, angle + fork, width * rng.uniform(0.6, 0.85)))
            stack.append((x, y, angle - rng.uniform(0.3, 0.8), width * rng.uniform(0.5, 0.8)))


def draw_vessels(rng: np.random.Generator, shape: tuple[int, int], trees: int) -> Floats:
    """Periodic vessel map in 0..1: trees are drawn on a larger sheet whose margins are folded back."""
    height, width = shape
    sheet = np.zeros((2 * height, 2 * width), np.float32)
    for _ in range(trees):
        start = (width * rng.uniform(0.5, 1.5), height * rng.uniform(0.5, 1.5))
        grow_vessel(rng, sheet, start, rng.uniform(0, 2 * math.pi), rng.uniform(2.2, 4.2))
    folded = sheet.reshape(2, height, 2, width).max(axis=(0, 2))
    soft = cv2.GaussianBlur(folded, (0, 0), 0.9) + 0.5 * cv2.GaussianBlur(folded, (0, 0), 4.0)
    return np.clip(soft, 0, 1)


def build_tile(rng: np.random.Generator) -> Floats:
    """(rows, columns, 6) float32: the channels named above."""
    mottle = sum(amp * smooth_noise(rng, TILE_SHAPE, (s, s)) for amp, s in ((0.6, 90), (0.45, 30), (0.3, 9), (0.2, 3)))
    vessel = draw_vessels(rng, TILE_SHAPE, trees=100)
    vessel *= np.clip(0.55 + 0.5 * smooth_noise(rng, TILE_SHAPE, (120, 120)), 0.1, 1.0)
    wet = np.clip(0.5 + 0.7 * smooth_noise(rng, TILE_SHAPE, (60, 60)), 0, 1)
    relief = sum(amp * smooth_noise(rng, TILE_SHAPE, (s, s)) for amp, s in ((1.0, 13), (0.5, 5), (0.25, 2.2)))
    down, across = np.gradient(np.pad(relief, 1, mode="wrap"))
    spots = smooth_noise(rng, TILE_SHAPE, (5, 5)) + 0.8 * smooth_noise(rng, TILE_SHAPE, (110, 110))
    debris = np.clip((spots - 3.4) * 2.0, 0, 1)
    planes = [mottle, vessel, wet, down[1:-1, 1:-1], across[1:-1, 1:-1], debris]
    return np.stack(planes, axis=2).astype(np.float32)


@njit(**JIT)
def mix_texels(tile, i0, i1, j0, j1, f, g, channel):
    """One channel between four texels; f along the rows, g along the columns."""
    top = mix(tile[i0, j0, channel], tile[i0, j1, channel], g)
    return mix(top, mix(tile[i1, j0, channel], tile[i1, j1, channel], g), f)


@njit(**JIT)
def sample_tile(tile, z, theta, zoom):
    """All six channels at depth z and angle theta, bilinear; an integer zoom keeps the tile seamless around."""
    rows, columns = tile.shape[0], tile.shape[1]
    v, u = z * (zoom / TILE_LENGTH), theta * (zoom / (2.0 * math.pi))
    v, u = (v - math.floor(v)) * rows, (u - math.floor(u)) * columns
    i, j = int(v), int(u)
    f, g = v - i, u - j
    i0, j0 = (i if i < rows else 0), (j if j < columns else 0)
    i1, j1 = (i0 + 1 if i0 + 1 < rows else 0), (j0 + 1 if j0 + 1 < columns else 0)
    return (
        mix_texels(tile, i0, i1, j0, j1, f, g, 0),
        mix_texels(tile, i0, i1, j0, j1, f, g, 1),
        mix_texels(tile, i0, i1, j0, j1, f, g, 2),
        mix_texels(tile, i0, i1, j0, j1, f, g, 3),
        mix_texels(tile, i0, i1, j0, j1, f, g, 4),
        mix_texels(tile, i0, i1, j0, j1, f, g, 5),
    )


@njit(**JIT)
def lattice(ix, iy, iz):
    """A repeatable pseudo-random number in -1..1 for an integer point (a 32-bit integer hash)."""
    h = (ix * 374761393 + iy * 668265263 + iz * 2147483647) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 32767.5 - 1.0


@njit(**JIT)
def edge_noise(ix, iy, iz, fy, fz):
    """Noise on the face x = ix of a unit cell, at (fy, fz) within it."""
    low = mix(lattice(ix, iy, iz), lattice(ix, iy + 1, iz), fy)
    return mix(low, mix(lattice(ix, iy, iz + 1), lattice(ix, iy + 1, iz + 1), fy), fz)


@njit(**JIT)
def noise3(x, y, z):
    """Smooth value noise in -1..1 over space."""
    ix, iy, iz = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
    fx, fy, fz = x - ix, y - iy, z - iz
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    return mix(edge_noise(ix, iy, iz, fy, fz), edge_noise(ix + 1, iy, iz, fy, fz), fx)

"""The lens, and the march of a ray to the surface it sees."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from phantom.geometry import wall_gap
from phantom.polyps import PolypTable, blend, near_ray, nearest_polyp
from phantom.vectors import JIT, dot, plus

BLOCK_PX = 8  # rays of one block share a first, cautious march
FAR = 12.0  # lumen radii beyond which all is dark
FILLET = 0.05  # how softly a polyp's foot runs into the wall, in lumen radii
# How much of the gap to the wall a ray may step at once. Folds are steeper than 45 degrees, so the radial gap
# overstates the true distance; at this share no fold is jumped.
SAFE_STEP = 0.42
SAFE_STEP_POLYP = 0.8


class World(NamedTuple):
    """The scene as the compiled code takes it."""

    wall: NDArray[np.float32]
    centre: NDArray[np.float32]
    z_start: float
    cells_per_unit: float
    tile: NDArray[np.float32]
    polyps: PolypTable


class View(NamedTuple):
    """A camera and its equidistant fisheye lens: angle from the axis = distance from the middle / focal_px."""

    origin: tuple[float, float, float]
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    forward: tuple[float, float, float]
    focal_px: float
    width_px: int
    height_px: int


@njit(**JIT)
def ray_through(view, x_px, y_px):
    """Unit direction of the ray through a picture point."""
    u, v = x_px - 0.5 * view.width_px, y_px - 0.5 * view.height_px
    rho = math.sqrt(u * u + v * v) + 1e-9
    angle = rho / view.focal_px
    side = math.sin(angle) / rho
    direction = plus((0.0, 0.0, 0.0), view.forward, math.cos(angle))
    return plus(plus(direction, view.right, u * side), view.down, v * side)


@njit(**JIT)
def picture_point(view, point):
    """Where a world point appears: (x_px, y_px). The inverse of ray_through."""
    offset = plus(point, view.origin, -1.0)
    a, b = dot(offset, view.right), dot(offset, view.down)
    side = math.sqrt(a * a + b * b) + 1e-9
    rho = math.atan2(side, dot(offset, view.forward)) * view.focal_px / side
    return 0.5 * view.width_px + a * rho, 0.5 * view.height_px + b * rho


@njit(**JIT)
def gap_to_wall(world, point):
    """A step towards the wall that is safe to take from a point inside the lumen."""
    return SAFE_STEP * wall_gap(world.wall, world.centre, world.z_start, world.cells_per_unit, point)


@njit(**JIT)
def gap(world, active, point):
    """The same, to the wall or to a polyp of the bit set, with a soft join between the two."""
    wall = gap_to_wall(world, point)
    if active == 0:
        return wall
    polyp, _ = nearest_polyp(world.polyps, active, point)
    return blend(wall, SAFE_STEP_POLYP * polyp, FILLET)


@njit(**JIT)
def approach(world, active, origin, direction, cone):
    """Distance along a ray up to where a surface is within ``cone`` times that distance of it."""
    t = 0.02
    for _ in range(120):
        step = gap(world, active, plus(origin, direction, t))
        if step < cone * t or t > FAR:
            break
        t += step
    return t


@njit(**JIT)
def march(world, active, origin, direction, start):
    """Distance along a ray to the surface, from a start that is in front of it."""
    t, step, inside = start, 0.0, False
    for _ in range(160):
        here = gap(world, active, plus(origin, direction, t))
        if here < 0.0002 * t or t > FAR:
            inside = here < 0.0
            break
        step = max(here, 0.006 * t)  # may go through by a hair: cheaper than to creep up on a grazed wall
        t += step
    for _ in range(6 if inside else 0):  # the last step went through: halve it back to the surface
        step *= 0.5
        t += step if gap(world, active, plus(origin, direction, t)) > 0.0 else -step
    return t


@njit(**JIT)
def owner_of(world, active, point):
    """Index of the polyp that a surface point belongs to, -1 for the wall."""
    if active == 0:
        return -1
    polyp, who = nearest_polyp(world.polyps, active, point)
    return who if SAFE_STEP_POLYP * polyp < gap_to_wall(world, point) else -1


@njit(**JIT)
def trace(world, view, first, last, inside, depth, owner):
    """Fill rows first..last of depth (h, w), the distance to the surface, and owner (h, w), the polyp hit or -1.

    Only where inside (h, w) is true; elsewhere both keep what they held.
    """
    spread = 0.75 * BLOCK_PX / view.focal_px
    everyone = (1 << world.polyps.bound.shape[0]) - 1
    for top in range(first, last, BLOCK_PX):
        for left in range(0, depth.shape[1], BLOCK_PX):
            middle = ray_through(view, left + 0.5 * BLOCK_PX, top + 0.5 * BLOCK_PX)
            start = approach(world, everyone, view.origin, middle, spread) * (1.0 - spread)
            for y in range(top, min(top + BLOCK_PX, last)):
                for x in range(left, min(left + BLOCK_PX, depth.shape[1])):
                    if not inside[y, x]:
                        continue
                    direction = ray_through(view, x + 0.5, y + 0.5)
                    active = near_ray(world.polyps, view.origin, direction)
                    depth[y, x] = march(world, active, view.origin, direction, start)
                    owner[y, x] = owner_of(world, active, plus(view.origin, direction, depth[y, x]))

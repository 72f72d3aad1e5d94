"""Light on the mucosa: colour and relief of wall and polyps, two lamps beside the lens, shadows and wet highlights."""

from __future__ import annotations

import math

from numba import njit

from phantom.geometry import sample_wall, wall_gap, wall_normal
from phantom.polyps import near_point, near_ray, nearest_polyp, to_local
from phantom.rays import gap, gap_to_wall, march, owner_of, picture_point, ray_through
from phantom.texture import BUMP_THETA, BUMP_Z, DEBRIS, MOTTLE, VESSEL, WET, noise3, sample_tile
from phantom.vectors import JIT, clamp, cross, dot, mix, plus, times, unit

LAMP_SIDE, LAMP_DOWN = 0.10, 0.05  # where the two lamps are, beside and below the lens, in lumen radii
MATT_RELIEF, GLOSS_RELIEF = 0.06, 0.16  # how far relief tilts the normal: a wet film shows more of it than the tissue


@njit(**JIT)
def wall_colour(coarse, fine, z, fade, veins):
    """Linear albedo (red, green, blue) from the tile at two scales; fade and veins, 0..1, thin out what is fine."""
    mottle, speck = coarse[MOTTLE], fine[MOTTLE] * fade
    vessel = veins * max(coarse[VESSEL] * (0.4 + 0.6 * fade), 0.6 * fade * fine[VESSEL])
    warm = math.sin(0.45 * z + 1.0) + 0.5 * mottle
    light = 1.0 + 0.08 * mottle + 0.07 * speck
    red = 0.78 * light * (1.0 - 0.30 * vessel)
    green = (0.195 + 0.012 * warm) * light * (1.0 + 0.08 * mottle + 0.05 * speck) * (1.0 - 0.72 * vessel)
    blue = (0.102 - 0.014 * warm) * light * (1.0 + 0.07 * mottle + 0.05 * speck) * (1.0 - 0.66 * vessel)
    stain = coarse[DEBRIS]
    return mix(red, 0.80, stain), mix(green, 0.40, stain), mix(blue, 0.15, stain)


@njit(**JIT)
def polyp_colour(world, i, point, fade):
    """Factors on the mucosa's (red, green, blue), and the pits' slope: patches, pits and grain of polyp i."""
    a, b, c = to_local(world.polyps, i, point)
    shift = 13.0 * i
    patch = noise3(a * 9 + shift, b * 9, c * 9)
    pits = noise3(a * 60 + shift, b * 60, c * 60) * fade + 0.7 * noise3(a * 28, b * 28 + shift, c * 28)
    skin = world.polyps.skin[i]
    grain = skin[4] * (0.55 * pits + 0.45 * patch)
    return (skin[0] * (1 + 0.40 * grain), skin[1] * (1 + 1.0 * grain), skin[2] * (1 + 0.9 * grain)), pits


@njit(**JIT)
def slope_normal(world, active, point):
    """Normal by differences of the joined distance; used where a polyp or its foot is."""
    e = 0.004
    x, y, z = point
    return unit(
        (
            gap(world, active, (x + e, y, z)) - gap(world, active, (x - e, y, z)),
            gap(world, active, (x, y + e, z)) - gap(world, active, (x, y - e, z)),
            gap(world, active, (x, y, z + e)) - gap(world, active, (x, y, z - e)),
        )
    )


@njit(**JIT)
def beside_polyp(world, active, point, normal):
    """How open a wall point is beside polyps, 0.35..1: the dark line and soft shadow around a polyp's foot."""
    shade = 1.0
    for reach in (0.05, 0.14):
        d, _ = nearest_polyp(world.polyps, active, plus(point, normal, reach))
        shade -= 0.40 * max(reach - max(d, 0.0), 0.0) / reach
    return max(shade, 0.35)


@njit(**JIT)
def passes_polyps(world, point, light, reach):
    """Share of a lamp's light that passes the polyps: 0 in shadow, 1 outside, soft between."""
    between = near_ray(world.polyps, point, light)
    share, t = 1.0, 0.04
    for _ in range(14 if between else 0):
        d, _ = nearest_polyp(world.polyps, between, plus(point, light, t))
        share = min(share, 9.0 * d / min(t, 1.2))
        t += max(d, 0.04)
        if share < 0.02 or t > reach:
            break
    return max(share, 0.0)


@njit(**JIT)
def passes_folds(world, point, light, reach):
    """The same past the wall's own folds, coarsely."""
    share, t = 1.0, 0.06
    for _ in range(5):
        here = wall_gap(world.wall, world.centre, world.z_start, world.cells_per_unit, plus(point, light, t))
        share = min(share, 0.7 + 8.0 * here / t)
        t *= 1.9
        if share < 0.02 or t > reach:
            break
    return max(share, 0.0)


@njit(**JIT)
def skin_place(world, point, theta, who):
    """Where on the tile a surface point takes its texture: the wall by (z, theta), a polyp by its own coordinates."""
    if who < 0:
        return point[2], theta
    a, b, c = to_local(world.polyps, who, point)
    return a + 0.8 * c + 1.7 * who, b + 0.6 * c


@njit(**JIT)
def surface_at(world, active, point, who, fade):
    """What is at a surface point: (normal, gloss normal, albedo, wetness, openness)."""
    normal, theta = wall_normal(world.wall, world.centre, world.z_start, world.cells_per_unit, point)
    u, v = skin_place(world, point, theta, who)
    coarse, fine = sample_tile(world.tile, u, v, 1), sample_tile(world.tile, u, v, 4)
    albedo, wet = wall_colour(coarse, fine, point[2], fade, 1.0 if who < 0 else 0.35), coarse[WET]
    along = coarse[BUMP_Z] + 0.8 * fade * fine[BUMP_Z]
    around = coarse[BUMP_THETA] + 0.8 * fade * fine[BUMP_THETA]
    openness = sample_wall(world.wall, world.z_start, world.cells_per_unit, point[2], theta, 3)
    if active:
        near, i = nearest_polyp(world.polyps, active, point)
        if near < 0.10:
            normal = slope_normal(world, active, point)
        if near < 0.03 or who >= 0:
            tint, pits = polyp_colour(world, i, point, fade)
            edge = 1.0 if who >= 0 else clamp(1.0 - near / 0.03, 0.0, 1.0)
            albedo = (
                albedo[0] * mix(1.0, tint[0], edge),
                albedo[1] * mix(1.0, tint[1], edge),
                albedo[2] * mix(1.0, tint[2], edge),
            )
            along, around = mix(along, 0.5 * along + 0.8 * pits, edge), mix(around, 0.5 * around - 0.7 * pits, edge)
        if who < 0:
            openness *= beside_polyp(world, active, point, normal)
        else:
            openness = 0.75 + 0.25 * clamp(gap_to_wall(world, point) / 0.03, 0.0, 1.0)
            wet = 0.8
    forward = unit(plus((0.0, 0.0, 1.0), normal, -normal[2]))
    tilt = plus(times(forward, along), cross(normal, forward), around)
    return (unit(plus(normal, tilt, -MATT_RELIEF)), unit(plus(normal, tilt, -GLOSS_RELIEF)), albedo, wet, openness)


@njit(**JIT)
def lamp(view, point, side):
    """(unit direction to, distance from) the lamp on the side -1 or 1 of the lens."""
    place = plus(plus(view.origin, view.right, side * LAMP_SIDE), view.down, LAMP_DOWN)
    way = plus(place, point, -1.0)
    reach = math.sqrt(dot(way, way)) + 1e-9
    return times(way, 1.0 / reach), reach


@njit(**JIT)
def light_leaving(world, view, point, to_eye, who, depth, fade):
    """Linear (red, green, blue) that leaves a surface point towards the eye, before exposure."""
    active = near_point(world.polyps, point)
    normal, gloss, albedo, wet, openness = surface_at(world, active, point, who, fade)
    matt, shine = 0.0, 0.0
    for side in (-1.0, 1.0):
        light, reach = lamp(view, point, side)
        share = 1.0
        if who < 0:
            share = passes_folds(world, point, light, reach) * passes_polyps(world, point, light, reach)
        falloff = 1.0 / ((reach * reach + 0.06) * (1.0 + 0.2 * reach * reach))
        half = max(dot(gloss, unit(plus(light, to_eye, 1.0))), 0.0)
        matt += falloff * mix(0.10, 1.0, share) * max((dot(normal, light) + 0.18) / 1.18, 0.0)
        shine += falloff * share * (2.4 * wet * half**360 + 0.02 * half**24)
    matt = (matt + 0.008 / (depth + 0.5)) * openness
    return (
        albedo[0] * matt + shine,
        albedo[1] * matt * mix(0.9, 1.0, openness) + 0.94 * shine,
        albedo[2] * matt * mix(0.9, 1.0, openness) + 0.87 * shine,
    )


@njit(**JIT)
def shade(world, view, before, first, last, inside, depth, owner, light, moved):
    """Fill rows of light (h, w, 3) and moved (h, w, 2): the way in px each point came while the shutter was open."""
    for y in range(first, last):
        for x in range(depth.shape[1]):
            if not inside[y, x]:
                continue
            direction, t = ray_through(view, x + 0.5, y + 0.5), depth[y, x]
            point = plus(view.origin, direction, t)
            fade = 1.0 / (1.0 + (260.0 * t / view.focal_px) ** 2)
            rgb = light_leaving(world, view, point, times(direction, -1.0), owner[y, x], t, fade)
            light[y, x, 0], light[y, x, 1], light[y, x, 2] = rgb
            u, v = picture_point(before, point)
            moved[y, x, 0], moved[y, x, 1] = u - (x + 0.5), v - (y + 0.5)


@njit(**JIT)
def light_along(world, view, direction, start, fade):
    """Light that comes back along one ray, marched from ``start``."""
    active = near_ray(world.polyps, view.origin, direction)
    t = march(world, active, view.origin, direction, start)
    point = plus(view.origin, direction, t)
    return light_leaving(world, view, point, times(direction, -1.0), owner_of(world, active, point), t, fade)


@njit(**JIT)
def smooth_edges(world, view, first, last, inside, depth, light):
    """Where depth jumps between neighbours, replace the pixel's light by the mean of four rays through it."""
    for y in range(max(first, 1), min(last, depth.shape[0] - 1)):
        for x in range(1, depth.shape[1] - 1):
            t = depth[y, x]
            low = min(min(depth[y - 1, x], depth[y + 1, x]), min(depth[y, x - 1], depth[y, x + 1]))
            high = max(max(depth[y - 1, x], depth[y + 1, x]), max(depth[y, x - 1], depth[y, x + 1]))
            if not inside[y, x] or low == 0.0 or (high - t < 0.06 * t and t - low < 0.06 * t):
                continue
            fade = 1.0 / (1.0 + (260.0 * t / view.focal_px) ** 2)
            light[y, x, :] = 0.0
            for k in range(4):
                direction = ray_through(view, x + 0.25 + 0.5 * (k & 1), y + 0.25 + 0.5 * (k >> 1))
                rgb = light_along(world, view, direction, 0.9 * min(low, t), fade)
                for c in range(3):
                    light[y, x, c] += 0.25 * rgb[c]

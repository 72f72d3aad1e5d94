"""From a camera to a picture: march rays to the surface, light what they hit, and add what a scope's sensor adds."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from phantom.geometry import SAFE_STEP, Floats, sample_wall, wall_gap, wall_normal
from phantom.polyps import PolypTable, blend, near_ray, nearest_polyp, polyp_distance, to_local
from phantom.scene import Camera, Scene, camera_at
from phantom.texture import BUMP_THETA, BUMP_Z, DEBRIS, MOTTLE, VESSEL, WET, noise3, sample_tile

BLOCK_PX = 8  # rays of one block share a first, cautious march
FAR = 14.0  # lumen radii beyond which all is dark
FILLET = 0.035  # how softly a polyp's foot runs into the wall
SHUTTER = 0.5  # share of the frame's time that the shutter is open
FIELD_OF_VIEW = math.radians(132.0)  # across the field's width; its corners see more


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

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    focal_px: float
    width_px: int
    height_px: int


@dataclass(frozen=True)
class FieldPicture:
    """image (h, w, 3) uint8 RGB; owner (h, w) int8: index of the polyp seen at each pixel, -1 for none."""

    image: NDArray[np.uint8]
    owner: NDArray[np.int8]


@dataclass(frozen=True)
class Planes:
    """What the compiled code fills: depth, owner (h, w); light (h, w, 3), linear; moved (h, w, 2), px."""

    depth: Floats
    owner: NDArray[np.int8]
    light: Floats
    moved: Floats

    @staticmethod
    def blank(height_px: int, width_px: int) -> Planes:
        shape = (height_px, width_px)
        return Planes(np.zeros(shape, np.float32), np.zeros(shape, np.int8), np.zeros((*shape, 3), np.float32),
                      np.zeros((*shape, 2), np.float32))


def world_of(scene: Scene) -> World:
    tube = scene.tube
    return World(tube.wall, tube.centre, tube.z_start, tube.cells_per_unit, scene.tile, scene.table)


def view_of(camera: Camera, width_px: int, height_px: int) -> View:
    return View(camera.origin, camera.axes, width_px / FIELD_OF_VIEW, width_px, height_px)


@njit(cache=True)
def ray_through(view, x_px, y_px):
    """Unit direction of the ray through a picture point."""
    u, v = x_px - 0.5 * view.width_px, y_px - 0.5 * view.height_px
    rho = math.sqrt(u * u + v * v)
    angle = rho / view.focal_px
    side = math.sin(angle) / max(rho, 1e-9)
    a, b, c = u * side, v * side, math.cos(angle)
    m = view.axes
    return (a * m[0, 0] + b * m[1, 0] + c * m[2, 0], a * m[0, 1] + b * m[1, 1] + c * m[2, 1],
            a * m[0, 2] + b * m[1, 2] + c * m[2, 2])


@njit(cache=True)
def picture_point(view, x, y, z):
    """Where a world point appears: (x_px, y_px). The inverse of ray_through."""
    px, py, pz = x - view.origin[0], y - view.origin[1], z - view.origin[2]
    m = view.axes
    a = px * m[0, 0] + py * m[0, 1] + pz * m[0, 2]
    b = px * m[1, 0] + py * m[1, 1] + pz * m[1, 2]
    c = px * m[2, 0] + py * m[2, 1] + pz * m[2, 2]
    side = math.sqrt(a * a + b * b)
    rho = math.atan2(side, c) * view.focal_px / max(side, 1e-9)
    return 0.5 * view.width_px + a * rho, 0.5 * view.height_px + b * rho


@njit(cache=True)
def gap_to_wall(world, x, y, z):
    return SAFE_STEP * wall_gap(world.wall, world.centre, world.z_start, world.cells_per_unit, x, y, z)


@njit(cache=True)
def distance(world, active, x, y, z):
    """A step that is safe to take from a point: to the wall or to a polyp of the bit set, with a soft join."""
    wall = gap_to_wall(world, x, y, z)
    if active == 0:
        return wall
    polyp, _ = nearest_polyp(world.polyps, active, x, y, z)
    return blend(wall, 0.8 * polyp, FILLET)


@njit(cache=True)
def march(world, active, origin, dx, dy, dz, t, cone):
    """Distance along a ray to the surface, or to where the surface is within ``cone`` * t of the ray."""
    step = 0.0
    for _ in range(200):
        gap = distance(world, active, origin[0] + t * dx, origin[1] + t * dy, origin[2] + t * dz)
        if gap < max(cone, 0.0006) * t or t > FAR:
            break
        step = max(gap, 0.003)
        t += step
    if cone == 0.0:
        for _ in range(5):  # the last step may have gone through: halve it back to the surface
            step *= 0.5
            gap = distance(world, active, origin[0] + t * dx, origin[1] + t * dy, origin[2] + t * dz)
            t += step if gap > 0.0 else -step
    return t


@njit(cache=True, nogil=True)
def trace(world, view, first, last, depth, owner):
    """Fill rows first..last of depth (h, w), the distance to the surface, and owner (h, w), the polyp hit or -1."""
    w = depth.shape[1]
    spread = 0.75 * BLOCK_PX / view.focal_px
    for top in range(first, last, BLOCK_PX):
        for left in range(0, w, BLOCK_PX):
            dx, dy, dz = ray_through(view, left + 0.5 * BLOCK_PX, top + 0.5 * BLOCK_PX)
            everyone = (1 << world.polyps.bound.shape[0]) - 1
            near = march(world, everyone, view.origin, dx, dy, dz, 0.02, spread)
            for y in range(top, min(top + BLOCK_PX, last)):
                for x in range(left, min(left + BLOCK_PX, w)):
                    dx, dy, dz = ray_through(view, x + 0.5, y + 0.5)
                    active = near_ray(world.polyps, view.origin[0], view.origin[1], view.origin[2], dx, dy, dz)
                    t = march(world, active, view.origin, dx, dy, dz, near * (1.0 - spread), 0.0)
                    depth[y, x] = t
                    px, py, pz = view.origin[0] + t * dx, view.origin[1] + t * dy, view.origin[2] + t * dz
                    polyp, who = nearest_polyp(world.polyps, active, px, py, pz)
                    owner[y, x] = who if 0.8 * polyp < gap_to_wall(world, px, py, pz) else -1


@njit(cache=True)
def slope_normal(world, active, x, y, z):
    """Normal by differences of the joined distance; used where a polyp or its foot is."""
    e = 0.004
    nx = distance(world, active, x + e, y, z) - distance(world, active, x - e, y, z)
    ny = distance(world, active, x, y + e, z) - distance(world, active, x, y - e, z)
    nz = distance(world, active, x, y, z + e) - distance(world, active, x, y, z - e)
    length = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return nx / length, ny / length, nz / length


@njit(cache=True)
def wall_skin(world, z, theta, fade):
    """Mucosa at a wall point: red, green, blue albedo (linear), wetness, and relief slopes along z and theta."""
    tile = world.tile
    mottle = sample_tile(tile, z, theta, 1, MOTTLE)
    fine = sample_tile(tile, z, theta, 4, MOTTLE) * fade
    vessel = sample_tile(tile, z, theta, 1, VESSEL) * (0.35 + 0.65 * fade)
    vessel = max(vessel, 0.5 * fade * sample_tile(tile, z, theta, 3, VESSEL))
    warm = math.sin(0.45 * z + 1.0) + 0.4 * mottle
    light = 1.0 + 0.07 * mottle + 0.05 * fine
    red = 0.80 * light * (1.0 - 0.16 * vessel)
    green = (0.235 + 0.012 * warm) * light * (1.0 + 0.06 * mottle) * (1.0 - 0.55 * vessel)
    blue = (0.130 - 0.018 * warm) * light * (1.0 + 0.05 * mottle) * (1.0 - 0.50 * vessel)
    stain = sample_tile(tile, z, theta, 1, DEBRIS)
    red, green, blue = red, green + stain * (0.36 - green), blue + stain * (0.07 - blue)
    bump_z = sample_tile(tile, z, theta, 1, BUMP_Z) + 0.6 * fade * sample_tile(tile, z, theta, 4, BUMP_Z)
    bump_t = sample_tile(tile, z, theta, 1, BUMP_THETA) + 0.6 * fade * sample_tile(tile, z, theta, 4, BUMP_THETA)
    return red, green, blue, sample_tile(tile, z, theta, 1, WET), bump_z, bump_t


@njit(cache=True)
def polyp_skin(world, i, x, y, z, fade):
    """(tint red, green, blue, grain in about -1..1) of polyp i at a world point: coarse patches, pits, grain."""
    a, b, c = to_local(world.polyps, i, x, y, z)
    s = 13.0 * i
    patch = noise3(a * 9 + s, b * 9, c * 9)
    pits = noise3(a * 55 + s, b * 55, c * 55) * fade + 0.6 * noise3(a * 28, b * 28 + s, c * 28)
    skin = world.polyps.skin[i]
    grain = skin[4] * (0.55 * pits + 0.45 * patch)
    return skin[0] * (1 + 0.35 * grain), skin[1] * (1 + 0.95 * grain), skin[2] * (1 + 0.9 * grain), pits


@njit(cache=True)
def polyp_shade(world, active, x, y, z, nx, ny, nz):
    """How open a wall point is beside polyps, 0.35..1: the dark line and soft shadow around a polyp's foot."""
    shade = 1.0
    for reach in (0.05, 0.14):
        d, _ = nearest_polyp(world.polyps, active, x + reach * nx, y + reach * ny, z + reach * nz)
        shade -= 0.42 * max(reach - max(d, 0.0), 0.0) / reach
    return max(shade, 0.35)


@njit(cache=True)
def light_passes(world, active, x, y, z, lx, ly, lz, reach):
    """Share of a light's rays that pass the polyps of the bit set: 0 in shadow, 1 outside, soft between."""
    share, t = 1.0, 0.04
    for _ in range(14):
        d, _ = nearest_polyp(world.polyps, active, x + t * lx, y + t * ly, z + t * lz)
        share = min(share, 9.0 * d / t)
        t += max(d, 0.03)
        if share < 0.02 or t > min(reach, 1.2):
            break
    return max(share, 0.0)


@njit(cache=True)
def wall_passes(world, x, y, z, lx, ly, lz, reach):
    """The same past the wall's own folds, coarsely."""
    share, t = 1.0, 0.06
    for _ in range(9):
        gap = wall_gap(world.wall, world.centre, world.z_start, world.cells_per_unit, x + t * lx, y + t * ly, z + t * lz)
        share = min(share, 0.6 + 8.0 * gap / t)
        t *= 1.45
        if share < 0.02 or t > reach:
            break
    return max(share, 0.0)


@njit(cache=True)
def lit(nx, ny, nz, sx, sy, sz, lx, ly, lz, vx, vy, vz, wet):
    """(diffuse, specular) for surface normal n, glossy normal s, unit directions to the light l and to the eye v."""
    diffuse = max((nx * lx + ny * ly + nz * lz + 0.12) / 1.12, 0.0)
    hx, hy, hz = lx + vx, ly + vy, lz + vz
    half = max((sx * hx + sy * hy + sz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz), 0.0)
    return diffuse, 1.9 * wet * half ** 260 + 0.035 * half ** 24


@njit(cache=True)
def shade_point(world, view, t, dx, dy, dz, who, fade, out):
    """Write the light (linear RGB, no exposure) that leaves the surface point at distance t towards the eye."""
    x, y, z = view.origin[0] + t * dx, view.origin[1] + t * dy, view.origin[2] + t * dz
    nx, ny, nz, theta = wall_normal(world.wall, world.centre, world.z_start, world.cells_per_unit, x, y, z)
    red, green, blue, wet, bump_z, bump_t = wall_skin(world, z, theta, fade)
    active = near_ray(world.polyps, view.origin[0], view.origin[1], view.origin[2], dx, dy, dz)
    active = active if t < FAR else 0
    openness = sample_wall(world.wall, world.z_start, world.cells_per_unit, z, theta, 3)
    gloss = 0.10
    if active:
        near, i = nearest_polyp(world.polyps, active, x, y, z)
        if near < 0.12:
            nx, ny, nz = slope_normal(world, active, x, y, z)
        edge = min(max(1.0 - near / 0.03, 0.0), 1.0) if who < 0 else 1.0
        tr, tg, tb, pits = polyp_skin(world, i, x, y, z, fade) if edge > 0.0 else (1.0, 1.0, 1.0, 0.0)
        red, green, blue = red * (1 + edge * (tr - 1)), green * (1 + edge * (tg - 1)), blue * (1 + edge * (tb - 1))
        if who < 0:
            openness *= polyp_shade(world, active, x, y, z, nx, ny, nz)
        else:
            openness = 0.72 + 0.28 * min(max(gap_to_wall(world, x, y, z) / 0.04, 0.0), 1.0)
            wet, bump_z, bump_t = 0.75, 0.5 * bump_z + 0.5 * pits, 0.5 * bump_t - 0.4 * pits
    # Relief tilts the normal along the tube and around it; gloss sees more of it than the matt part does.
    ax, ay, az = -nz * nx, -nz * ny, 1.0 - nz * nz
    bx, by, bz = ny * az - nz * ay, nz * ax - nx * az, nx * ay - ny * ax
    mx, my, mz = nx - 0.05 * (bump_z * ax + bump_t * bx), ny - 0.05 * (bump_z * ay + bump_t * by), \
        nz - 0.05 * (bump_z * az + bump_t * bz)
    sx, sy, sz = nx - gloss * (bump_z * ax + bump_t * bx), ny - gloss * (bump_z * ay + bump_t * by), \
        nz - gloss * (bump_z * az + bump_t * bz)
    m, s = math.sqrt(mx * mx + my * my + mz * mz), math.sqrt(sx * sx + sy * sy + sz * sz)
    matt, shine = 0.0, 0.0
    for side in (-1.0, 1.0):
        px = view.origin[0] + 0.10 * side * view.axes[0, 0] + 0.05 * view.axes[1, 0] - x
        py = view.origin[1] + 0.10 * side * view.axes[0, 1] + 0.05 * view.axes[1, 1] - y
        pz = view.origin[2] + 0.10 * side * view.axes[0, 2] + 0.05 * view.axes[1, 2] - z
        r = math.sqrt(px * px + py * py + pz * pz)
        lx, ly, lz = px / r, py / r, pz / r
        passes = wall_passes(world, x, y, z, lx, ly, lz, r) if who < 0 else 1.0
        if active and who < 0:
            passes *= light_passes(world, active, x, y, z, lx, ly, lz, r)
        diffuse, specular = lit(mx / m, my / m, mz / m, sx / s, sy / s, sz / s, lx, ly, lz, -dx, -dy, -dz, wet)
        matt += (0.12 + 0.88 * passes) * diffuse / (r * r + 0.10)
        shine += passes * specular / (r * r + 0.10)
    matt = (matt + 0.05 / (t + 0.6)) * openness
    out[0] = red * matt + shine
    out[1] = green * matt * (0.9 + 0.1 * openness) + 0.93 * shine
    out[2] = blue * matt * (0.9 + 0.1 * openness) + 0.85 * shine


@njit(cache=True, nogil=True)
def shade(world, view, before, first, last, depth, owner, light, moved):
    """Fill rows of light (h, w, 3) and moved (h, w, 2): the way in px each point came while the shutter was open."""
    for y in range(first, last):
        for x in range(depth.shape[1]):
            dx, dy, dz = ray_through(view, x + 0.5, y + 0.5)
            t = depth[y, x]
            fade = 1.0 / (1.0 + (260.0 * t / view.focal_px) ** 2)
            shade_point(world, view, t, dx, dy, dz, owner[y, x], fade, light[y, x])
            u, v = picture_point(before, view.origin[0] + t * dx, view.origin[1] + t * dy, view.origin[2] + t * dz)
            moved[y, x, 0], moved[y, x, 1] = u - (x + 0.5), v - (y + 0.5)


@njit(cache=True, nogil=True)
def smear(light, moved, out):
    """Motion blur: each pixel of out is the mean of five taps of light along the way its point moved."""
    h, w = light.shape[0], light.shape[1]
    for y in range(h):
        for x in range(w):
            for c in range(3):
                total = 0.0
                for tap in range(5):
                    share = tap / 4.0 - 0.5
                    yy = min(max(int(y + share * moved[y, x, 1] + 0.5), 0), h - 1)
                    xx = min(max(int(x + share * moved[y, x, 0] + 0.5), 0), w - 1)
                    total += light[yy, xx, c]
                out[y, x, c] = total / 5.0


def field_shape(height_px: int, width_px: int) -> Floats:
    """(h, w, 1) in 0..1: the octagonal window of the scope's picture, its edge one pixel soft."""
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32) + 0.5
    inset = np.minimum(np.minimum(x, width_px - x), np.minimum(y, height_px - y))
    corner = (np.minimum(x, width_px - x) + np.minimum(y, height_px - y) - 0.26 * height_px) / math.sqrt(2)
    return np.clip(np.minimum(inset, corner) + 0.5, 0, 1)[..., None]


def exposure(light: Floats, window: Floats) -> float:
    """Gain of the automatic exposure: most of the way to a fixed mean, so that a dark lumen stays darker."""
    level = float((np.minimum(light[..., 0], 3.0) * window[..., 0]).sum() / window.sum())
    return 0.62 / max(level, 1e-3) ** 0.85


def develop(light: Floats, window: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Linear light (h, w, 3) to the sensor's picture: exposure, bloom, shoulder, gamma, vignette, sharpening, noise."""
    height, width = light.shape[:2]
    light = np.minimum(light * exposure(light, window), 12.0)
    light += 0.045 * cv2.GaussianBlur(np.minimum(light, 6.0), (0, 0), width / 45)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    edge = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2)[..., None]
    picture = 255.0 * (1.0 - np.exp(-light * (1.0 - 0.75 * edge))) ** (1 / 2.2)
    picture = picture + 0.45 * (picture - cv2.GaussianBlur(picture, (0, 0), max(width / 500, 0.4)))
    noise = rng.standard_normal((height, width, 1), np.float32) + 0.6 * rng.standard_normal(picture.shape, np.float32)
    picture = (7.0 + picture * (248 / 255) + 1.5 * noise) * window
    return np.clip(picture, 0, 255).astype(np.uint8)


def render_rows(world: World, view: View, before: View, rows: tuple[int, int], planes: Planes) -> None:
    """Trace and shade the rows first..last of every plane; bands of rows may run in threads of their own."""
    trace(world, view, *rows, planes.depth, planes.owner)
    shade(world, view, before, *rows, planes.depth, planes.owner, planes.light, planes.moved)


def render_field(scene: Scene, index: int, width_px: int, height_px: int, *, threads: int = 1) -> FieldPicture:
    """The scope's own picture of frame ``index``, without the screen around it. Threads do not change the result."""
    world, view = world_of(scene), view_of(camera_at(scene, index), width_px, height_px)
    before = view_of(camera_at(scene, index - SHUTTER), width_px, height_px)
    planes = Planes.blank(height_px, width_px)
    bands = [(top, min(top + 8 * BLOCK_PX, height_px)) for top in range(0, height_px, 8 * BLOCK_PX)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda rows: render_rows(world, view, before, rows, planes), bands))
    blurred = np.empty_like(planes.light)
    smear(planes.light, planes.moved, blurred)
    window = field_shape(height_px, width_px)
    image = develop(blurred, window, np.random.default_rng((scene.seed, index)))
    return FieldPicture(image, np.where(window[..., 0] > 0.5, planes.owner, -1).astype(np.int8))

"""From a camera to the scope's own picture: trace, light, blur, and what the sensor adds."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from phantom.geometry import Floats
from phantom.rays import BLOCK_PX, View, World, trace
from phantom.scene import Camera, Scene, camera_at
from phantom.shade import shade, smooth_edges
from phantom.vectors import JIT

SHUTTER = 0.5  # share of the frame's time that the shutter is open
FIELD_OF_VIEW = math.radians(132.0)  # across the field's width; its corners see more


@dataclass(frozen=True)
class FieldPicture:
    """image (h, w, 3) uint8 RGB; owner (h, w) int8: index of the polyp seen at each pixel, -1 for none."""

    image: NDArray[np.uint8]
    owner: NDArray[np.int8]


@dataclass(frozen=True)
class Planes:
    """What the compiled code fills: depth, owner (h, w); light (h, w, 3), linear; moved (h, w, 2), px.

    inside (h, w) says which pixels are looked at: those of the window and one pixel beyond.
    """

    inside: NDArray[np.bool_]
    depth: Floats
    owner: NDArray[np.int8]
    light: Floats
    moved: Floats

    @staticmethod
    def blank(height_px: int, width_px: int) -> Planes:
        shape = (height_px, width_px)
        inside = field_shape(height_px, width_px)[..., 0] > 0
        inside = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        return Planes(
            inside,
            np.zeros(shape, np.float32),
            np.full(shape, -1, np.int8),
            np.zeros((*shape, 3), np.float32),
            np.zeros((*shape, 2), np.float32),
        )


def world_of(scene: Scene) -> World:
    tube = scene.tube
    return World(tube.wall, tube.centre, tube.z_start, tube.cells_per_unit, scene.tile, scene.table)


def view_of(camera: Camera, width_px: int, height_px: int) -> View:
    right, down, forward = (tuple(axis) for axis in camera.axes)
    return View(tuple(camera.origin), right, down, forward, width_px / FIELD_OF_VIEW, width_px, height_px)


@njit(**JIT)
def smear(light, moved, out):
    """Motion blur: a pixel of out is the mean of light along the way its point moved, a tap for every pixel of it."""
    h, w = light.shape[0], light.shape[1]
    for y in range(h):
        for x in range(w):
            u, v = moved[y, x, 0], moved[y, x, 1]
            taps = min(2 + int(max(abs(u), abs(v))), 24)
            out[y, x, :] = 0.0
            for tap in range(taps):
                share = tap / (taps - 1.0) - 0.5
                row = min(max(int(y + share * v + 0.5), 0), h - 1)
                column = min(max(int(x + share * u + 0.5), 0), w - 1)
                for c in range(3):
                    out[y, x, c] += light[row, column, c] / taps


def field_shape(height_px: int, width_px: int) -> Floats:
    """(h, w, 1) in 0..1: the octagonal window of the scope's picture, its edge one pixel soft."""
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32) + 0.5
    inset = np.minimum(np.minimum(x, width_px - x), np.minimum(y, height_px - y))
    corner = (np.minimum(x, width_px - x) + np.minimum(y, height_px - y) - 0.26 * height_px) / math.sqrt(2)
    return np.clip(np.minimum(inset, corner) + 0.5, 0, 1)[..., None]


def exposure(light: Floats, window: Floats) -> float:
    """Gain of the automatic exposure: most of the way to a fixed mean, so that a dark lumen stays darker."""
    level = float((np.minimum(light[..., 0], 3.0) * window[..., 0]).sum() / window.sum())
    return 0.86 / max(level, 1e-3) ** 0.85


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


def look(scene: Scene, index: int, width_px: int, height_px: int, threads: int) -> Planes:
    """Trace and light one frame. Bands of rows run in threads; their number does not change the result."""
    world, view = world_of(scene), view_of(camera_at(scene, index), width_px, height_px)
    before = view_of(camera_at(scene, index - SHUTTER), width_px, height_px)
    p = Planes.blank(height_px, width_px)
    bands = [(top, min(top + 8 * BLOCK_PX, height_px)) for top in range(0, height_px, 8 * BLOCK_PX)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda rows: trace(world, view, *rows, p.inside, p.depth, p.owner), bands))
        list(
            pool.map(
                lambda rows: shade(world, view, before, *rows, p.inside, p.depth, p.owner, p.light, p.moved), bands
            )
        )
        list(pool.map(lambda rows: smooth_edges(world, view, *rows, p.inside, p.depth, p.light), bands))
    return p


def enlarge(plane: Floats, width_px: int, height_px: int) -> Floats:
    """A plane at another size; linear, so that highlights do not ring."""
    if plane.shape[:2] == (height_px, width_px):
        return plane
    return cv2.resize(plane, (width_px, height_px), interpolation=cv2.INTER_LINEAR)


def enlarge_owner(owner: NDArray[np.int8], width_px: int, height_px: int) -> NDArray[np.int8]:
    """The owner plane at another size: each polyp's area is scaled as a smooth shape and cut at one half."""
    if owner.shape == (height_px, width_px):
        return owner
    large = np.full((height_px, width_px), -1, np.int8)
    for i in np.unique(owner[owner >= 0]):
        large[enlarge((owner == i).astype(np.float32), width_px, height_px) > 0.5] = i
    return large


def render_field(
    scene: Scene, index: int, width_px: int, height_px: int, *, detail: float = 1.0, threads: int = 1
) -> FieldPicture:
    """The scope's own picture of frame ``index``, without the screen around it.

    With detail below 1 rays are cast on a coarser grid (detail times the size) and the light is enlarged: quicker,
    a little softer.
    """
    planes = look(scene, index, max(8, round(width_px * detail)), max(8, round(height_px * detail)), threads)
    light = enlarge(planes.light, width_px, height_px)
    moved = enlarge(planes.moved, width_px, height_px) / np.float32(detail)
    blurred = np.empty_like(light)
    smear(light, moved, blurred)
    window = field_shape(height_px, width_px)
    image = develop(blurred, window, np.random.default_rng((scene.seed, index)))
    owner = enlarge_owner(planes.owner, width_px, height_px)
    return FieldPicture(image, np.where(window[..., 0] > 0.5, owner, -1).astype(np.int8))

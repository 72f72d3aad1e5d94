"""What is in the phantom and how the scope travels through it: tube, polyps, and the camera's script."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from phantom.geometry import Floats, Tube, build_tube, sample_centre
from phantom.polyps import DIMINUTIVE, FLAT, LOBED, SESSILE, STALKED, Polyp, PolypTable, build_table
from phantom.texture import build_tile

SCRIPT_S = 30.0  # the script's own length; a clip of another length plays it faster or slower

POLYPS = (
    Polyp(1, "sessile", "0-Is", z=2.79, angle=3.56, blobs=SESSILE, tint=(1.02, 0.66, 0.66), grain=0.25),
    Polyp(
        2, "diminutive", "0-Is", z=4.07, angle=4.16, blobs=DIMINUTIVE, tint=(1.05, 0.92, 0.95), grain=0.1, lump=0.006
    ),
    Polyp(3, "pedunculated", "0-Ip", z=9.58, angle=3.14, blobs=STALKED, tint=(0.98, 0.60, 0.62), grain=0.35),
    Polyp(4, "flat", "0-IIa", z=10.97, angle=5.04, blobs=FLAT, tint=(1.12, 1.08, 1.12), lump=0.012, grain=0.3),
    Polyp(5, "lobed", "0-Isp", z=15.67, angle=4.95, blobs=LOBED, tint=(1.0, 0.72, 0.74), grain=0.45, lump=0.014),
    Polyp(
        6, "sessile", "0-Is", z=16.70, angle=2.36, blobs=SESSILE, size=0.72, tint=(1.12, 1.0, 1.02), grain=0.2, turn=1.3
    ),
)

# (time in s, depth z): the scope goes in, slows at polyps, hurries between them, and at the end is drawn back.
STOPS = (
    (0.0, -3.9),
    (2.8, -0.7),
    (5.0, 1.4),
    (6.9, 2.35),
    (8.3, 3.5),
    (10.0, 4.8),
    (12.0, 6.8),
    (13.8, 8.2),
    (15.9, 9.35),
    (17.8, 10.6),
    (18.2, 11.2),
    (22.0, 13.0),
    (23.7, 14.9),
    (25.4, 15.8),
    (26.9, 16.4),
    (30.0, 14.5),
)


@dataclass(frozen=True)
class Glance:
    """From start_s to end_s the scope turns part of the way (share, 0..1) towards a polyp."""

    polyp_id: int
    start_s: float
    end_s: float
    share: float


GLANCES = (
    Glance(1, 2.9, 7.0, 0.55),
    Glance(2, 6.6, 8.6, 0.6),
    Glance(3, 12.6, 15.9, 0.5),
    Glance(4, 15.7, 18.2, 0.6),
    Glance(5, 21.8, 25.1, 0.5),
    Glance(6, 24.9, 27.6, 0.55),
    Glance(5, 27.6, 31.0, 0.45),
)


@dataclass(frozen=True)
class Scene:
    """Everything a frame depends on. sway (8, 2): phase and frequency in Hz of the hand's slow movements."""

    tube: Tube
    tile: Floats
    polyps: tuple[Polyp, ...]
    table: PolypTable
    sway: NDArray[np.float64]
    seconds: float
    fps: tuple[int, int]
    seed: int


@dataclass(frozen=True)
class Camera:
    """origin (3,) in lumen radii; axes (3, 3): right, down, forward; light: relative brightness."""

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    light: float


def build_scene(*, seconds: float = SCRIPT_S, fps: tuple[int, int] = (30, 1), seed: int = 7) -> Scene:
    """The phantom of one seed. The script is stretched or squeezed to ``seconds``."""
    if seconds <= 0 or fps[0] <= 0 or fps[1] <= 0:
        raise ValueError(f"seconds and fps must be positive, found {seconds} s at {fps[0]}/{fps[1]}")
    rng = np.random.default_rng(seed)
    tube = build_tube(rng, z_start=-6.0, z_stop=25.0)
    tile = build_tile(rng)
    sway = np.stack([rng.uniform(0, 2 * math.pi, 8), rng.uniform(0.09, 0.32, 8)], axis=1)
    return Scene(tube, tile, POLYPS, build_table(tube, POLYPS), sway, seconds, fps, seed)


def frame_count(scene: Scene) -> int:
    """Number of frames in the clip, at least one."""
    return max(1, round(scene.seconds * scene.fps[0] / scene.fps[1]))


def script_time_s(scene: Scene, index: float) -> float:
    """Where in the script frame ``index`` lies; fractions of a frame are allowed."""
    return index * scene.fps[1] / scene.fps[0] * SCRIPT_S / scene.seconds


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def ease(x: float) -> float:
    """0 below 0, 1 above 1, smooth between."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def wander(scene: Scene, time_s: float, first: int) -> NDArray[np.float64]:
    """(2,) slow wandering in about -1..1, made of four of the scene's sway terms."""
    phase, hz = scene.sway[first : first + 4].T
    waves = np.sin(2 * math.pi * hz * time_s + phase)
    return np.array([0.6 * waves[0] + 0.4 * waves[1], 0.6 * waves[2] + 0.4 * waves[3]])


def centre_at(tube: Tube, z: float) -> NDArray[np.float64]:
    x, y, _, _ = sample_centre(tube.centre, tube.z_start, tube.cells_per_unit, z)
    return np.array([x, y, z])


def glance_at(
    scene: Scene, origin: NDArray[np.float64], forward: NDArray[np.float64], time_s: float
) -> NDArray[np.float64]:
    """The forward axis turned towards the polyps that the script looks at now."""
    for glance in GLANCES:
        weight = glance.share * ease((time_s - glance.start_s) / 1.2) * ease((glance.end_s - time_s) / 1.0)
        if weight > 0:
            i = [polyp.id for polyp in scene.polyps].index(glance.polyp_id)
            forward = unit(forward + weight * (unit(scene.table.bound[i, :3] - origin) - forward))
    return forward


def camera_at(scene: Scene, index: float) -> Camera:
    """The camera at frame ``index`` (fractions allowed, for motion blur)."""
    time_s = script_time_s(scene, index)
    stops = np.array(STOPS)
    z = float(PchipInterpolator(stops[:, 0], stops[:, 1], extrapolate=True)(time_s))
    origin = centre_at(scene.tube, z)
    origin[:2] += 0.17 * wander(scene, time_s, 0)
    forward = unit(centre_at(scene.tube, z + 1.25) - origin)
    turn = wander(scene, time_s, 4)
    forward = unit(forward + np.array([0.16 * turn[0], 0.16 * turn[1], 0.0]))
    forward = glance_at(scene, origin, forward, time_s)
    roll = 0.45 * math.sin(0.31 * time_s + scene.sway[0, 0]) + 0.2 * turn[0]
    right = unit(np.cross(np.array([math.sin(roll), math.cos(roll), 0.0]), forward))
    light = 1.0 + 0.02 * math.sin(7.3 * time_s) + 0.012 * math.sin(19.1 * time_s)
    return Camera(origin, np.stack([right, np.cross(forward, right), forward]), light)

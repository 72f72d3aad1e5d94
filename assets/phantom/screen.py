"""The video frame around the scope's picture: black screen, banner with invented text, scope guide, earlier still."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from phantom.render import render_field
from phantom.scene import Scene, camera_at, script_time_s

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]

SCREEN_RGB = (9, 10, 10)
GUIDE_RGB = (38, 176, 140)
STILL_TIMES_S = (7.0, 14.6, 24.2)  # of the script: when "a picture is taken" that stands at the side from then on
DESIGN_HEIGHT_PX = 720


@dataclass(frozen=True)
class Layout:
    """Where things are in a frame; boxes are [x1, y1, x2, y2] px, the last column and row excluded."""

    width_px: int
    height_px: int
    field: Box
    guide: Box
    still: Box


@dataclass(frozen=True)
class Screen:
    """A layout, and the stills (h, w, 3) that its picture-in-picture shows one after another."""

    layout: Layout
    stills: tuple[Image, ...]


def place(width_px: int, height_px: int) -> Layout:
    """The layout of a frame size: the field at the right, the rest in the column at its left, nothing overlapping."""
    if width_px < height_px * 1.3 or height_px < 48 or width_px % 2 or height_px % 2:
        raise ValueError(
            f"size must be even, at least 48 high and 1.3 times as wide as high; found {width_px}x{height_px}"
        )
    unit = height_px / DESIGN_HEIGHT_PX
    field_h = 2 * round(346 * unit)
    field_w = min(2 * round(410 * unit), 2 * round(0.34 * width_px))
    left, top = width_px - field_w - round(30 * unit), (height_px - field_h) // 2
    column = left - round(20 * unit)
    still_w = min(round(190 * unit), column - round(24 * unit))
    guide = (round(24 * unit), round(520 * unit), min(round(224 * unit), column), round(696 * unit))
    still = (round(24 * unit), round(330 * unit), round(24 * unit) + still_w, round(330 * unit) + round(0.84 * still_w))
    return Layout(width_px, height_px, (left, top, left + field_w, top + field_h), guide, still)


def build_screen(scene: Scene, width_px: int, height_px: int) -> Screen:
    """Lay the frame out and render its stills."""
    layout = place(width_px, height_px)
    x1, y1, x2, y2 = layout.still
    stills = [
        render_field(scene, round(time_s / script_time_s(scene, 1)), x2 - x1, y2 - y1).image for time_s in STILL_TIMES_S
    ]
    return Screen(layout, tuple(stills))


def write(frame: Image, text: str, at_design_px: tuple[int, int], size: float = 0.5, grey: int = 205) -> None:
    """Put a line of text at a point given for a frame 720 px high."""
    unit = frame.shape[0] / DESIGN_HEIGHT_PX
    place_px = (round(at_design_px[0] * unit), round(at_design_px[1] * unit))
    cv2.putText(frame, text, place_px, cv2.FONT_HERSHEY_SIMPLEX, size * unit, (grey, grey, grey), 1, cv2.LINE_AA)


def draw_banner(frame: Image, time_s: float) -> None:
    """The invented text of a processor's screen; the clock counts with the video."""
    whole = int(time_s)
    write(frame, "PHANTOM 001", (24, 48), 0.72, 225)
    write(frame, "no patient", (24, 78))
    write(frame, "research use", (24, 102))
    write(frame, "01/01/2000", (24, 150))
    write(frame, f"{10 + (whole + 900) // 3600:02d}:{15 + whole // 60:02d}:{whole % 60:02d}", (24, 174))
    write(frame, f"REC {whole // 60:02d}:{whole % 60:02d}.{int(time_s * 100) % 100:02d}", (24, 198))
    write(frame, "Gain: A  Enh: 2", (24, 246), 0.42, 165)
    write(frame, "Ct: N   Eh: A3", (24, 268), 0.42, 165)
    write(frame, "rendered picture", (24, 290), 0.42, 165)


def draw_guide(frame: Image, box: Box, scene: Scene, index: int) -> None:
    """The scope guide: the way travelled so far as a dark line on a green panel."""
    x1, y1, x2, y2 = box
    frame[y1:y2, x1:x2] = GUIDE_RGB
    z_now = camera_at(scene, index).origin[2]
    z = np.linspace(-5.0, z_now, 60)
    rows = ((z - scene.tube.z_start) * scene.tube.cells_per_unit).astype(int)
    across, along = scene.tube.centre[rows, 0], (z + 5.0) / 24.0
    x = x1 + (x2 - x1) * (0.5 + 0.09 * across)
    y = y2 - (y2 - y1) * (0.06 + 0.86 * along)
    points = np.stack([x, y], axis=1).round().astype(np.int32)
    thick = max(1, round(5 * frame.shape[0] / DESIGN_HEIGHT_PX))
    cv2.polylines(frame, [points[:, None]], False, (24, 52, 48), thick, cv2.LINE_AA)
    cv2.circle(frame, tuple(int(v) for v in points[-1]), thick, (240, 240, 230), -1, cv2.LINE_AA)


def compose(field: Image, screen: Screen, scene: Scene, index: int) -> Image:
    """The whole frame (H, W, 3): the field in its place on the screen."""
    layout = screen.layout
    frame = np.empty((layout.height_px, layout.width_px, 3), np.uint8)
    frame[:] = SCREEN_RGB
    draw_banner(frame, index * scene.fps[1] / scene.fps[0])
    draw_guide(frame, layout.guide, scene, index)
    taken = sum(time_s < script_time_s(scene, index) for time_s in STILL_TIMES_S)
    if taken:
        x1, y1, x2, y2 = layout.still
        frame[y1:y2, x1:x2] = np.maximum(screen.stills[taken - 1], np.array(SCREEN_RGB, np.uint8))
    x1, y1, x2, y2 = layout.field
    frame[y1:y2, x1:x2] = np.maximum(field, np.array(SCREEN_RGB, np.uint8))
    return frame

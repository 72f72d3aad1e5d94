"""Tells an endoscope's picture from what else is in a frame: a bright surround, a camera of the room, a panel.

All functions take a frame that was subsampled to about 240 columns, (h, w, 3) uint8 RGB, and masks (h, w) of it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Region = NDArray[np.bool_]

_DARK = 48  # of 255: darker pixels of a lumen tell nothing about colour
_SURROUND_LEVELS = 10  # a painted surround stays this near to one colour through encoding
_SURROUND_BORDER = 0.3  # share of the frame's border that a surround has at least
_SURROUND_AREA = 0.12  # and of the frame
_REDDISH = 1.12  # mucosa is redder than blue by this factor; a surround is not
_CORNER = 8  # a corner of the bounding box is this part of its side
_SEAM_LEVELS = 24  # change of colour across a seam
_SEAM_LENGTH = 0.8  # of the region's side: shorter edges are folds and instruments
_NARROWEST, _WIDEST = 0.5, 2.5  # width over height of a picture; endoscopes have 0.9 to 1.8
_ALL_MUCOSA = 0.95  # of what has its colours must lie in the picture
_EDGE_LENGTH = 0.6  # of a side of the picture: an octagon's sides are shorter than those of its bounding box
_ROUND_WORTH = 0.3  # of a picture with cut corners, in shares of mucosa


def surround_of(small: Image, lit_level: int) -> Region | None:
    """Find a bright surround of one colour, such as white or blue; None for the usual, dark one, and for none.

    lit_level: brightest channel of a dark surround.
    """
    border = np.concatenate([small[0], small[-1], small[1:-1, 0], small[1:-1, -1]]).astype(np.int16)
    colour = np.median(border, axis=0)
    red, green, blue = (float(level) for level in colour)
    if max(red, green, blue) <= lit_level or (red > _REDDISH * blue and red >= green):
        return None
    alike = np.abs(border - colour).max(axis=1) <= _SURROUND_LEVELS
    if alike.mean() < _SURROUND_BORDER:
        return None
    low, high = (np.clip(colour + sign * _SURROUND_LEVELS, 0, 255) for sign in (-1, 1))
    surround = cv2.inRange(small, low, high) > 0
    return surround if surround.mean() >= _SURROUND_AREA else None


def mucosa_score(small: Image, region: Region) -> float:
    """Return how much a region looks like an endoscope's picture, 0..1.3: the share of its pixels in the colours of
    mucosa, and 0.3 more for the cut corners of an octagon or a circle."""
    return mucosa_share(small, region) + _ROUND_WORTH * has_cut_corners(region)


def mucosa_share(small: Image, region: Region) -> float:
    """Return the share of a region's lit pixels that have a colour of mucosa: red to yellow, not too pale, 0..1."""
    every = (slice(None, None, 3), slice(None, None, 3))
    mucosa, lit = _mucosa(small[every][region[every]])
    return float(mucosa.sum() / lit.sum()) if lit.any() else 0.0


def _mucosa(pixels: Image) -> tuple[Region, Region]:
    """Return which pixels (..., 3) have a colour of mucosa, and which are lit."""
    red, green, blue = np.moveaxis(pixels.astype(np.int16), -1, 0)
    lit = np.maximum(np.maximum(red, green), blue) > _DARK
    mucosa = (red >= green - 4) & (green >= blue - 12) & (red - blue > red // 6) & (green * 6 > red)
    return mucosa & lit, lit


def has_shape_of_picture(region: Region) -> bool:
    """Whether the region is not much wider or higher than an endoscope's picture: a banner is, and a list of names."""
    ratio = int(region.any(axis=0).sum()) / int(region.any(axis=1).sum())
    return _NARROWEST <= ratio <= _WIDEST


def has_cut_corners(region: Region) -> bool:
    """Whether at least three corners of the region's bounding box are empty, as those of an octagon are."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    high, wide = max(1, box.shape[0] // _CORNER), max(1, box.shape[1] // _CORNER)
    corners = (box[:high, :wide], box[:high, -wide:], box[-high:, :wide], box[-high:, -wide:])
    return sum(bool(corner.mean() < 0.6) for corner in corners) >= 3


def framed_mucosa(small: Image, region: Region) -> Region | None:
    """Return the part of a region in the colours of mucosa, where straight edges frame it, as in a window of another
    program; None where there is none."""
    mucosa, _ = _mucosa(small)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx((mucosa & region).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    count, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, wide, high = (int(one) for one in stats[largest, : cv2.CC_STAT_AREA])
    rows, columns = slice(top, top + high), slice(left, left + wide)
    if opened[rows, columns].sum() < _ALL_MUCOSA * opened.sum():
        return None
    pixels = small.astype(np.int16)
    turned = pixels.transpose(1, 0, 2)
    sides = [(pixels, top, columns), (pixels, top + high, columns), (turned, left, rows), (turned, left + wide, rows)]
    if not all(_is_edge(*side) for side in sides):
        return None
    framed = np.zeros_like(region)
    framed[rows, columns] = region[rows, columns]
    return framed


def _is_edge(pixels: NDArray[np.int16], place: int, along: slice) -> bool:
    """Whether a straight edge lies between two rows, or within two rows of them; the sides of the frame are edges."""
    if place <= 2 or place >= len(pixels) - 2:
        return True
    rows = range(max(2, place - 2), min(len(pixels) - 2, place + 3))
    jumps = [np.abs(pixels[row + 1, along] - pixels[row - 2, along]).max(axis=1) > _SEAM_LEVELS for row in rows]
    return max(float(jump.mean()) for jump in jumps) >= _EDGE_LENGTH


def split_at_seams(small: Image, region: Region) -> list[Region]:
    """Cut a region at straight edges that cross all of it, as where two pictures touch; itself where there is none."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    pixels = small[box].astype(np.int16)
    down = [columns[0] + place for place in _seams(pixels)]
    across = [rows[0] + place for place in _seams(pixels.transpose(1, 0, 2))]
    parts = [region]
    for axis, places in ((1, down), (0, across)):
        for place in places:
            before = np.arange(region.shape[axis]) < place
            side = before[None, :] if axis else before[:, None]
            parts = [part for one in parts for part in (one & side, one & ~side) if part.any()]
    return parts


def _seams(pixels: NDArray[np.int16]) -> list[int]:
    """Return the columns that a straight vertical edge precedes, away from the sides, the clearest of neighbours."""
    if pixels.shape[1] < 12:
        return []
    jumps = (np.abs(pixels[:, 2:] - pixels[:, :-2]).max(axis=2) > _SEAM_LEVELS).mean(axis=0)
    jumps[:4], jumps[-4:] = 0, 0
    places: list[int] = []
    for place in np.flatnonzero(jumps >= _SEAM_LENGTH):
        if places and place - places[-1] <= 3:
            continue
        places.append(int(place))
    return [place + 1 + int(jumps[place : place + 2].argmax()) for place in places]

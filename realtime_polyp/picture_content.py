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
    red, green, blue = small[every][region[every]].T.astype(np.int16)
    lit = np.maximum(np.maximum(red, green), blue) > _DARK
    if not lit.any():
        return 0.0
    mucosa = (red >= green - 4) & (green >= blue - 12) & (red - blue > red // 6) & (green * 6 > red)
    return float((mucosa & lit).sum() / lit.sum())


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

"""Measures combing: whether the lines of a picture come from two moments, and which of them is the earlier one.

Half of a picture's lines, a field, is compared with the other half in small cells all over the picture. It works on the
bytes of any pixel format, because it compares what lies above and below each other.
"""

from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled

_COLUMNS, _ROWS = 32, 24  # of cells
_WIDTH, _HEIGHT = 16, 8  # of a cell, samples; with two lines above and below
_LEAST_LINES = _HEIGHT + 6
_ROUGHER = 1.5  # than its fields are, a combed cell is; noise and thin lines are equally rough in both
_ROUGH = 2.0  # levels of 255 per sample that this must exceed
_EARLIER = 1.2  # ratio of differences that tells which field is nearer in time
_MOVED = 3.0  # levels per sample between two pictures
_UPPER_BITS = ("p01", "p21", "p41", "y21", "xv36", "xyz12")
"""Beginnings of FFmpeg's names of formats that keep their 10 or 12 bits in the upper ones of 16, such as p010le."""

Samples = NDArray[np.uint8] | NDArray[np.uint16]


class Combing(NamedTuple):
    """Shares of the cells, 0..1.

    combed: its fields differ from each other as they do where something moved between them.
    top_first, bottom_first: combed, and which field is the earlier one, as the picture before tells. A pattern of
        horizontal lines that stands still is neither.
    moving: it differs from the picture before.
    """

    combed: float
    top_first: float
    bottom_first: float
    moving: float


NONE = Combing(0.0, 0.0, 0.0, 0.0)


def measure_combing(picture: VideoFrame, before: VideoFrame | None, *, motion: bool = True) -> Combing:
    """Measure a picture as it was decoded. before: the one before it, if it is at hand. motion: measure `moving` too.

    NONE for pictures that are too small, and for pixel formats that are not made of whole bytes. 1080p takes 0.06 ms on
    one thread of a 2-core AVX512 CPU.
    """
    samples = _samples(picture)
    if samples is None or samples.shape[0] < _LEAST_LINES or samples.shape[1] < _WIDTH:
        return NONE
    earlier = None if before is None or not is_alike(picture, before) else _samples(before)
    layout = picture.format
    scale = 2.0 ** (8 - (16 if layout.name.startswith(_UPPER_BITS) else layout.components[0].bits))
    counts = _count(samples, samples if earlier is None else earlier, earlier is not None, motion, np.float32(scale))
    return Combing(*(count / (_COLUMNS * _ROWS) for count in counts))


def is_alike(one: VideoFrame, other: VideoFrame) -> bool:
    """Whether two pictures have one size and pixel format."""
    return (one.width, one.height, one.format.name) == (other.width, other.height, other.format.name)


def _samples(picture: VideoFrame) -> Samples | None:
    """Return the lines of the first plane, (H, samples): luma of planar formats, all components of packed ones."""
    layout = picture.format
    bits = layout.components[0].bits
    if layout.has_palette or layout.is_bit_stream or layout.is_big_endian or not 8 <= bits <= 16:
        return None
    plane, dtype = picture.planes[0], np.uint8 if bits == 8 else np.uint16
    if plane.line_size < 0:  # stored upside down, as by AMV, which has no fields
        return None
    count = picture.width if layout.is_planar else picture.width * layout.padded_bits_per_pixel // 8 // dtype().itemsize
    lines = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype().itemsize)  # type: ignore[call-overload]
    return lines[: picture.height, :count]  # type: ignore[no-any-return]


@compiled(nogil=True, fastmath=True)
def _count(
    samples: Samples, before: Samples, has_before: bool, motion: bool, scale: np.float32
) -> tuple[int, int, int, int]:
    """Return the numbers of cells that are combed, have the top or the bottom field first, or are moving."""
    combed, top_first, bottom_first, moving = 0, 0, 0, 0
    height, width = samples.shape
    for row in range(_ROWS):
        top = 2 + (height - _LEAST_LINES) * row // (_ROWS - 1) // 2 * 2
        for column in range(_COLUMNS):
            left = (width - _WIDTH) * column // (_COLUMNS - 1)
            cell = samples[top - 2 : top + _HEIGHT + 2, left : left + _WIDTH]
            frame, field = _roughness(cell)
            is_combed = (frame - np.float32(_ROUGHER) * field) * scale > _ROUGH * _WIDTH * _HEIGHT
            combed += int(is_combed)
            if not has_before:
                continue
            earlier = before[top - 2 : top + _HEIGHT + 2, left : left + _WIDTH]
            if motion:
                moving += int(_difference(cell[_HEIGHT // 2], earlier[_HEIGHT // 2]) * scale > _MOVED * _WIDTH)
            if is_combed:
                from_top, from_bottom = _distances(cell, earlier)
                top_first += int(from_bottom > _EARLIER * from_top)
                bottom_first += int(from_top > _EARLIER * from_bottom)
    return combed, top_first, bottom_first, moving


@compiled(nogil=True, fastmath=True)
def _roughness(cell: Samples) -> tuple[np.float32, np.float32]:
    """Return how much the lines of a cell differ from the mean of their neighbours: in the frame, in their field."""
    frame, field = np.float32(0), np.float32(0)
    for y in range(2, _HEIGHT + 2):
        above2, above, line, below, below2 = cell[y - 2], cell[y - 1], cell[y], cell[y + 1], cell[y + 2]
        for x in range(_WIDTH):
            twice = np.float32(2) * np.float32(line[x])
            frame += abs(twice - np.float32(above[x]) - np.float32(below[x]))
            field += abs(twice - np.float32(above2[x]) - np.float32(below2[x]))
    return frame / np.float32(2), field / np.float32(2)


@compiled(nogil=True, fastmath=True)
def _difference(line: Samples, earlier: Samples) -> np.float32:
    total = np.float32(0)
    for x in range(_WIDTH):
        total += abs(np.float32(line[x]) - np.float32(earlier[x]))
    return total


@compiled(nogil=True, fastmath=True)
def _distances(cell: Samples, earlier: Samples) -> tuple[np.float32, np.float32]:
    """Return how far the top field is from the bottom field before it, and the bottom field from the top one.

    A cell begins with a line of the top field. The field that comes first in a picture is nearer to the one before.
    """
    from_top, from_bottom = np.float32(0), np.float32(0)
    for y in range(2, _HEIGHT + 2, 2):
        top, bottom, top_before, bottom_before = cell[y], cell[y + 1], earlier[y], earlier[y + 1]
        bottom_above, top_below = earlier[y - 1], earlier[y + 2]
        for x in range(_WIDTH):
            twice = np.float32(2) * np.float32(top[x])
            from_top += abs(twice - np.float32(bottom_above[x]) - np.float32(bottom_before[x]))
            twice = np.float32(2) * np.float32(bottom[x])
            from_bottom += abs(twice - np.float32(top_before[x]) - np.float32(top_below[x]))
    return from_top, from_bottom

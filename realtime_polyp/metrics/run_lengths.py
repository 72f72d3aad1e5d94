"""Masks as COCO's compressed run lengths, a few hundred bytes per frame.

The C library behind pycocotools does not check its input: a wrong run length makes it write beyond its memory. Masks
and polygons from a file must pass `checked`, `compressed` or `fill_polygons` first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from realtime_polyp.messages import quoted

RunLengths = Mapping[str, Any]  # {"size": [H, W], "counts": "..."}

LONGEST_SIDE_PX = 16384
MOST_PIXELS = 1 << 27
MOST_CORNERS = 100_000  # of the polygons of one mask
_MOST_OUTLINES = 100  # limit of the length of a mask's polygons, in multiples of width + height
_LEAST_CHARACTER, _MOST_CHARACTER = 48, 111  # six bits each: five of the number and a continuation flag
_GOES_ON, _BITS, _SIGN = 32, 31, 16
_LONGEST_NUMBER = 6  # characters: 30 bits, more than MOST_PIXELS needs


def encode(mask: NDArray[np.bool_]) -> RunLengths:
    """Encode a mask (H, W)."""
    return _to_text(coco_mask.encode(np.asfortranarray(mask, np.uint8)))


def encode_outlines(outlines: Sequence[NDArray[np.float32]], size: tuple[int, int]) -> RunLengths:
    """Encode what closed lines (n, 2) xy px enclose. size: (width, height) of the picture, px."""
    if not outlines:
        return encode(np.zeros(size[::-1], np.bool_))
    # Rounded as in results files, so that a file gives the same mask.
    return encode(fill_polygons([[round(float(value), 2) for value in line.ravel()] for line in outlines], size))


def decode(runs: RunLengths) -> NDArray[np.uint8]:
    """Decode to a mask (H, W) of 0 and 1. Raises ValueError for invalid run lengths."""
    return np.asarray(coco_mask.decode(checked(runs)), np.uint8)


def dice(masks: Sequence[RunLengths], others: Sequence[RunLengths]) -> float:
    """Return the Dice coefficient of two unions of masks, without decoding; 1 if both are empty."""
    sides = [coco_mask.merge(list(one)) for one in (masks, others)]
    shared, total = coco_mask.area(coco_mask.merge(sides, intersect=True)), sum(coco_mask.area(one) for one in sides)
    return 2 * float(shared) / float(total) if total else 1.0


def area_share(runs: RunLengths) -> float:
    """Return the share of the picture that a mask covers, 0..1, without decoding; 0 for a picture without pixels."""
    height, width = runs["size"]
    return float(coco_mask.area(runs)) / (height * width) if height * width else 0.0


def checked(runs: Any, size: tuple[int, int] | None = None) -> RunLengths:
    """Check compressed run lengths from a file before the C library sees them.

    size: (width, height) of the picture, px; None: not known.

    Raises:
        ValueError: their size differs from the picture's, or they do not add up to it.
    """
    if not isinstance(runs, Mapping) or not isinstance(runs.get("counts"), str):
        raise ValueError("a mask must be compressed COCO run lengths, {'size': [height, width], 'counts': '...'}")
    height, width = _checked_size(runs.get("size"), size)
    lengths = _parse_counts(runs["counts"])
    _check_lengths(lengths, height, width)
    if (lengths[1:] == 0).any():  # else the C library stops early when it merges two such masks
        return _compress(lengths, height, width)
    return {"size": [height, width], "counts": runs["counts"]}


def compressed(runs: Any, size: tuple[int, int] | None = None) -> RunLengths:
    """Check run lengths from a file, as a list or compressed, and return them compressed. See `checked`."""
    if not isinstance(runs, Mapping) or not isinstance(runs.get("counts"), list):
        return checked(runs, size)
    height, width = _checked_size(runs.get("size"), size)
    listed = runs["counts"]
    wrong = [one for one in listed if type(one) is not int or not 0 <= one <= height * width]
    if wrong:
        raise ValueError(
            f"a mask has the run length {quoted(wrong[0])}: it must be an integer from 0 to its pixel count"
        )
    lengths = np.array(listed, np.int64)
    _check_lengths(lengths, height, width)
    return _compress(lengths, height, width)


def fill_polygons(polygons: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill polygons [x1, y1, x2, y2, ...], source px, as COCO does; return the mask (H, W).

    size: (width, height) of the picture, px.

    Raises:
        ValueError: a polygon has fewer than three corners, a coordinate that is not a number, or a corner far outside.
    """
    width, height = _checked_picture(size)
    if not isinstance(polygons, list) or not polygons:
        raise ValueError("an outline must be a list of polygons [x1, y1, x2, y2, ...]")
    corners = [_corners(one, (width, height)) for one in polygons]
    length = sum(_outline_px(one) for one in corners)
    if sum(map(len, corners)) > MOST_CORNERS or length > _MOST_OUTLINES * (width + height):
        raise ValueError(
            f"an outline has {sum(map(len, corners)):,} corners and is {length:,.0f} px long: at most {MOST_CORNERS:,} "
            f"and {_MOST_OUTLINES * (width + height):,} px are read"
        )
    filled = coco_mask.frPyObjects([one.ravel().tolist() for one in corners], height, width)
    return np.asarray(coco_mask.decode(coco_mask.merge(filled)), np.bool_)


def _corners(polygon: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    """Check one polygon; return its corners (n, 2), px."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon needs three corners, two numbers each")
    wrong = [one for one in polygon if isinstance(one, bool) or not isinstance(one, int | float)]
    if wrong:
        raise ValueError(f"a polygon has a corner at {quoted(wrong[0])}, which is not a number")
    for place, value in enumerate(polygon):
        side = size[place % 2]
        if not -side <= value <= 2 * side:  # also False for NaN
            raise ValueError(
                f"a polygon has a corner at {'xy'[place % 2]} = {quoted(value)}, far outside the picture of "
                f"{size[0]}x{size[1]} px"
            )
    return np.array(polygon, np.float64).reshape(-1, 2)


def _outline_px(corners: NDArray[np.float64]) -> float:
    """Return the length of a closed outline as the C library counts it: the longer side of each step, px."""
    steps = np.abs(corners - np.roll(corners, -1, axis=0))
    return float(steps.max(axis=1).sum())


def _checked_size(found: Any, size: tuple[int, int] | None) -> tuple[int, int]:
    """Check a mask's [height, width]. size: (width, height) of the picture. Returns (height, width)."""
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if not isinstance(found, list | tuple) or len(found) != 2 or any(type(one) is not int for one in found):
        raise ValueError(f"a mask has the size {quoted(found)}: it must be [height, width] in px")
    if size is not None and list(found) != [size[1], size[0]]:
        raise ValueError(f"a mask has the size {quoted(list(found))}, the video's is [{size[1]}, {size[0]}]")
    width, height = _checked_picture((found[1], found[0]))
    return height, width


def _checked_picture(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if not (0 < width <= LONGEST_SIDE_PX and 0 < height <= LONGEST_SIDE_PX and width * height <= MOST_PIXELS):
        raise ValueError(
            f"a mask of {quoted(width)} x {quoted(height)} px cannot be read: a side has 1 to {LONGEST_SIDE_PX} px, "
            f"and all of it at most {MOST_PIXELS:,}"
        )
    return width, height


def _parse_counts(text: str) -> NDArray[np.int64]:
    """Return the run lengths (n,) of a compressed string. Raises ValueError for one that cannot be parsed."""
    if not text:
        raise ValueError("a mask's counts are empty")
    codes = np.frombuffer(text.encode("ascii", "ignore"), np.uint8)
    if not text.isascii() or codes.min() < _LEAST_CHARACTER or codes.max() > _MOST_CHARACTER:
        raise ValueError("a mask's counts hold a character outside '0' to 'o'")
    bits = codes.astype(np.int64) - _LEAST_CHARACTER
    last = np.flatnonzero(bits < _GOES_ON)
    starts = np.concatenate([[0], last[:-1] + 1])
    digits = last + 1 - starts
    if not len(last) or last[-1] != len(bits) - 1 or digits.max() > _LONGEST_NUMBER:
        raise ValueError("a mask's counts break off, or hold a number that is too long")
    places = np.arange(len(bits)) - np.repeat(starts, digits)
    values = np.add.reduceat((bits & _BITS) << (5 * places), starts)
    values -= np.where(bits[last] & _SIGN, np.int64(1) << (5 * digits), 0)
    lengths = values.copy()  # from the fourth on, a value is the difference from the length two before
    lengths[1::2] = np.cumsum(values[1::2])
    lengths[2::2] = np.cumsum(values[2::2])
    return lengths


def _check_lengths(lengths: NDArray[np.int64], height: int, width: int) -> None:
    """Raise ValueError unless the runs fill the mask."""
    if (lengths < 0).any():
        raise ValueError(f"a mask has the run length {int(lengths.min())}: none may be below 0")
    if lengths.max(initial=0) > height * width or lengths.sum() != height * width:
        raise ValueError(
            f"a mask's run lengths add up to {sum(lengths.tolist()):,} px, its size is {height} x {width} = "
            f"{height * width:,}"
        )


def _compress(lengths: NDArray[np.int64], height: int, width: int) -> RunLengths:
    """Compress checked run lengths without runs of length 0, as the library itself does."""
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return encode(pixels.reshape((height, width), order="F"))


def _to_text(encoded: Mapping[str, Any]) -> RunLengths:
    return {"size": [int(length) for length in encoded["size"]], "counts": encoded["counts"].decode("ascii")}

"""Masks as COCO's compressed run lengths, a few hundred bytes per frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

RunLengths = Mapping[str, Any]  # {"size": [H, W], "counts": "..."}


def encode(mask: NDArray[np.bool_]) -> RunLengths:
    """Encode a mask (H, W)."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(length) for length in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def decode(runs: RunLengths) -> NDArray[np.uint8]:
    """Decode to a mask (H, W) of 0 and 1. Raises ValueError for run lengths that do not add up to their size."""
    decoded = coco_mask.decode(runs)
    return np.asarray(decoded, np.uint8)


def dice(masks: Sequence[RunLengths], others: Sequence[RunLengths]) -> float:
    """Return the Dice coefficient of two unions of masks, without decoding; 1 if both are empty."""
    sides = [coco_mask.merge(list(one)) for one in (masks, others)]
    shared, total = coco_mask.area(coco_mask.merge(sides, intersect=True)), sum(coco_mask.area(one) for one in sides)
    return 2 * float(shared) / float(total) if total else 1.0


def checked(runs: Any, size: tuple[int, int]) -> RunLengths:
    """Check run lengths from a file. size: (width, height) px of the video. Raises ValueError if they do not fit."""
    if not isinstance(runs, dict) or not isinstance(runs.get("counts"), str):
        raise ValueError("a mask must be compressed COCO run lengths, {'size': [height, width], 'counts': '...'}")
    if list(runs.get("size", ())) != [size[1], size[0]]:
        raise ValueError(f"a mask has the size {runs.get('size')}, the video's is [{size[1]}, {size[0]}]")
    return {"size": [size[1], size[0]], "counts": runs["counts"]}

"""Masks as COCO's compressed run lengths: a frame's mask in a few hundred bytes, in files and in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

RunLengths = Mapping[str, Any]  # {"size": [H, W], "counts": "..."}


def encode(mask: NDArray[np.bool_]) -> RunLengths:
    """mask (H, W)."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(length) for length in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def decode(runs: RunLengths) -> NDArray[np.uint8]:
    """The mask (H, W), 0 or 1. Raises ValueError for run lengths that do not add up to their size."""
    decoded = coco_mask.decode(runs)
    return np.asarray(decoded, np.uint8)


def dice(masks: Sequence[RunLengths], others: Sequence[RunLengths]) -> float:
    """Of the union of some masks with the union of others; 1 where both are empty. Nothing is decoded for it."""
    sides = [coco_mask.merge(list(one)) for one in (masks, others)]
    shared, total = coco_mask.area(coco_mask.merge(sides, intersect=True)), sum(coco_mask.area(one) for one in sides)
    return 2 * float(shared) / float(total) if total else 1.0


def checked(runs: Any, size: tuple[int, int]) -> RunLengths:
    """What a file says is a mask. size: (width, height) px that it must have. Raises ValueError for anything else."""
    if not isinstance(runs, dict) or not isinstance(runs.get("counts"), str):
        raise ValueError("a mask must be compressed COCO run lengths, {'size': [height, width], 'counts': '...'}")
    if list(runs.get("size", ())) != [size[1], size[0]]:
        raise ValueError(f"a mask has the size {runs.get('size')}, the video's is [{size[1]}, {size[0]}]")
    return {"size": [size[1], size[0]], "counts": runs["counts"]}

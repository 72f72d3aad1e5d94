"""The part of a still that a virtual scope may see: a rectangle of tissue without surround, inset images and text."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from trainers.data.stills import Still, label_polyps, read_image, read_mask

_DARK_LEVEL = 30  # of 255, brightest channel: a darker area that touches the rim is the recorder's surround
_CELL_PX = 10
_RIM_PX = 6  # left out along edges: they are soft, and compression rings there
_MIN_POLYP_SHARE = 0.7  # of each polyp's pixels that must lie inside the rectangle
_MIN_SIDE_PX = 240
_TEXT_SHARE = 0.3  # fraction of the width from the left, where recorders write text
_HALO = 0.08  # of a polyp's size: its shoulder is visible beyond its mask
_HALO_PX = 6


@dataclass(frozen=True)
class Tissue:
    """A rectangle of tissue from a still.

    Attributes:
        still: the still that it is from.
        image: (h, w, 3) uint8 RGB.
        masks: (h, w) uint8, 0 or 255, one per polyp.
    """

    still: Still
    image: Image
    masks: tuple[NDArray[np.uint8], ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        return self.image.shape[1], self.image.shape[0]

    @cached_property
    def polyps(self) -> NDArray[np.float64]:
        """Box (4,) xyxy around all polyps and their shoulders, px; it may reach beyond the image."""
        x, y, width, height = cv2.boundingRect(np.maximum.reduce(self.masks))
        halo = np.array([_HALO * width + _HALO_PX, _HALO * height + _HALO_PX])
        return np.concatenate([[x, y] - halo, [x + width, y + height] + halo])


def cut_tissue(still: Still) -> Tissue | None:
    """Cut the tissue out of a still; None if there is too little, or if too much of a polyp lies outside.

    Raises:
        FileNotFoundError: a file cannot be read.
        ValueError: the mask's size differs from the image's.
    """
    image, labels = read_image(still.image_path), label_polyps(read_mask(still.mask_path))
    if labels.shape != image.shape[:2]:
        raise ValueError(f"{still.mask_path} is {labels.shape}, its image {image.shape[:2]}: sizes must agree")
    rows, columns = find_rectangle(is_tissue(image), labels > 0)
    kept = labels[rows, columns]
    if min(kept.shape) < _MIN_SIDE_PX or not _keeps_polyps(labels, kept):
        return None
    clean = remove_text(image)[rows, columns]
    masks = tuple(np.uint8(255) * (kept == number) for number in range(1, int(labels.max()) + 1))
    return Tissue(still, np.ascontiguousarray(clean), masks)


def _keeps_polyps(labels: NDArray[np.uint8], kept: NDArray[np.uint8]) -> bool:
    before, after = (np.bincount(one.ravel(), minlength=256)[1:] for one in (labels, kept))
    return bool((after >= _MIN_POLYP_SHARE * before).all())


def is_tissue(image: Image) -> NDArray[np.bool_]:
    """Find the pixels (h, w) of an image (h, w, 3) that are neither dark surround nor an inset in signal colours."""
    red, green, blue = (image[..., channel].astype(np.int16) for channel in range(3))
    dark = image.max(axis=2) < _DARK_LEVEL
    _, parts = cv2.connectedComponents(np.pad(dark, 1, constant_values=True).astype(np.uint8), connectivity=4)
    surround = (parts == parts[0, 0])[1:-1, 1:-1]
    guide = (np.maximum(green, blue) - red > 60) & ((green - red > 90) | (np.abs(blue - 170) < 40))
    plain = cv2.morphologyEx(guide.astype(np.uint8), cv2.MORPH_OPEN, np.ones((15, 15), np.uint8))
    wrong = surround | (plain > 0)
    return np.asarray(cv2.dilate(wrong.astype(np.uint8), np.ones((2 * _RIM_PX + 1,) * 2, np.uint8)) == 0)


def find_rectangle(tissue: NDArray[np.bool_], polyps: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return rows and columns of the largest rectangle of tissue, weighting polyp pixels higher than others."""
    height, width = (side // _CELL_PX for side in tissue.shape)
    cells = tissue[: height * _CELL_PX, : width * _CELL_PX].reshape(height, _CELL_PX, width, _CELL_PX)
    good = cells.mean(axis=(1, 3)) > 0.95
    weight = cv2.resize(polyps.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    weight = 1 + weight * good.size / max(1.0, float(weight.sum()))
    bad = np.pad((~good).cumsum(axis=0), ((1, 0), (0, 0)))
    sums = np.pad(weight.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    best, found = 0.0, (0, 0, 0, 0)
    for top in range(height):
        for bottom in range(top + 1, height + 1):
            for left, right in _runs(bad[bottom] == bad[top]):
                value = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
                if value > best:
                    best, found = value, (top, bottom, left, right)
    top, bottom, left, right = (cell * _CELL_PX for cell in found)
    return slice(top, bottom), slice(left, right)


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (excluded) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.pad(marked.astype(np.int8), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def remove_text(image: Image) -> Image:
    """Inpaint text at the left, which would otherwise move with the tissue.

    Highlights there that look like text are inpainted too.
    """
    left = image[:, : int(_TEXT_SHARE * image.shape[1])]
    pale = left.min(axis=2)
    thin = cv2.morphologyEx(pale, cv2.MORPH_TOPHAT, np.ones((21, 21), np.uint8))
    letters = cv2.dilate(((thin > 50) & (pale > 110)).astype(np.uint8), np.ones((7, 7), np.uint8))
    painted = image.copy()
    painted[:, : left.shape[1]] = cv2.inpaint(np.ascontiguousarray(left), letters, 3, cv2.INPAINT_TELEA)
    return painted

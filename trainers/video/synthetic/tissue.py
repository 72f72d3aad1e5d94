"""What of a still a virtual scope may look at: a rectangle of tissue, without surround, small pictures and text."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from trainers.data.stills import Still, label_polyps, read_image, read_mask

_DARK_LEVEL = 30  # of 255, brightest channel: what touches the rim and is darker is the recorder's surround
_CELL_PX = 10
_RIM_PX = 6  # the field's edge is soft, and compression rings along it
_LEAST_KEPT = 0.7  # of each polyp's pixels inside the rectangle, for its truth to be fair
_LEAST_SIDE_PX = 240
_TEXT_SHARE = 0.3  # of the width from the left, where recorders write
_HALO = 0.08  # of a polyp's size: its shoulder, that shows where its mask has ended
_HALO_PX = 6


@dataclass(frozen=True)
class Tissue:
    """Of a still: image (h, w, 3) uint8 RGB; masks: one (h, w) uint8 of 0 or 255 a polyp. All of it is tissue."""

    still: Still
    image: Image
    masks: tuple[NDArray[np.uint8], ...]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px."""
        return self.image.shape[1], self.image.shape[0]

    @cached_property
    def polyps(self) -> NDArray[np.float64]:
        """The box (4,) xyxy around all polyps and their shoulders, which may reach beyond the picture."""
        x, y, width, height = cv2.boundingRect(np.maximum.reduce(self.masks))
        halo = np.array([_HALO * width + _HALO_PX, _HALO * height + _HALO_PX])
        return np.concatenate([[x, y] - halo, [x + width, y + height] + halo])


def tissue_of(still: Still) -> Tissue | None:
    """None for a still with too little of it, or whose polyps lie half outside.

    Raises FileNotFoundError naming a file that cannot be read, ValueError for a mask of another size.
    """
    image, labels = read_image(still.image_path), label_polyps(read_mask(still.mask_path))
    if labels.shape != image.shape[:2]:
        raise ValueError(f"{still.mask_path} is {labels.shape}, its image {image.shape[:2]}: sizes must agree")
    rows, columns = best_rectangle(is_tissue(image), labels > 0)
    kept = labels[rows, columns]
    if min(kept.shape) < _LEAST_SIDE_PX or not _keeps_polyps(labels, kept):
        return None
    clean = without_text(image)[rows, columns]
    masks = tuple(np.uint8(255) * (kept == number) for number in range(1, int(labels.max()) + 1))
    return Tissue(still, np.ascontiguousarray(clean), masks)


def _keeps_polyps(labels: NDArray[np.uint8], kept: NDArray[np.uint8]) -> bool:
    before, after = (np.bincount(one.ravel(), minlength=256)[1:] for one in (labels, kept))
    return bool((after >= _LEAST_KEPT * before).all())


def is_tissue(image: Image) -> NDArray[np.bool_]:
    """Where an image (h, w, 3) shows neither the dark surround nor a small picture in signal colours: (h, w)."""
    red, green, blue = (image[..., channel].astype(np.int16) for channel in range(3))
    dark = image.max(axis=2) < _DARK_LEVEL
    _, parts = cv2.connectedComponents(np.pad(dark, 1, constant_values=True).astype(np.uint8), connectivity=4)
    surround = (parts == parts[0, 0])[1:-1, 1:-1]
    guide = (np.maximum(green, blue) - red > 60) & ((green - red > 90) | (np.abs(blue - 170) < 40))
    plain = cv2.morphologyEx(guide.astype(np.uint8), cv2.MORPH_OPEN, np.ones((15, 15), np.uint8))
    wrong = surround | (plain > 0)
    return cv2.dilate(wrong.astype(np.uint8), np.ones((2 * _RIM_PX + 1,) * 2, np.uint8)) == 0


def best_rectangle(tissue: NDArray[np.bool_], polyps: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the largest rectangle of tissue, in which a polyp's pixel is worth several others."""
    height, width = (side // _CELL_PX for side in tissue.shape)
    cells = tissue[: height * _CELL_PX, : width * _CELL_PX].reshape(height, _CELL_PX, width, _CELL_PX)
    good = cells.mean(axis=(1, 3)) > 0.95
    worth = cv2.resize(polyps.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    worth = 1 + worth * good.size / max(1.0, float(worth.sum()))
    bad = np.pad((~good).cumsum(axis=0), ((1, 0), (0, 0)))
    sums = np.pad(worth.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
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
    """Begin and end (excluded) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.pad(marked.astype(np.int8), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def without_text(image: Image) -> Image:
    """Letters would move with the tissue. Painted over at the left, with the highlights there that look like them."""
    left = image[:, : int(_TEXT_SHARE * image.shape[1])]
    pale = left.min(axis=2)
    thin = cv2.morphologyEx(pale, cv2.MORPH_TOPHAT, np.ones((21, 21), np.uint8))
    letters = cv2.dilate(((thin > 50) & (pale > 110)).astype(np.uint8), np.ones((7, 7), np.uint8))
    painted = image.copy()
    painted[:, : left.shape[1]] = cv2.inpaint(np.ascontiguousarray(left), letters, 3, cv2.INPAINT_TELEA)
    return painted

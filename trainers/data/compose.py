"""Images composed of several stills: copy-paste of a polyp, and mosaics of four.

Sources: Ghiasi et al., Simple Copy-Paste (CVPR 2021); Bochkovskiy et al., YOLOv4 (2020) for the mosaic.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Item = tuple[Image, Labels]

FEATHER_PX = 5  # width of the blended edge; a model would learn to detect a hard edge
MOST_OVERLAP = 0.1  # largest fraction of a pasted polyp that may cover other polyps, or dark pixels
DARK = 12  # pixels below this level are the black surround
TRIES = 5
_STREAM = 1  # beside an item's seed: augmentation draws from the seed itself, second pictures from stream 2
COLOUR_MATCH = 0.6  # how far the pasted polyp's mean colour moves to that of its new surroundings


def composing_rng(seed: int) -> np.random.Generator:
    """Return the generator that composes the item of this seed; its numbers differ from those of its augmentation."""
    return np.random.default_rng([seed, _STREAM])


def copy_paste(item: Item, donor: Item, rng: np.random.Generator) -> Item:
    """Paste one polyp of `donor` into `item`, rotated, scaled and tinted; return `item` itself if none fits.

    item, donor: an image (h, w, 3) uint8 and its labels (h, w), 0 for background; both have the same size.
    """
    image, labels = item
    numbers = np.unique(donor[1][donor[1] > 0])
    if not len(numbers) or labels.max() == 255:
        return item
    patch, shape = _transform_patch(donor[0], donor[1] == rng.choice(numbers), rng)
    if not shape.any():
        return item
    place = _find_place(image, labels, shape, rng)
    return item if place is None else _paste(image, labels, patch, shape, place)


def _transform_patch(
    image: Image, mask: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Image, NDArray[np.bool_]]:
    """Rotate, scale and flip the neighbourhood of a polyp about its centre; return its pixels and mask."""
    ys, xs = np.nonzero(mask)
    scale, angle_deg = float(rng.uniform(0.5, 1.2)), float(rng.uniform(-180, 180))
    side = int(np.ceil(1.3 * scale * np.hypot(np.ptp(xs) + 1, np.ptp(ys) + 1))) + 2 * FEATHER_PX
    turn = cv2.getRotationMatrix2D((float(xs.mean()), float(ys.mean())), angle_deg, scale)
    turn[:, 2] = turn[:, 2] + (side / 2 - np.array([xs.mean(), ys.mean()]))
    patch = cv2.warpAffine(image, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    shape = cv2.warpAffine(mask.astype(np.uint8), turn, (side, side), flags=cv2.INTER_NEAREST) > 0
    if rng.random() < 0.5:
        patch, shape = patch[:, ::-1], shape[:, ::-1]
    return np.ascontiguousarray(patch), np.ascontiguousarray(shape)


def _find_place(
    image: Image, labels: Labels, shape: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return row and column of the top left corner of a place on tissue without a polyp; None if none is found."""
    height, width = shape.shape
    if height >= labels.shape[0] or width >= labels.shape[1]:
        return None
    area = int(shape.sum())
    for _ in range(TRIES):
        top = int(rng.integers(labels.shape[0] - height))
        left = int(rng.integers(labels.shape[1] - width))
        under = np.s_[top : top + height, left : left + width]
        covered = np.count_nonzero(labels[under][shape])
        dark = np.count_nonzero(image[under][shape].max(axis=1) < DARK)
        if covered <= MOST_OVERLAP * area and dark <= MOST_OVERLAP * area:
            return top, left
    return None


def _paste(image: Image, labels: Labels, patch: Image, shape: NDArray[np.bool_], place: tuple[int, int]) -> Item:
    top, left = place
    under = np.s_[top : top + shape.shape[0], left : left + shape.shape[1]]
    image, labels = image.copy(), labels.copy()
    here, there = image[under][shape].mean(axis=0), patch[shape].mean(axis=0)
    tinted = patch + COLOUR_MATCH * (here - there)
    alpha = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), FEATHER_PX / 2)[..., None]
    image[under] = np.clip(alpha * tinted + (1 - alpha) * image[under], 0, 255).astype(np.uint8)
    labels[under][shape] = labels.max() + 1
    return image, labels


def mosaic(items: list[Item], rng: np.random.Generator) -> Item:
    """Shrink four items of one size (h, w) into the quarters of one image; their common corner is random."""
    height, width = items[0][1].shape
    split_y, split_x = (int(length * rng.uniform(0.35, 0.65)) for length in (height, width))
    image, labels = np.zeros_like(items[0][0]), np.zeros_like(items[0][1])
    rows = (np.s_[:split_y], np.s_[split_y:])
    columns = (np.s_[:split_x], np.s_[split_x:])
    used = 0
    for number, (part, part_labels) in enumerate(items):
        target = image[rows[number // 2], columns[number % 2]]
        size = (target.shape[1], target.shape[0])
        target[:] = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        small = cv2.resize(part_labels, size, interpolation=cv2.INTER_NEAREST)
        labels[rows[number // 2], columns[number % 2]] = np.where(small > 0, small + used, 0)
        used += int(part_labels.max())
    return image, labels

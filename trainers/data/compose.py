"""Pictures made of several stills: a polyp of one pasted into another, and mosaics of four.

Sources: Ghiasi et al., Simple Copy-Paste (CVPR 2021); Bochkovskiy et al., YOLOv4 (2020) for the mosaic.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Item = tuple[Image, Labels]

_FEATHER_PX = 5  # width of the pasted edge's blend: a cut edge would be what the model learns
_MOST_OVERLAP = 0.1  # of a pasted polyp with one that is there
_DARK = 12  # level below which a place is the black around the scope's picture
_TRIES = 5
_COLOUR_MATCH = 0.6  # how far the pasted polyp's mean colour moves to its new place's


def copy_paste(item: Item, donor: Item, chance: np.random.Generator) -> Item:
    """One polyp of `donor` pasted into `item`, turned, scaled and tinted to its new place; `item` where none fits.

    Both: image (h, w, 3) uint8 and labels (h, w), 0 background, of one size.
    """
    image, labels = item
    numbers = np.unique(donor[1][donor[1] > 0])
    if not len(numbers) or labels.max() == 255:
        return item
    patch, shape = _turned(donor[0], donor[1] == chance.choice(numbers), chance)
    if not shape.any():
        return item
    place = _free_place(image, labels, shape, chance)
    return item if place is None else _paste(image, labels, patch, shape, place)


def _turned(image: Image, mask: NDArray[np.bool_], chance: np.random.Generator) -> tuple[Image, NDArray[np.bool_]]:
    """The polyp's surroundings, rotated and scaled about its centre: pixels and mask, cut to the mask."""
    ys, xs = np.nonzero(mask)
    scale, angle_deg = float(chance.uniform(0.5, 1.2)), float(chance.uniform(-180, 180))
    side = int(np.ceil(1.3 * scale * np.hypot(np.ptp(xs) + 1, np.ptp(ys) + 1))) + 2 * _FEATHER_PX
    turn = cv2.getRotationMatrix2D((float(xs.mean()), float(ys.mean())), angle_deg, scale)
    turn[:, 2] = turn[:, 2] + (side / 2 - np.array([xs.mean(), ys.mean()]))
    patch = cv2.warpAffine(image, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    shape = cv2.warpAffine(mask.astype(np.uint8), turn, (side, side), flags=cv2.INTER_NEAREST) > 0
    if chance.random() < 0.5:
        patch, shape = patch[:, ::-1], shape[:, ::-1]
    return np.ascontiguousarray(patch), np.ascontiguousarray(shape)


def _free_place(
    image: Image, labels: Labels, shape: NDArray[np.bool_], chance: np.random.Generator
) -> tuple[int, int] | None:
    """Row and column of the patch's corner where it lies on tissue and on no polyp; None when none was found."""
    height, width = shape.shape
    if height >= labels.shape[0] or width >= labels.shape[1]:
        return None
    area = int(shape.sum())
    for _ in range(_TRIES):
        top = int(chance.integers(labels.shape[0] - height))
        left = int(chance.integers(labels.shape[1] - width))
        under = np.s_[top : top + height, left : left + width]
        covered = np.count_nonzero(labels[under][shape])
        dark = np.count_nonzero(image[under][shape].max(axis=1) < _DARK)
        if covered <= _MOST_OVERLAP * area and dark <= _MOST_OVERLAP * area:
            return top, left
    return None


def _paste(image: Image, labels: Labels, patch: Image, shape: NDArray[np.bool_], place: tuple[int, int]) -> Item:
    top, left = place
    under = np.s_[top : top + shape.shape[0], left : left + shape.shape[1]]
    image, labels = image.copy(), labels.copy()
    here, there = image[under][shape].mean(axis=0), patch[shape].mean(axis=0)
    tinted = patch + _COLOUR_MATCH * (here - there)
    alpha = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), _FEATHER_PX / 2)[..., None]
    image[under] = np.clip(alpha * tinted + (1 - alpha) * image[under], 0, 255).astype(np.uint8)
    labels[under][shape] = labels.max() + 1
    return image, labels


def mosaic(items: list[Item], chance: np.random.Generator) -> Item:
    """Four items of one size (h, w), each shrunk into a quarter whose common corner lies somewhere in the middle."""
    height, width = items[0][1].shape
    split_y, split_x = (int(length * chance.uniform(0.35, 0.65)) for length in (height, width))
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

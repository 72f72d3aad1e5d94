"""From frames to model input: crop to the field of view, shrink, letterbox; and the way back to source pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field import Field, Image

_PAD_LEVEL = 0  # black, as around every scope's picture


@dataclass(frozen=True)
class Placement:
    """Where the field lies in the model's input: model px = (source px - field corner) * scale + (left, top)."""

    field: Field
    scale: float
    left_px: int
    top_px: int

    def boxes_to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) xyxy from model px to source px, clipped to the field."""
        offset = np.array([self.left_px, self.top_px] * 2, np.float32)
        corner = np.array([self.field.x1, self.field.y1] * 2, np.float32)
        limits = np.array(self.field.box, np.float32)
        moved = (boxes - offset) / np.float32(self.scale) + corner
        low, high = np.tile(limits[:2], 2), np.tile(limits[2:], 2)
        return np.asarray(np.clip(moved, low, high), np.float32)

    def inner(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a model-space map of this size (h, w) px that show the field, not the padding."""
        height, width = size
        bottom = min(height, self.top_px + max(1, round(self.field.height * self.scale)))
        right = min(width, self.left_px + max(1, round(self.field.width * self.scale)))
        return slice(self.top_px, bottom), slice(self.left_px, right)


@dataclass(frozen=True)
class Batch:
    """pixels (N, 3, h, w) uint8 RGB, a channels-last view; placements: one an image."""

    pixels: NDArray[np.uint8]
    placements: tuple[Placement, ...]


def prepare(images: Sequence[Image], fields: Sequence[Field], size: tuple[int, int]) -> Batch:
    """Letterbox the field of each image (H, W, 3) into one batch of model size (h, w)."""
    height, width = size
    pixels = np.full((len(images), height, width, 3), _PAD_LEVEL, np.uint8)
    placements = []
    for target, image, field in zip(pixels, images, fields, strict=True):
        placement = place(field, size)
        rows, columns = placement.inner(size)
        target[rows, columns] = shrink(field.crop(image), (rows.stop - rows.start, columns.stop - columns.start))
        placements.append(placement)
    return Batch(pixels.transpose(0, 3, 1, 2), tuple(placements))


def place(field: Field, size: tuple[int, int]) -> Placement:
    """The largest centred placement of the field, proportions kept, in a model input of size (h, w)."""
    height, width = size
    scale = min(height / field.height, width / field.width)
    left = (width - round(field.width * scale)) // 2
    top = (height - round(field.height * scale)) // 2
    return Placement(field, scale, max(0, left), max(0, top))


def shrink(image: Image, size: tuple[int, int]) -> Image:
    """Resize to (h, w), halving exactly while it can: free of aliasing and, at 1080p, 8 times faster than area."""
    height, width = size
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        halved = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
        image = np.asarray(halved, np.uint8)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

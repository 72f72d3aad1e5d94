"""Converts frames to model input (crop to the field of view, shrink, letterbox), and boxes back to source pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.geometry import clip_boxes, shrink

MAP_CELL_PX = 4  # the segmenters' maps have a quarter of their input's resolution
_PAD_LEVEL = 0  # black, as around an endoscope's picture


@dataclass(frozen=True)
class Placement:
    """Position of the field of view in the model's input, in whole cells of the segmenter's map.

    model px = (source px - field corner) * scale + (left, top). The two scales differ by less than two pixels over the
    input.

    Attributes:
        field_of_view: the rectangle of the frame, source px.
        left_px, top_px: its corner in the model's input.
        width_px, height_px: its size there.
        hflip: it is flipped left to right there.
    """

    field_of_view: FieldOfView
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    hflip: bool = False

    @property
    def scale_x(self) -> float:
        return self.width_px / self.field_of_view.width

    @property
    def scale_y(self) -> float:
        return self.height_px / self.field_of_view.height

    def boxes_to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert boxes (n, 4) xyxy from model px to source px, clipped to the field."""
        offset = np.array([self.left_px, self.top_px] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        corner = np.array([self.field_of_view.x1, self.field_of_view.y1] * 2, np.float32)
        if self.hflip:
            across = np.float32(2 * self.left_px + self.width_px)
            boxes = np.stack([across - boxes[:, 2], boxes[:, 1], across - boxes[:, 0], boxes[:, 3]], axis=1)
        return clip_boxes((boxes - offset) / scale + corner, self.field_of_view)

    def inner(self, cell_px: int = 1) -> tuple[slice, slice]:
        """Return the rows and columns without padding, of the model's input or of a map with cells of `cell_px`."""
        top, left = self.top_px // cell_px, self.left_px // cell_px
        return slice(top, top + self.height_px // cell_px), slice(left, left + self.width_px // cell_px)


@dataclass(frozen=True)
class Batch:
    """Model input.

    Attributes:
        pixels: (N, 3, h, w) uint8 RGB, a channels-last view.
        placements: one per image.
    """

    pixels: NDArray[np.uint8]
    placements: tuple[Placement, ...]


def prepare(
    images: Sequence[Image], fields: Sequence[FieldOfView], size: tuple[int, int], *, hflip: Sequence[bool] = ()
) -> Batch:
    """Letterbox the field of each image (H, W, 3) into one batch of model size (h, w).

    hflip: for each image, whether to flip it; empty: none.
    """
    height, width = size
    pixels = np.full((len(images), height, width, 3), _PAD_LEVEL, np.uint8)
    placements = fit_placements(fields, size, hflip)
    for target, image, placement in zip(pixels, images, placements, strict=True):
        rows, columns = placement.inner()
        small = shrink(placement.field_of_view.crop(image), (placement.height_px, placement.width_px))
        target[rows, columns] = cv2.flip(small, 1) if placement.hflip else small  # numpy takes 0.5 ms
    return Batch(pixels.transpose(0, 3, 1, 2), placements)


def fit_placements(
    fields: Sequence[FieldOfView], size: tuple[int, int], hflip: Sequence[bool] = ()
) -> tuple[Placement, ...]:
    """Fit each field; see `fit_placement`. hflip: for each field, whether to flip it; empty: none."""
    flips = hflip or [False] * len(fields)
    return tuple(replace(fit_placement(field, size), hflip=one) for field, one in zip(fields, flips, strict=True))


def fit_placement(field: FieldOfView, size: tuple[int, int]) -> Placement:
    """Fit the field, centred and with its proportions, into a model input of size (h, w).

    Corner and size are whole cells of the segmenter's map, so cropping the padding off a mask shifts nothing.
    """
    height, width = size
    scale = min(height / field.height, width / field.width)
    width_px, height_px = _whole_cells(field.width * scale, width), _whole_cells(field.height * scale, height)
    return Placement(field, _margin(width - width_px), _margin(height - height_px), width_px, height_px)


def _margin(spare_px: int) -> int:
    """Return half of the spare pixels, in whole cells."""
    return spare_px // 2 // MAP_CELL_PX * MAP_CELL_PX


def _whole_cells(length: float, most: int) -> int:
    return min(most, max(MAP_CELL_PX, round(length / MAP_CELL_PX) * MAP_CELL_PX))

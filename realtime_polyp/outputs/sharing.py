"""What pictures that leave this machine carry and leave out: the research-use notice, and what may name a patient."""

import functools

import cv2
import numpy as np

from realtime_polyp.field_of_view import FieldOfView, Image, find_field, whole
from realtime_polyp.packets import Result

CAPTION = "Research use only - not a medical device"
CAPTION_COLOUR = (255, 208, 64)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LEAST_SCALE, _SCALE_PER_PX = 0.4, 1 / 1400  # of the font; per px of the picture's height


def blank_outside(image: Image, result: Result | None, earlier: Result | None = None) -> Image:
    """Return a copy of an image (H, W, 3) that is black outside the field of view, where names and dates stand.

    result: of this image or one shortly before; None: the field is searched in the image. `earlier`, the newest result
    there is, may then be of a field that a person has named: only what lies in both is shown. Where no field has been
    found, as in a dark picture, everything is black. Text inside the rectangle of the field stays.
    """
    blanked = np.zeros_like(image)
    field = _field_of(image, result)
    if field is not None and result is None and earlier is not None and earlier.frame.image.shape == image.shape:
        field = field.intersection(earlier.field_of_view)
    if field is not None:
        field.crop(blanked)[...] = field.crop(image)
    return blanked


def add_caption(image: Image) -> None:
    """Draw the research-use notice into the lower left corner of an image (H, W, 3)."""
    caption = _caption(*image.shape[:2])[: image.shape[0], : image.shape[1]]
    image[image.shape[0] - caption.shape[0] :, : caption.shape[1]] = caption


def caption_below(image: Image) -> Image:
    """Return the image (H, W, 3) with the research-use notice in a strip below it; no pixel of it is covered."""
    caption = _caption(*image.shape[:2])[:, : image.shape[1]]
    strip = np.zeros((caption.shape[0], image.shape[1], 3), np.uint8)
    strip[:, : caption.shape[1]] = caption
    return np.concatenate([image, strip])


def _field_of(image: Image, result: Result | None) -> FieldOfView | None:
    """The field to show; None where none has been found. A result then has the whole image as its field."""
    if result is None or result.frame.image.shape != image.shape:
        return find_field(image)
    is_unknown = result.field_of_view == whole(image) and find_field(image) is None
    return None if is_unknown else result.field_of_view


@functools.lru_cache(maxsize=4)
def _caption(height: int, width: int) -> Image:
    """The notice (h, w, 3) for a picture of this size, px; narrow pictures have it smaller."""
    scale = max(_LEAST_SCALE, height * _SCALE_PER_PX)
    (wide, _), base = cv2.getTextSize(CAPTION, _FONT, scale, 1)
    scale *= min(1.0, width / (wide + 2 * base))
    (wide, high), base = cv2.getTextSize(CAPTION, _FONT, scale, 1)
    caption = np.zeros((high + 2 * base, wide + 2 * base, 3), np.uint8)
    cv2.putText(caption, CAPTION, (base, high + base), _FONT, scale, CAPTION_COLOUR, 1, cv2.LINE_AA)
    return caption

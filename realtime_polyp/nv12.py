"""NV12 images as video decoders return them: a luma plane and a chroma plane of half its size. Needs no torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView, Image

if TYPE_CHECKING:  # PyAV is optional
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane

Matrix = Literal["bt601", "bt709"]
MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601"}  # keys: matrix coefficients of H.273
_FULL_RANGE = 2
_SD_SIZE_PX = (1279, 576)


@dataclass(frozen=True)
class Nv12:
    """An image in NV12, half the bytes of RGB.

    Attributes:
        luma: (H, W) uint8.
        chroma: (ceil(H / 2), ceil(W / 2), 2) uint8, Cb and Cr.
        matrix: conversion matrix between YCbCr and RGB.
        full_range: luma is 0..255 instead of 16..235.
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    matrix: Matrix = "bt709"
    full_range: bool = False


Picture = Image | Nv12


def matrix_of_size(width: int, height: int) -> Matrix:
    """Return the matrix that video players assume of untagged video of a size, px: BT.601 up to SD, else BT.709."""
    return "bt601" if width <= _SD_SIZE_PX[0] and height <= _SD_SIZE_PX[1] else "bt709"


def nv12_of(frame: "VideoFrame", matrix: Matrix) -> Nv12:
    """Return the planes of a decoded frame of format nv12, without a copy: they are valid as long as the frame."""
    luma, chroma = (_lines(plane) for plane in frame.planes)
    height, width = frame.height, frame.width
    pairs = chroma[: -(-height // 2), : -(-width // 2) * 2].reshape(-(-height // 2), -(-width // 2), 2)
    return Nv12(luma[:height, :width], pairs, matrix, frame.color_range == _FULL_RANGE)


def _lines(plane: "VideoPlane") -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload, no-any-return]


def crop_planes(picture: Picture, field: FieldOfView) -> tuple[NDArray[np.uint8], ...]:
    """Crop a picture to its field of view: RGB (h, w, 3), or luma and chroma of the field aligned to chroma pixels."""
    if not isinstance(picture, Nv12):
        return (field.crop(picture),)
    outer = align_to_chroma(field)
    rows, columns = slice(outer.y1 // 2, -(-outer.y2 // 2)), slice(outer.x1 // 2, -(-outer.x2 // 2))
    return outer.crop(picture.luma), picture.chroma[rows, columns]


def align_to_chroma(field: FieldOfView) -> FieldOfView:
    """Return the field with its top left corner moved outwards to an even pixel, where a chroma pixel begins."""
    return FieldOfView(field.x1 // 2 * 2, field.y1 // 2 * 2, field.x2, field.y2)

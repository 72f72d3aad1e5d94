"""Pictures as video decoders make them: a plane of brightness and one of colour at half its size. No torch here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView, Image

if TYPE_CHECKING:  # a machine that decodes nothing, such as a bare one with a GPU, needs no PyAV
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane

Matrix = Literal["bt601", "bt709"]
MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601"}  # as numbered in H.273
_FULL_RANGE = 2


@dataclass(frozen=True)
class Nv12:
    """luma (H, W) uint8; chroma (H / 2, W / 2, 2) uint8, Cb and Cr, rounded up. Half the bytes of RGB."""

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    matrix: Matrix = "bt709"
    full_range: bool = False


Picture = Image | Nv12


def nv12_of(frame: "VideoFrame", matrix: Matrix) -> Nv12:
    """The planes of a decoded frame of format nv12; no copy, so they live as long as the frame."""
    luma, chroma = (_lines(plane) for plane in frame.planes)
    height, width = frame.height, frame.width
    pairs = chroma[: -(-height // 2), : -(-width // 2) * 2].reshape(-(-height // 2), -(-width // 2), 2)
    return Nv12(luma[:height, :width], pairs, matrix, frame.color_range == _FULL_RANGE)


def _lines(plane: "VideoPlane") -> NDArray[np.uint8]:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload, no-any-return]


def cut(picture: Picture, field: FieldOfView) -> tuple[NDArray[np.uint8], ...]:
    """What a device needs of a picture to see the field: its RGB (h, w, 3), or luma and chroma around it."""
    if not isinstance(picture, Nv12):
        return (field.crop(picture),)
    outer = whole_pairs(field)
    rows, columns = slice(outer.y1 // 2, -(-outer.y2 // 2)), slice(outer.x1 // 2, -(-outer.x2 // 2))
    return outer.crop(picture.luma), picture.chroma[rows, columns]


def whole_pairs(field: FieldOfView) -> FieldOfView:
    """The field with its corner moved out to where a value of colour begins."""
    return FieldOfView(field.x1 // 2 * 2, field.y1 // 2 * 2, field.x2, field.y2)

"""Pictures of a saved video: fitted into its size, converted to YUV, tagged so that players show their colours."""

from dataclasses import dataclass
from typing import Self

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from realtime_polyp.field_of_view import Image
from realtime_polyp.nv12 import matrix_of_size

PIXEL_FORMAT = "yuv420p"


@dataclass(frozen=True)
class Colours:
    """Colour tags of a video, as numbered in ITU-T H.273. They are those that players assume of untagged video.

    A recording's RGB is never converted between primaries, so its saved video looks as the recording does.

    Attributes:
        matrix: 1 is BT.709, 5 BT.601 of 625 lines, 6 BT.601 of 525 lines; as are primaries.
        transfer: 1 is BT.709, 6 BT.601: the same curve.
        full_range: luma is 0..255 instead of 16..235.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: bool = False

    @classmethod
    def of_size(cls, width: int, height: int, *, full_range: bool = False) -> Self:
        """BT.709 from 720 lines or 1280 columns on, else BT.601."""
        if matrix_of_size(width, height) == "bt709":
            return cls(1, 1, 1, full_range)
        lines_625 = height == 576
        return cls(5 if lines_625 else 6, 5 if lines_625 else 6, 6, full_range)

    @property
    def range(self) -> ColorRange:
        return ColorRange.JPEG if self.full_range else ColorRange.MPEG

    def tag(self, encoder: VideoCodecContext) -> None:
        """Tag what the encoder will write."""
        encoder.colorspace, encoder.color_primaries = self.matrix, self.primaries
        encoder.color_trc, encoder.color_range = self.transfer, self.range


class YuvConverter:
    """Converts images (height, width, 3) uint8 RGB of one even size, px, to frames of PIXEL_FORMAT.

    1080p takes 7 ms on one thread of a 2-core AVX512 CPU, whatever the matrix and range.
    """

    def __init__(self, width: int, height: int, colours: Colours) -> None:
        self._colours = colours
        self._scaler = VideoReformatter()  # reuses its tables
        self._rgb = av.VideoFrame(width, height, "rgb24")  # reused: fresh memory takes longer than the conversion
        lines = np.frombuffer(self._rgb.planes[0], np.uint8).reshape(height, -1)  # type: ignore[call-overload]
        self._pixels = lines[:, : width * 3].reshape(height, width, 3, copy=False)

    def __call__(self, image: Image) -> av.VideoFrame:
        self._pixels[...] = image
        return self._scaler.reformat(
            self._rgb,
            format=PIXEL_FORMAT,
            dst_colorspace=Colorspace.ITU709 if self._colours.matrix == 1 else Colorspace.ITU601,
            src_color_range=ColorRange.JPEG,  # RGB is 0..255
            dst_color_range=self._colours.range,
        )


def fit(image: Image, size: tuple[int, int]) -> Image:
    """Fit an image (H, W, 3) into an even size (h, w): letterboxed, unless it lacks a row or column only.

    A letterboxed image is centred and keeps its proportions; its rim is black.
    """
    if (image.shape[0] + image.shape[0] % 2, image.shape[1] + image.shape[1] % 2) == size:
        return pad_to_even(image)
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (
        (outer - inner) // 4 * 2 for outer, inner in zip(size, (height, width), strict=True)
    )  # whole chroma pixels
    fitted = np.zeros((*size, 3), np.uint8)
    fitted[top : top + height, left : left + width] = scaled
    return fitted


def unfit(image: Image, size: tuple[int, int]) -> Image:
    """Undo `fit`: return the part of an image (H, W, 3) that held a picture of size (h, w), at that size."""
    if image.shape[:2] == size:
        return image
    if image.shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2):
        return image[: size[0], : size[1]]
    scale = min(image.shape[0] / size[0], image.shape[1] / size[1])
    height, width = (max(1, round(length * scale)) for length in size)
    top, left = ((outer - inner) // 4 * 2 for outer, inner in zip(image.shape[:2], (height, width), strict=True))
    found = image[top : top + height, left : left + width]
    return cv2.resize(found, size[::-1], interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR)  # type: ignore[return-value]


def pad_to_even(image: Image) -> Image:
    """Repeat the last row or column where their number is odd: H.264 stores colour for pairs of pixels."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")

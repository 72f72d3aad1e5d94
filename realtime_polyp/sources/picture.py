"""From a decoded frame to the RGB picture a person would be shown: colours, pixel shape and orientation put right."""

from fractions import Fraction

import av.error
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from realtime_polyp.field_of_view import Image
from realtime_polyp.nv12 import MATRICES, Nv12, nv12_of
from realtime_polyp.sources.base import SourceError

# Matrix numbers as in H.273; FFmpeg's scaler takes only these, anything else is guessed from the size.
_BT709, _BT601 = 1, 5
_FULL_RANGE = 2
_KNOWN_MATRICES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9, 10: 9}
_SD_SIZE_PX = (1279, 576)  # an untagged picture no larger than this is taken for BT.601, as players do

_SQUARE_ENOUGH = 0.02  # aspect tags this close to 1 are rounding (e.g. 136:135), not worth resampling a picture for
_LARGEST_STRETCH = 4  # beyond it the tag is nonsense

_FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}  # cv2.flip's, by (mirrored in x, in y)


class RgbConverter:
    """Turns the decoded frames of one stream, of any pixel format, into pictures (H, W, 3) uint8 RGB as displayed.

    aspect: width of a pixel over its height. Wide pixels widen the picture and tall ones heighten it, so that circles
    are round and no line is lost. Rotations by quarter turns and mirroring written in the file are applied, other
    angles are not. Untagged pictures are read as BT.709 from 720 lines on, else as BT.601; limited range unless tagged.

    1080p yuv420p, one thread of a 2-core AVX512 CPU: 0.6 to 0.7 ms, flat colours off by at most 3 of 255 levels; with
    ACCURATE_RND 4.0 ms and off by as much; `frame.to_ndarray(format="rgb24")` 0.6 ms, without
    the matrix put right; `cv2.cvtColor(..., COLOR_YUV2RGB_I420)` 0.8 ms, BT.601 in limited range only.
    """

    def __init__(self, aspect: Fraction | None = None) -> None:
        self._aspect = _usable_aspect(aspect)
        self._scaler = VideoReformatter()  # kept: it reuses its tables while the format stays
        self._splitter = VideoReformatter()
        self._turn: _Turn | None = None

    def __call__(self, frame: VideoFrame) -> Image:
        width, height = _square_pixels(frame.width, frame.height, self._aspect)
        return self._turn_of(frame).apply(_array(_scaled(self._scaler, self._planar(frame), width, height)))

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """(width, height) px of the picture that this frame becomes."""
        width, height = _square_pixels(frame.width, frame.height, self._aspect)
        return (height, width) if self._turn_of(frame).transposed else (width, height)

    def planes(self, frame: VideoFrame) -> Nv12 | None:
        """The picture as a GPU decoded it; None where it was not, or is not shown the way it was stored."""
        turn, matrix = self._turn_of(frame), MATRICES.get(_matrix(frame) or 0)
        if frame.format.name != "nv12" or matrix is None or not turn.plain or self._aspect != 1:
            return None
        return nv12_of(frame, matrix)

    def _planar(self, frame: VideoFrame) -> VideoFrame:
        """What a GPU decoded with its two colours taken apart, as software decodes: FFmpeg's quick way starts there."""
        if frame.format.name != "nv12":
            return frame
        return self._splitter.reformat(frame, format="yuv420p", threads=1)

    def _turn_of(self, frame: VideoFrame) -> "_Turn":
        if self._turn is None:  # the stream's, so looked up once
            self._turn = _read_turn(frame)
        return self._turn


class _Turn:
    """A quarter turn with or without mirroring: transposed first, then mirrored in x and y."""

    def __init__(self, transposed: bool = False, mirror_x: bool = False, mirror_y: bool = False) -> None:
        self.transposed = transposed
        self._flip = _FLIP_CODES.get((mirror_x, mirror_y))
        self.plain = not transposed and self._flip is None

    def apply(self, image: Image) -> Image:
        turned = cv2.transpose(image) if self.transposed else image
        if self._flip is not None:
            turned = cv2.flip(turned, self._flip)
        return np.asarray(turned, np.uint8)


def _read_turn(frame: VideoFrame) -> _Turn:
    """From the display matrix [a b u; c d v; x y w]: a point (p, q) is shown at (a p + c q + x, b p + d q + y)."""
    # PyAV's side data and its frame hold each other until the garbage collector comes: let that be a tiny frame
    tiny = _scaled(VideoReformatter(), frame, 16, 16)
    try:
        item = tiny.side_data[SideDataType.DISPLAYMATRIX]  # type: ignore[typeddict-item]  # stub too narrow
    except KeyError:
        return _Turn()
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(item), np.int32)[:5])
    return _Turn(True, c < 0, b < 0) if abs(b) > abs(a) else _Turn(False, a < 0, d < 0)


def _scaled(scaler: VideoReformatter, frame: VideoFrame, width: int, height: int) -> VideoFrame:
    """The frame as rgb24 of this size; SourceError when FFmpeg has no way from its pixel format."""
    try:
        return scaler.reformat(
            frame, width, height, "rgb24", src_colorspace=_matrix(frame), dst_color_range=_FULL_RANGE, threads=1
        )
    except av.error.FFmpegError as error:
        raise SourceError(f"Pictures of format {frame.format.name} cannot be shown: {error.strerror}.") from error


def _matrix(frame: VideoFrame) -> int | None:
    """The YUV matrix to undo; None when there is none."""
    if frame.format.is_rgb:
        return None
    small = frame.width <= _SD_SIZE_PX[0] and frame.height <= _SD_SIZE_PX[1]
    return _KNOWN_MATRICES.get(int(frame.colorspace), _BT601 if small else _BT709)


def _usable_aspect(aspect: Fraction | None) -> Fraction:
    if aspect is None or not Fraction(1, _LARGEST_STRETCH) <= aspect <= _LARGEST_STRETCH:
        return Fraction(1)
    return aspect if abs(aspect - 1) > _SQUARE_ENOUGH else Fraction(1)


def _square_pixels(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def _array(rgb: VideoFrame) -> Image:
    """The pixels of an rgb24 frame (H, W, 3); its own memory where lines are not padded, else a copy."""
    plane = rgb.planes[0]
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: rgb.height, : rgb.width * 3]  # type: ignore[call-overload]
    return np.ascontiguousarray(lines).reshape(rgb.height, rgb.width, 3)

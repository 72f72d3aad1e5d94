"""Converts decoded frames to RGB as displayed: colours, whole pictures instead of fields, pixel aspect, orientation."""

from fractions import Fraction

import av.error
import av.filter
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from realtime_polyp.field_of_view import Image
from realtime_polyp.image_files import ImageError, check_picture_size
from realtime_polyp.nv12 import MATRICES, Nv12, matrix_of_size, nv12_of
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.deinterlace import Deinterlacer, Mode
from realtime_polyp.sources.hdr import RGB_FORMAT as HDR_RGB
from realtime_polyp.sources.hdr import Transfer, tone_map, transfer_of
from realtime_polyp.sources.picture_pool import PicturePool
from realtime_polyp.sources.placement import Placement
from realtime_polyp.sources.rgb_filter import RgbFilter

# Side data that FFmpeg knows and PyAV does not, such as EXIF: PyAV then reads none of a frame's (ValueError)
_UNKNOWN_SIDE_DATA = sorted(set(range(128)) - {one.value for one in SideDataType})

# Matrix numbers as in ITU-T H.273. FFmpeg's scaler accepts only these; anything else is guessed from the size.
_MATRIX_NUMBERS = {"bt709": 1, "bt601": 5}
_BT2020 = 9
_FULL_RANGE = 2
_KNOWN_MATRICES = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9, 10: 9}

_SQUARE_ENOUGH = 0.02  # aspect tags this close to 1 are rounding (e.g. 136:135): not worth resampling
_LARGEST_STRETCH = 4  # a tag beyond it is invalid

_FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}  # of cv2.flip, by (flip x, flip y)


class RgbConverter:
    """Converts the decoded frames of one stream, of any pixel format, to images (H, W, 3) uint8 RGB as displayed.

    aspect: pixel width over pixel height, until `set_aspect` changes it. Wide pixels widen the image and tall pixels
    heighten it, so no line is lost.
    deinterlace: see `Deinterlacer`. HDR becomes SDR (`sources.hdr`). `conversions` says what the newest image needed.

    Quarter turns and flips stored in the file are applied, other angles are not. Untagged frames are BT.601 up to
    1279 x 576 px, else BT.709 (BT.2020 where they are HDR), and limited range. Calling it raises SourceError for a
    pixel format that FFmpeg cannot convert.

    1080p yuv420p on one thread of a 2-core AVX512 CPU takes 0.6 to 0.7 ms; flat colours are off by at most 3 of 255
    levels. With ACCURATE_RND it takes 4.0 ms at the same error. `frame.to_ndarray(format="rgb24")` takes 0.6 ms but
    ignores the matrix. `cv2.cvtColor(..., COLOR_YUV2RGB_I420)` takes 0.8 ms, for BT.601 in limited range only.
    """

    def __init__(self, aspect: Fraction | None = None, *, deinterlace: Mode = "auto") -> None:
        self.set_aspect(aspect)
        self._deinterlacer = Deinterlacer(deinterlace)
        self._scaler = VideoReformatter()  # reuses its tables while the format stays the same
        self._splitter = VideoReformatter()
        self._filter = RgbFilter()
        self._pool = PicturePool()
        self._orientation: _Orientation | None = None
        self._transfer: Transfer | None = None

    def set_aspect(self, aspect: Fraction | None) -> None:
        """Set the pixel aspect of the pictures from now on; None: square."""
        self._aspect = _usable_aspect(aspect)

    @property
    def aspect(self) -> Fraction:
        """Pixel aspect that is applied, width over height; 1 for pixels that are square, or nearly."""
        return self._aspect

    def __call__(self, frame: VideoFrame) -> Image:
        """Convert the next frame of the stream; of an interlaced one, the first field."""
        return self._convert(self._deinterlacer(frame))

    def second_field(self) -> Image | None:
        """Convert the second field of the frame that was converted last; None if it was not de-interlaced."""
        second = self._deinterlacer.second_field()
        return None if second is None else self._convert(second)

    def set_before(self, frame: VideoFrame | None) -> None:
        """Name the frame before the next one, where it is not the one that was converted last."""
        self._deinterlacer.set_before(frame)

    @property
    def conversions(self) -> tuple[str, ...]:
        """What was done to the frame that was converted last, beyond colour and shape."""
        fields = ("de-interlaced",) if self._deinterlacer.is_active else ()
        return (*fields, f"{self._transfer} shown as SDR") if self._transfer else fields

    def _convert(self, frame: VideoFrame) -> Image:
        width, height = _square_pixels(frame.width, frame.height, self._aspect)
        self._transfer = transfer_of(frame)
        if self._transfer:
            image = tone_map(_scale(self._scaler, frame, width, height, HDR_RGB), self._transfer)
        else:
            image = _to_array(self._to_rgb(self._split_chroma(frame), width, height))
        return self._pool.copy(self._orientation_of(frame).apply(image))

    def _to_rgb(self, frame: VideoFrame, width: int, height: int) -> VideoFrame:
        matrix = MATRICES.get(_matrix(frame) or 0)
        keeps_size = (frame.width, frame.height) == (width, height)
        rgb = self._filter(frame, matrix) if matrix and keeps_size else None
        return rgb or _scale(self._scaler, frame, width, height)

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return (width, height) px of the converted frame."""
        width, height = _square_pixels(frame.width, frame.height, self._aspect)
        return (height, width) if self._orientation_of(frame).transposed else (width, height)

    def placement(self, frame: VideoFrame) -> Placement:
        """Return where the stored pixels are in the converted frame."""
        orientation = self._orientation_of(frame)
        scaled = _square_pixels(frame.width, frame.height, self._aspect)
        return Placement((frame.width, frame.height), scaled, orientation.transposed, *orientation.flips)

    def planes(self, frame: VideoFrame) -> Nv12 | None:
        """Return a frame that was just converted as NV12, if a GPU decoded it and it is shown as stored, else None."""
        if self.conversions:
            return None
        orientation, matrix = self._orientation_of(frame), MATRICES.get(_matrix(frame) or 0)
        if frame.format.name != "nv12" or matrix is None or not orientation.is_identity or self._aspect != 1:
            return None
        return nv12_of(frame, matrix)

    def _split_chroma(self, frame: VideoFrame) -> VideoFrame:
        """Convert NV12 to yuv420p, from which FFmpeg's fast path to RGB starts."""
        if frame.format.name != "nv12":
            return frame
        return self._splitter.reformat(frame, format="yuv420p", threads=1)

    def _orientation_of(self, frame: VideoFrame) -> "_Orientation":
        if self._orientation is None:  # the same for the whole stream
            self._orientation = _read_orientation(frame)
        return self._orientation


def displayed_size(stream: VideoStream) -> tuple[int, int]:
    """Return (width, height) px of a stream's pictures with square pixels, before one of them was decoded.

    Raises SourceError if they are too large.
    """
    return _square_pixels(stream.width, stream.height, _usable_aspect(stream.sample_aspect_ratio))


class _Orientation:
    """An orientation of the display matrix: transposed first, then flipped in x and y."""

    def __init__(self, transposed: bool = False, flip_x: bool = False, flip_y: bool = False) -> None:
        self.transposed = transposed
        self.flips = (flip_x, flip_y)
        self._flip = _FLIP_CODES.get(self.flips)
        self.is_identity = not transposed and self._flip is None

    def apply(self, image: Image) -> Image:
        oriented = cv2.transpose(image) if self.transposed else image
        if self._flip is not None:
            oriented = cv2.flip(oriented, self._flip)
        return np.asarray(oriented, np.uint8)


def _read_orientation(frame: VideoFrame) -> _Orientation:
    """Read the display matrix [a b u; c d v; x y w], which shows (p, q) at (a p + c q + x, b p + d q + y)."""
    # PyAV's side data and its frame reference each other until garbage collection: use a tiny frame
    tiny = _drop_unknown_side_data(_scale(VideoReformatter(), frame, 16, 16))
    try:
        item = tiny.side_data[SideDataType.DISPLAYMATRIX]  # type: ignore[typeddict-item]  # stub too narrow
    except KeyError:
        return _Orientation()
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(item), np.int32)[:5])
    return _Orientation(True, c < 0, b < 0) if abs(b) > abs(a) else _Orientation(False, a < 0, d < 0)


def _drop_unknown_side_data(frame: VideoFrame) -> VideoFrame:
    """Return an rgb24 frame with only the side data that PyAV can list; the frame itself if that is all of it."""
    try:
        len(frame.side_data)
        return frame
    except ValueError:
        graph = av.filter.Graph()
        first = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
        drops = [graph.add("sidedata", f"mode=delete:type={number}") for number in _UNKNOWN_SIDE_DATA]
        graph.link_nodes(first, *drops, graph.add("buffersink")).configure()
        graph.push(frame)
        filtered = graph.pull()
        assert isinstance(filtered, VideoFrame)
        return filtered


def _scale(
    scaler: VideoReformatter, frame: VideoFrame, width: int, height: int, rgb_format: str = "rgb24"
) -> VideoFrame:
    """Convert the frame to RGB of this size. Raises SourceError if FFmpeg cannot convert its pixel format."""
    try:
        return scaler.reformat(
            frame, width, height, rgb_format, src_colorspace=_matrix(frame), dst_color_range=_FULL_RANGE, threads=1
        )
    except av.error.FFmpegError as error:
        raise SourceError(
            f"Frames of pixel format {frame.format.name} cannot be converted: {error.strerror}."
        ) from error


def _matrix(frame: VideoFrame) -> int | None:
    """Return the frame's YUV matrix; None for RGB."""
    if frame.format.is_rgb:
        return None
    usual = _BT2020 if transfer_of(frame) else _MATRIX_NUMBERS[matrix_of_size(frame.width, frame.height)]
    return _KNOWN_MATRICES.get(int(frame.colorspace), usual)


def _usable_aspect(aspect: Fraction | None) -> Fraction:
    if aspect is None or not Fraction(1, _LARGEST_STRETCH) <= aspect <= _LARGEST_STRETCH:
        return Fraction(1)
    return aspect if abs(aspect - 1) > _SQUARE_ENOUGH else Fraction(1)


def _square_pixels(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return the displayed size, px. Raises SourceError if it is too large."""
    width, height = (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))
    try:
        check_picture_size(width, height)
    except ImageError as error:
        raise SourceError(f"The picture as displayed is too large: {error}.") from None
    return width, height


def _to_array(rgb: VideoFrame) -> Image:
    """Return an rgb24 frame as (H, W, 3) uint8, a view of the frame."""
    plane = rgb.planes[0]
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: rgb.height, : rgb.width * 3]  # type: ignore[call-overload]
    picture: Image = lines.reshape(rgb.height, rgb.width, 3)
    return picture

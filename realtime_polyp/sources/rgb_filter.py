"""Converts large pictures of the most frequent kind to RGB, in memory that FFmpeg uses again."""

import av.error
from av.video.frame import VideoFrame

from realtime_polyp.nv12 import Matrix
from realtime_polyp.sources.deinterlace import SimpleFilter

_LEAST_BYTES = 1 << 24
"""Of the RGB. Where 1080p (6 MB) is decoded alone, the filter takes 0.1 ms a picture longer than the scaler."""

_FORMATS = ("yuv420p", "yuvj420p")
_COLOUR_SPACES = (1, 2, 5, 6)  # BT.709, untagged and both names of BT.601, as in ITU-T H.273

_Kind = tuple[int, int, str, int, int, Matrix]


class RgbFilter:
    """Converts 8-bit 4:2:0 pictures of even size to rgb24 of the same size. Its bytes are those of FFmpeg's scaler.

    least_bytes: of the RGB; smaller pictures are left to the scaler.

    Why not the scaler itself: PyAV's takes new memory for every picture. In the line the system often maps and clears
    that of a 4K picture (25 MB) each time: 6,400 page faults a picture, and 65 ms of processor time for the whole line
    instead of 55 ms (docs/performance.md). FFmpeg's filters take theirs from a pool.
    """

    def __init__(self, *, least_bytes: int = _LEAST_BYTES) -> None:
        self._least_bytes = least_bytes
        self._kind: _Kind | None = None  # of the pictures that `_filter` is for
        self._filter: SimpleFilter | None = None

    def __call__(self, frame: VideoFrame, matrix: Matrix) -> VideoFrame | None:
        """Convert a picture; None where it is of another kind, or FFmpeg refuses it. matrix: whatever its tag says."""
        kind = _kind_of(frame, matrix) if 3 * frame.width * frame.height >= self._least_bytes else None
        if kind is None:
            return None
        try:
            if self._filter is None or kind != self._kind:
                options = f"flags=bilinear:interl=0:in_color_matrix={matrix}:out_range=full"
                self._kind, self._filter = kind, SimpleFilter(frame, "scale", options, out_format="rgb24")
            return next(iter(self._filter.push(frame)), None)
        except av.error.FFmpegError:
            self._filter = None
            return None


def _kind_of(frame: VideoFrame, matrix: Matrix) -> _Kind | None:
    """Return all that a filter is opened for; None where its bytes are not sure to be those of the scaler."""
    colours = int(frame.colorspace), int(frame.color_range)
    is_usual = frame.format.name in _FORMATS and colours[0] in _COLOUR_SPACES
    if not is_usual or frame.width % 2 or frame.height % 2 or frame.planes[0].line_size < 0:  # stored upside down
        return None
    return frame.width, frame.height, frame.format.name, *colours, matrix

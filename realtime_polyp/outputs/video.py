"""The video with its overlay as an MP4, each frame at its own time."""

from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.base import OutputError
from realtime_polyp.outputs.overlay import OverlayStyle, draw, shapes_of
from realtime_polyp.packets import Result

_TIME_BASE = Fraction(1, 90_000)
# Fragments keep the file playable at any moment, also after a crash; closing adds an ordinary index.
# flush_packets hands each fragment to the system at once, instead of when FFmpeg's buffer is full.
_CONTAINER_OPTIONS = {
    "movflags": "+frag_keyframe+empty_moov+default_base_moof+hybrid_fragmented",
    "flush_packets": "1",
}
_ENCODER_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0"}
_KEY_FRAME_EVERY = 30


class VideoWriter:
    """Writes results as H.264. The size is the first frame's, padded to even; frames of other sizes are scaled to it.

    rate_hz: the nominal frame rate; 30 where it is not known. Raises OutputError.
    """

    on_disk = True

    def __init__(self, path: Path, *, rate_hz: Fraction | None = None, style: OverlayStyle = OverlayStyle()) -> None:
        self._path, self._style, self._rate_hz = path, style, rate_hz or Fraction(30)
        self._stream: VideoStream | None = None
        self._next_pts = self._shift = 0
        self._failed = False
        try:
            self._container: OutputContainer | None = av.open(str(path), "w", format="mp4", options=_CONTAINER_OPTIONS)
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure(error) from error

    def write(self, result: Result) -> None:
        if self._container is None:
            raise OutputError(f"cannot write video to {self._path}: it is closed already")
        painted = pad_to_even(draw(result.frame.image, shapes_of(result, self._style)))
        try:
            stream = self._stream or self._open_stream(self._container, painted)
            frame = av.VideoFrame.from_ndarray(painted, format="rgb24")
            frame.time_base = _TIME_BASE
            frame.pts = self._pts(result.frame.pts_s)
            self._container.mux(stream.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            self._failed = True
            raise self._failure(error) from error

    def close(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._stream and not self._failed:  # FFmpeg crashes when it gets more after a failed header
                container.mux(self._stream.encode(None))
            container.close()
        except (OSError, av.error.FFmpegError) as error:
            if not self._failed:  # else `write` has raised it
                raise self._failure(error) from error

    def _open_stream(self, container: OutputContainer, image: Image) -> VideoStream:
        self._stream = stream = container.add_stream("libx264", rate=self._rate_hz, options=_ENCODER_OPTIONS)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        stream.gop_size = _KEY_FRAME_EVERY
        return stream

    def _pts(self, pts_s: float) -> int:
        """The frame's own time in units of _TIME_BASE; after a seek backwards the saved time keeps rising."""
        pts = round(pts_s / _TIME_BASE)
        if pts + self._shift < self._next_pts:
            self._shift = self._next_pts - pts
        shifted = pts + self._shift
        self._next_pts = shifted + 1
        return shifted

    def _failure(self, error: Exception) -> OutputError:
        reason = getattr(error, "strerror", None) or str(error)
        return OutputError(f"cannot write video to {self._path}: {reason}")


def pad_to_even(image: Image) -> Image:
    """Repeat the last row or column where their number is odd: H.264 stores colour for pairs of pixels."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")

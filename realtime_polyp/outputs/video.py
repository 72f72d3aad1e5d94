"""The video with its overlay as an MP4, each frame at its own time."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from realtime_polyp.field_of_view import Image
from realtime_polyp.messages import printable
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.outputs.output_file import OutputFile
from realtime_polyp.outputs.overlay import OverlayStyle, draw, shapes_of
from realtime_polyp.packets import Result

_TIME_BASE = Fraction(1, 90_000)
# Fragments keep the file playable at any moment, also after a crash; closing adds an ordinary index. FFmpeg writes a
# fragment when the next one begins: with one per frame a crash loses one frame at any rate.
# flush_packets hands each fragment to the system at once, instead of when FFmpeg's buffer is full.
_MOVFLAGS = "+frag_every_frame+empty_moov+default_base_moof"
_MOVFLAGS_OF_FILES = _MOVFLAGS + "+hybrid_fragmented"  # a pipe cannot be rewritten at its end
# zerolatency: without it the encoder holds 11 frames back. They are lost in a crash: 11 s at 1 frame/s.
_ENCODER_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "crf": "21", "bf": "0"}
_KEY_FRAME_EVERY = 30
_KEY_FRAME_EVERY_PTS = round(1 / _TIME_BASE)


class VideoWriter:
    """Writes results as H.264. The size is the first frame's, padded to even; frames of other sizes are scaled to it.

    A crash loses the last frame; what is written before can be played. rate_hz: the nominal frame rate; 30 where it is
    not known. Raises OutputError.
    """

    on_disk = True

    def __init__(self, path: Path, *, rate_hz: Fraction | None = None, style: OverlayStyle = OverlayStyle()) -> None:
        self.name, self._style, self._rate_hz = f"video to {printable(path)}", style, rate_hz or Fraction(30)
        self._stream: VideoStream | None = None
        self._next_pts = self._shift = self._key_pts = 0
        self._failed = False
        try:
            self._file = OutputFile(path)
        except OSError as error:
            raise OutputError(f"cannot write {self.name}: {reason_of(error)}") from error
        options = {"movflags": _MOVFLAGS_OF_FILES if self._file.seekable() else _MOVFLAGS, "flush_packets": "1"}
        # Without its name FFmpeg cannot take it for something else: "12:30.mp4" would be a protocol.
        self._container: OutputContainer | None = av.open(self._file, "w", format="mp4", options=options)

    def write(self, result: Result) -> None:
        if self._container is None:
            raise OutputError(f"cannot write {self.name}: it is closed already")
        painted = pad_to_even(draw(result.frame.image, shapes_of(result, self._style)))
        try:
            stream = self._stream or self._open_stream(self._container, painted)
            self._container.mux(stream.encode(self._frame_of(painted, result.frame.pts_s)))
            self._raise_failure()
        except (OSError, av.error.FFmpegError) as error:
            self._failed = True
            raise self._failure(error) from error

    def close(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        if self._failed:  # `write` has raised it
            self._leave(container)
            return
        try:
            self._file.check()  # the index makes an emptied file as long as it was
            if self._stream:
                container.mux(self._stream.encode(None))
            container.close()
            self._file.close()
            self._raise_failure()
        except (OSError, av.error.FFmpegError) as error:
            self._leave(container)
            raise self._failure(error) from error

    def _leave(self, container: OutputContainer) -> None:
        """Close after a failure; FFmpeg, which crashes when it gets more after a failed header, writes no index."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError, av.error.FFmpegError):
            container.close()

    def _raise_failure(self) -> None:
        """FFmpeg may go on after a failed write, or give another reason than the system's."""
        if self._file.error:
            raise self._file.error

    def _frame_of(self, image: Image, pts_s: float) -> av.VideoFrame:
        """A frame at its own time, a key frame when the last one is a second ago."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.time_base, frame.pts = _TIME_BASE, self._pts(pts_s)
        if frame.pts - self._key_pts >= _KEY_FRAME_EVERY_PTS:
            frame.pict_type, self._key_pts = PictureType.I, frame.pts
        return frame

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
        return OutputError(f"cannot write {self.name}: {reason_of(self._file.error or error)}")


def pad_to_even(image: Image) -> Image:
    """Repeat the last row or column where their number is odd: H.264 stores colour for pairs of pixels."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")

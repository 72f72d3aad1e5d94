"""The video with its overlay as MP4, QuickTime or Matroska, each frame at its own time."""

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from realtime_polyp.field_of_view import Image
from realtime_polyp.messages import printable
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.outputs.labels import LabelPlacer
from realtime_polyp.outputs.output_file import OutputFile
from realtime_polyp.outputs.overlay import NO_SHAPES, OverlayStyle, draw, shapes_of
from realtime_polyp.outputs.sharing import add_caption, blank_outside
from realtime_polyp.outputs.video_picture import PIXEL_FORMAT, Colours, YuvConverter, fit, pad_to_even
from realtime_polyp.packets import LONGEST_STEP_S, Frame, Result


@dataclass(frozen=True)
class Container:
    """A kind of file that can be played at any moment while it is written, also after a crash, but for its last frame.

    Attributes:
        format: FFmpeg's name.
        time_base: the unit of its times, s.
        options: FFmpeg's, for a file.
        pipe_options: FFmpeg's, for a pipe, which cannot be rewritten at its end.
    """

    format: str
    time_base: Fraction
    options: dict[str, str]
    pipe_options: dict[str, str]


# FFmpeg writes a fragment when the next one begins: with one per frame a crash loses one frame at any rate.
# Closing adds an ordinary index. flush_packets hands each fragment to the system at once, instead of when FFmpeg's
# buffer is full.
_MOVFLAGS = "+frag_every_frame+empty_moov+default_base_moof"
_MOV_OPTIONS = {"movflags": _MOVFLAGS + "+hybrid_fragmented", "flush_packets": "1"}
_MOV_PIPE_OPTIONS = {"movflags": _MOVFLAGS, "flush_packets": "1"}
_MKV_OPTIONS = {"cluster_time_limit": "0", "flush_packets": "1"}  # a cluster per frame
_MP4 = Container("mp4", Fraction(1, 90_000), _MOV_OPTIONS, _MOV_PIPE_OPTIONS)
_MOV = Container("mov", Fraction(1, 90_000), _MOV_OPTIONS, _MOV_PIPE_OPTIONS)
_MKV = Container("matroska", Fraction(1, 1000), _MKV_OPTIONS, _MKV_OPTIONS)
_CONTAINERS = {".mp4": _MP4, ".m4v": _MP4, ".mov": _MOV, ".mkv": _MKV}
_USUAL = ".mp4"
VIDEO_NAMES = ", ".join(list(_CONTAINERS)[:-1]) + f" or {list(_CONTAINERS)[-1]}"

# zerolatency: without it the encoder holds 11 frames back. They are lost in a crash: 11 s at 1 frame/s.
_ENCODER_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "crf": "21", "bf": "0"}
_KEY_FRAME_EVERY = 30
_INDEX_BYTES, _INDEX_BYTES_PER_FRAME = 8192, 64  # more than an index takes
_KEY_FRAME_EVERY_S = 1


def container_of(path: Path) -> Container:
    """Return the container that a video's name asks for; MP4 where it has no extension, as a pipe.

    Raises OutputError for every other name. AVI is one: it stores no times, and many players refuse it without the
    index at its end.
    """
    found = _CONTAINERS.get(path.suffix.lower() or _USUAL)
    if found is None:
        what = f"its name ends in {printable(path.suffix)}"
        raise OutputError(f"cannot write video to {printable(path)}: {what}; use {VIDEO_NAMES}")
    return found


class VideoWriter:
    """Writes results as H.264, in the container that the file's name asks for.

    The size is the first frame's, padded to even; frames of other sizes are letterboxed into it. Pixels are square.
    Colours are tagged: BT.709 from 720 lines or 1280 columns on, else BT.601; limited range unless `full_range`.

    A crash loses the last frame; what is written before can be played. After a seek the video goes on only where it
    ended: with a part left out, its clock would not be the source's any more. It then ends, and `notice` says so.

    rate_hz: the nominal frame rate; 30 where it is not known. blank_outside: everything outside the field of view is
    black. caption: draw the research-use notice into a corner. Raises OutputError.
    """

    on_disk = True

    def __init__(
        self,
        path: Path,
        *,
        rate_hz: Fraction | None = None,
        style: OverlayStyle = OverlayStyle(),
        full_range: bool = False,
        blank_outside: bool = False,
        caption: bool = True,
    ) -> None:
        self.name, self._style, self._rate_hz = f"video to {printable(path)}", style, rate_hz or Fraction(30)
        self._kind, self._full_range, self._blank_outside = container_of(path), full_range, blank_outside
        self._caption, self._placer = caption, LabelPlacer()
        self._stream: VideoStream | None = None
        self._next_pts = self._shift = self._key_pts = self._written = 0
        self._failed = self._jumped = False
        self._last_s: float | None = None
        self._newest: Result | None = None
        self.notice: str | None = None
        try:
            self._file = OutputFile(path)
        except OSError as error:
            raise OutputError(f"cannot write {self.name}: {reason_of(error)}") from error
        options = self._kind.options if self._file.seekable() else self._kind.pipe_options
        # Without its name FFmpeg cannot take it for something else: "12:30.mp4" would be a protocol.
        self._container: OutputContainer | None = av.open(self._file, "w", format=self._kind.format, options=options)

    def write(self, result: Result) -> None:
        self.write_picture(result.frame, result)

    def write_picture(self, frame: Frame, overlay: Result | None) -> None:
        """Write a picture with the overlay of a result, of its own or of one shortly before; None: without."""
        if self.notice is None and self._leaves_part_out(frame.pts_s):
            self._end()
        if self.notice is not None:
            return
        if self._container is None:
            raise OutputError(f"cannot write {self.name}: it is closed already")
        self._newest = overlay or self._newest
        image = blank_outside(frame.image, overlay, self._newest) if self._blank_outside else frame.image
        painted = draw(image, shapes_of(overlay, self._style) if overlay else NO_SHAPES, self._placer)
        self._last_s = frame.pts_s
        whole = self._file.size
        try:
            stream = self._stream or self._open_stream(self._container, pad_to_even(painted))
            fitted = fit(painted, (stream.height, stream.width))
            if self._caption:
                add_caption(fitted)
            self._container.mux(stream.encode(self._frame_of(fitted, frame.pts_s)))
            self._written += 1
            self._raise_failure()
        except (OSError, av.error.FFmpegError) as error:
            self._failed = True
            self._file.cut(whole)  # half a fragment's head makes the whole video unreadable
            raise self._failure(error) from error

    def jump(self, jump: Jump) -> None:
        """The session goes on elsewhere; a live source that is opened anew goes on with its clock."""
        self._jumped = jump.kind != "reconnect"

    def _leaves_part_out(self, pts_s: float) -> bool:
        """Whether a picture, the first one after a jump, does not continue the video."""
        jumped, self._jumped = self._jumped, False
        return jumped and self._last_s is not None and not 0 < pts_s - self._last_s <= LONGEST_STEP_S

    def _end(self) -> None:
        self.close()
        self.notice = f"the saved video ends at {self._last_s:.1f} s, because a part was left out after it"

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
            # FFmpeg marks the file as indexed before it writes the index: without room for it nothing could be read.
            self._file.check_space(_INDEX_BYTES + _INDEX_BYTES_PER_FRAME * self._written)
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
        frame = self._to_yuv(image)
        frame.time_base, frame.pts = self._kind.time_base, self._pts(pts_s)
        if frame.pts - self._key_pts >= _KEY_FRAME_EVERY_S / self._kind.time_base:
            frame.pict_type, self._key_pts = PictureType.I, frame.pts
        return frame

    def _open_stream(self, container: OutputContainer, image: Image) -> VideoStream:
        self._stream = stream = container.add_stream("libx264", rate=self._rate_hz, options=_ENCODER_OPTIONS)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt, stream.gop_size = PIXEL_FORMAT, _KEY_FRAME_EVERY
        encoder, colours = (
            stream.codec_context,
            Colours.of_size(stream.width, stream.height, full_range=self._full_range),
        )
        encoder.time_base, encoder.sample_aspect_ratio = self._kind.time_base, Fraction(1)
        colours.tag(encoder)
        self._to_yuv = YuvConverter(stream.width, stream.height, colours)
        return stream

    def _pts(self, pts_s: float) -> int:
        """The frame's own time in the container's unit; after a seek backwards the saved time keeps rising."""
        pts = round(pts_s / self._kind.time_base)
        if pts + self._shift < self._next_pts:
            self._shift = self._next_pts - pts
        shifted = pts + self._shift
        self._next_pts = shifted + 1
        return shifted

    def _failure(self, error: Exception) -> OutputError:
        return OutputError(f"cannot write {self.name}: {reason_of(self._file.error or error)}")

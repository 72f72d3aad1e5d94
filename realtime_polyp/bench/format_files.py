"""The files of the format sweep: every codec, container, pixel format, field order, rotation and aspect that FFmpeg
can write here, as cases, and one small clip of each.

Only containers that the program reads are tried, and only encoders that need no special hardware.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import av
import av.error
import av.filter
import av.video.format
import numpy as np
from av import Codec
from av.codec.codec import codecs_available
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.field_of_view import Image

FRAMES, RATE_HZ = 10, 25
FieldOrder = Literal["progressive", "top first", "bottom first"]

CONTAINERS = (
    "mp4", "mov", "matroska", "avi", "mpegts", "nut", "webm", "3gp", "3g2", "ipod", "psp", "f4v", "ismv", "flv",
    "asf", "wtv", "mpeg", "vob", "dvd", "svcd", "vcd", "mxf", "mxf_d10", "mxf_opatom", "gxf", "dv", "ogg", "ogv",
    "rm", "swf", "roq", "film_cpk", "amv", "ivf", "obu", "apng", "gif", "yuv4mpegpipe", "h261", "h263", "h264",
    "hevc", "m4v", "mjpeg", "smjpeg", "mpjpeg", "mpeg1video", "mpeg2video", "dirac", "dnxhd", "vc1", "vc1test",
    "avs2", "avs3", "vvc", "evc", "apv", "cavsvideo",
)  # fmt: skip
"""Muxers of FFmpeg whose files the program reads, those that take most codecs first."""

_SUFFIXES = {"matroska": "mkv", "mpegts": "ts", "mpeg": "mpg", "yuv4mpegpipe": "y4m", "asf": "wmv", "ipod": "m4v"}
_HARDWARE = ("_amf", "_nvenc", "_qsv", "_v4l2m2m", "_vaapi", "_vulkan", "_mf", "_videotoolbox")
_NO_PICTURES = {
    "a64multi",
    "a64multi5",
    "vnull",
    "wrapped_avframe",
    "xface",
}  # they encode no picture that can be shown

_USUAL_SIZE = (176, 144)  # the size that every old codec has
_SIZES = {
    **dict.fromkeys(("dvvideo", "dv", "mxf_d10", "gxf"), (720, 576)),
    "dnxhd": (256, 144),
    "vcd": (352, 288),
}
_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "12"},
    "libx264rgb": {"preset": "veryfast", "crf": "12"},
    "libx265": {"preset": "veryfast", "crf": "12", "x265-params": "log-level=none"},
    "libsvtav1": {"preset": "10", "crf": "20"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "dnxhd": {"profile": "dnxhr_hq"},
}
_EXPERIMENTAL = {"strict": "experimental"}
_TURNED_IN = ("mp4", "mov", "matroska", "3gp")
_ASPECTS = (Fraction(12, 11), Fraction(16, 11), Fraction(64, 45), Fraction(8, 9), Fraction(1, 2), Fraction(2))
_INTERLACED = (
    "libx264", "libx265", "mpeg2video", "mpeg4", "dvvideo", "prores_ks", "dnxhd", "ffv1", "ffvhuff", "utvideo",
    "mjpeg", "rawvideo", "jpeg2000"
)  # fmt: skip
_INTERLACED_IN = ("mp4", "mov", "matroska", "avi", "mpegts", "mpeg", "vob", "mxf", "nut", "dv")


@dataclass(frozen=True)
class FormatCase:
    """One file of the sweep.

    Attributes:
        codec, container: FFmpeg's names of the encoder and of the muxer. pix_fmt: of the pictures, "" for the encoder's
            own choice.
        field_order: which lines of an interlaced picture come first.
        rotation: of the display matrix, degrees counter-clockwise. aspect: of a pixel, width over height.
    """

    codec: str
    container: str
    pix_fmt: str
    field_order: FieldOrder = "progressive"
    rotation: int = 0
    aspect: Fraction = Fraction(1)

    @property
    def name(self) -> str:
        """Name of the case: its six properties."""
        aspect = f"{self.aspect.numerator}:{self.aspect.denominator}"
        return "/".join((self.codec, self.container, self.pix_fmt, self.field_order, str(self.rotation), aspect))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px as stored."""
        return _SIZES.get(self.container) or _SIZES.get(self.codec) or _USUAL_SIZE

    @property
    def file_name(self) -> str:
        return f"clip.{_SUFFIXES.get(self.container, self.container)}"


class NotWritable(Exception):
    """FFmpeg cannot write this combination; the message is FFmpeg's."""


@cache
def encoders() -> tuple[str, ...]:
    """Return the video encoders of this FFmpeg that need no special hardware."""
    found = []
    for name in sorted(codecs_available):
        if name.endswith(_HARDWARE) or name in _NO_PICTURES:
            continue
        try:
            codec = Codec(name, "w")
        except (ValueError, av.error.FFmpegError):
            continue
        if codec.type == "video" and codec.name == name:
            found.append(name)
    return tuple(found)


def formats_of(codec: str) -> tuple[str, ...]:
    """Return the pixel formats that an encoder takes, its own choice first."""
    listed = [one.name for one in Codec(codec, "w").video_formats or ()]
    return tuple(dict.fromkeys(listed)) or tuple(sorted(_every_format(), key=lambda name: (name != "yuv420p", name)))


def _every_format() -> set[str]:
    return set(av.video.format.names)  # type: ignore[attr-defined]  # the stub lacks it


def every_case() -> Iterator[FormatCase]:
    """Yield each combination to be tried, those that FFmpeg cannot write among them.

    Every encoder with every container; every pixel format in the first container that takes the encoder; every field
    order, rotation and aspect with the encoders and containers that can store them.
    """
    for codec in encoders():
        first = usual_format(codec)
        for container in CONTAINERS:
            yield FormatCase(codec, container, first)
        for pix_fmt in formats_of(codec):
            if pix_fmt != first:
                yield FormatCase(codec, first_container(codec), pix_fmt)
    for codec in _INTERLACED:
        for container in _INTERLACED_IN:
            for order in ("top first", "bottom first"):
                yield FormatCase(codec, container, usual_format(codec), order)
    for codec in ("libx264", "mjpeg", "mpeg4", "prores_ks", "libx265", "ffv1"):
        for container in _TURNED_IN:
            for rotation in (90, 180, 270):
                yield FormatCase(codec, container, usual_format(codec), rotation=rotation)
    for codec in ("libx264", "libx265", "mpeg2video", "mpeg4", "dvvideo", "prores_ks", "mjpeg", "ffv1", "h263p", "vc2"):
        for container in ("mp4", "mov", "matroska", "avi", "mpegts", "mpeg", "vob", "nut", "mxf", "asf", "dv"):
            for aspect in _ASPECTS:
                yield FormatCase(codec, container, usual_format(codec), aspect=aspect)


def usual_format(codec: str) -> str:
    """Return yuv420p where an encoder takes it, else its first pixel format."""
    found = formats_of(codec)
    return "yuv420p" if "yuv420p" in found else found[0]


@cache
def first_container(codec: str) -> str:
    """Return the container that an encoder's pixel formats are tried in: the most common one that takes any codec."""
    own = {"gif": "gif", "apng": "apng", "amv": "amv", "roqvideo": "roq"}
    return own.get(codec, "nut")


def draw(moment: float, size: tuple[int, int]) -> Image:
    """Draw the picture (h, w, 3) RGB at a moment, in frames: a smooth field of colour and a disc that moves."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    image = np.stack((60 + 120 * x / width, 50 + 100 * y / height, 90 + 40 * np.cos(x / width * 3)), axis=2)
    away = np.hypot(x - width * (0.25 + 0.05 * moment), y - height * 0.5) / (0.18 * height)
    disc = np.clip((1.1 - away) * 6, 0, 1)[..., None]
    return np.asarray(image * (1 - disc) + disc * np.array((200, 110, 70)), np.uint8)


def write_case(case: FormatCase, path: Path) -> None:
    """Write the clip of a case: FRAMES frames at RATE_HZ. Raises NotWritable."""
    try:
        with av.open(str(path), "w", format=case.container, options=_EXPERIMENTAL) as container:
            stream = _add_stream(container, case)
            for frame in _frames(case):
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (av.error.FFmpegError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise NotWritable(str(getattr(error, "strerror", None) or error)) from error


def _add_stream(container: OutputContainer, case: FormatCase) -> VideoStream:
    options = _EXPERIMENTAL | _OPTIONS.get(case.codec, {"qscale": "2"})
    if case.field_order != "progressive":
        options |= {"flags": "+ildct+ilme", "field_order": "tt" if case.field_order == "top first" else "bb"}
        if case.codec == "libx264":
            options["x264-params"] = "tff=1" if case.field_order == "top first" else "bff=1"
    stream = container.add_stream(case.codec, rate=RATE_HZ, options=options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = case.size
    stream.pix_fmt = case.pix_fmt
    stream.codec_context.thread_count = 1
    stream.codec_context.bit_rate = 4_000_000 if case.size == _USUAL_SIZE else 25_000_000
    if case.container == "mxf_d10":
        stream.codec_context.bit_rate = 50_000_000
    if case.aspect != 1:
        stream.codec_context.sample_aspect_ratio = case.aspect
    if case.rotation:
        stream.set_display_rotation(case.rotation)
    return stream


def _frames(case: FormatCase) -> Iterator[VideoFrame]:
    """Yield the frames to encode; of interlaced ones the second field is half a frame later than the first."""
    graph = None
    for number in range(FRAMES):
        image = draw(number, case.size)
        if case.field_order != "progressive":
            later = 0 if case.field_order == "bottom first" else 1
            image[later::2] = draw(number + 0.5, case.size)[later::2]
        frame = VideoFrame.from_ndarray(image, format="rgb24").reformat(format=case.pix_fmt)
        frame.pts, frame.time_base = number, Fraction(1, RATE_HZ)
        if case.field_order == "progressive":
            yield frame
            continue
        graph = graph or _mark_fields(frame, case)
        graph.push(frame)
        marked = graph.pull()
        assert isinstance(marked, VideoFrame)
        yield marked


def _mark_fields(frame: VideoFrame, case: FormatCase) -> av.filter.Graph:
    graph = av.filter.Graph()
    assert frame.time_base is not None
    first = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    mode = "tff" if case.field_order == "top first" else "bff"
    graph.link_nodes(first, graph.add("setfield", mode), graph.add("buffersink")).configure()
    return graph

"""Checks one file of the format sweep: what the program reads against what was written and against FFmpeg itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.error
import av.filter
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.bench.format_files import FRAMES, RATE_HZ, FormatCase, NotWritable, write_case
from realtime_polyp.field_of_view import Image
from realtime_polyp.sources import FileSource, SourceError

Outcome = Literal["right", "wrong", "refused", "not written", "not read by FFmpeg"]

LEAST_DB = 40.0
TIME_LIMIT_S = 0.0011  # containers with a clock of milliseconds round to half of one; their first frame too
_HD_LINES = 720
_NEARLY_SQUARE = Fraction(1, 50)
_LARGEST_STRETCH = 4


@dataclass(frozen=True)
class FormatCheck:
    """What came of one case.

    Attributes:
        outcome: "right" where frame count, times and pictures are; else what was wrong, with `problem` in words.
        frames: number that the program read; FRAMES were written.
        off_s: largest distance of a frame's time from the time that was written, s.
        psnr_db: of the worst picture against FFmpeg's own conversion, at most 99.
        stored: "rotation", "aspect" or "field order" where the file holds what was asked for; "" where it does not.
    """

    name: str
    outcome: Outcome
    problem: str = ""
    frames: int = 0
    off_s: float = 0.0
    psnr_db: float = 0.0
    stored: str = ""


@dataclass(frozen=True)
class _Reference:
    """A file as FFmpeg reads and converts it."""

    images: list[Image]
    stored: str
    off_s: float


def check_case(case: FormatCase, folder: Path) -> FormatCheck:
    """Write the clip of a case into a folder, read it with the program and with FFmpeg, and compare."""
    path = folder / case.file_name
    try:
        write_case(case, path)
    except NotWritable as error:
        return FormatCheck(case.name, "not written", str(error))
    return check_file(case, path)


def check_file(case: FormatCase, path: Path) -> FormatCheck:
    """Compare what the program reads from a case's file."""
    try:
        reference = _read_with_ffmpeg(path)
    except (
        av.error.FFmpegError,
        ValueError,
        LookupError,
    ) as error:  # LookupError: streams that appear while it is read
        return FormatCheck(case.name, "not read by FFmpeg", str(getattr(error, "strerror", None) or error))
    try:
        source = FileSource(path)
        frames = list(source.frames())
    except SourceError as error:
        return FormatCheck(case.name, "refused", str(error).replace(str(path), path.name), stored=reference.stored)
    off_s = _off([frame.pts_s for frame in frames])
    images = [frame.image for frame in frames]
    psnr_db = _worst_psnr(images, reference.images)
    if case.field_order != "progressive" and "field order" not in reference.stored:  # the picture alone can tell
        fields = (_read_with_ffmpeg(path, fields=order) for order in ("tff", "bff"))
        # Which field comes first is known from the second picture on.
        psnr_db = max(psnr_db, *(_worst_psnr(images[1:], one.images[1:]) for one in fields))
    problems = []
    if len(frames) != FRAMES:
        problems.append(f"{len(frames)} of {FRAMES} frames (FFmpeg: {len(reference.images)})")
    if off_s > TIME_LIMIT_S:
        own = f" (FFmpeg's too, {reference.off_s * 1e3:.1f} ms)" if reference.off_s > TIME_LIMIT_S else ""
        problems.append(f"times are off by up to {off_s * 1e3:.1f} ms{own}")
    if psnr_db < LEAST_DB:
        problems.append(f"pictures differ from FFmpeg's: {psnr_db:.1f} dB")
    if source.warning:
        problems.append(f"warning: {source.warning}")
    outcome: Outcome = "wrong" if problems else "right"
    return FormatCheck(case.name, outcome, "; ".join(problems), len(frames), off_s, psnr_db, reference.stored)


def _read_with_ffmpeg(path: Path, *, fields: str = "") -> _Reference:
    """Read a file as FFmpeg's own command does: decoded, de-interlaced where flagged, turned, scaled to square pixels.

    fields: "tff" or "bff" de-interlaces all pictures, with this field first. Raises FFmpegError, or ValueError where it
    holds no picture.
    """
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        frames = list(container.decode(video=0))
        if not frames:
            raise ValueError("no picture")
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
        images = list(_convert(frames, stream, aspect, fields))
        first = frames[0]
        facts = {"rotation": first.rotation, "aspect": aspect != 1, "field order": first.interlaced_frame}
        times = [frame.time - (first.time or 0.0) for frame in frames if frame.time is not None]
        return _Reference(images, ", ".join(name for name, is_stored in facts.items() if is_stored), _off(times))


def _convert(frames: list[VideoFrame], stream: VideoStream, aspect: Fraction, fields: str) -> Iterator[Image]:
    """Run the filters of FFmpeg's command line: bwdif, scale with the colour tags, transpose, rgb24."""
    graph = av.filter.Graph()
    first = frames[0]
    buffer = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=stream.time_base or Fraction(1, 1000)
    )
    steps = [graph.add("bwdif", "mode=send_frame:deint=interlaced")] if first.interlaced_frame and not fields else []
    if fields:
        steps.append(graph.add("bwdif", f"mode=send_frame:deint=all:parity={fields}"))
    steps.append(graph.add("scale", _scale_options(first, aspect)))
    steps.append(graph.add("format", "rgb24"))
    steps += [graph.add(name, option) for name, option in _turns(first.rotation)]
    graph.link_nodes(buffer, *steps, graph.add("buffersink")).configure()
    for frame in frames:
        graph.push(frame)
        yield from _pull(graph)
    graph.push(None)
    yield from _pull(graph)


def _pull(graph: av.filter.Graph) -> Iterator[Image]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _scale_options(frame: VideoFrame, aspect: Fraction) -> str:
    believable = Fraction(1, _LARGEST_STRETCH) <= aspect <= _LARGEST_STRETCH and abs(aspect - 1) > _NEARLY_SQUARE
    aspect = aspect if believable else Fraction(1)
    width = round(frame.width * aspect) if aspect >= 1 else frame.width
    height = frame.height if aspect >= 1 else round(frame.height / aspect)
    untagged_hd = frame.height >= _HD_LINES and frame.colorspace in (0, 2) and not frame.format.is_rgb
    matrix = ":in_color_matrix=bt709" if untagged_hd else ""
    return f"w={width}:h={height}:out_range=full{matrix}"


def _turns(rotation: int) -> list[tuple[str, str]]:
    """The filters that FFmpeg inserts for a display matrix. rotation: as PyAV tells it, degrees counter-clockwise."""
    clock, cclock = ("transpose", "clock"), ("transpose", "cclock")
    return {0: [], 90: [cclock], -90: [clock], 270: [clock], 180: [clock, clock], -180: [clock, clock]}[rotation]


def _off(times_s: list[float]) -> float:
    """Return the largest distance of a frame's time from the time that was written, s."""
    return max((abs(time_s - number / RATE_HZ) for number, time_s in enumerate(times_s)), default=0.0)


def _worst_psnr(images: list[Image], others: list[Image]) -> float:
    """Return the least PSNR of pictures that belong together, dB, at most 99; 0 where sizes or numbers differ."""
    if len(images) != len(others) or any(a.shape != b.shape for a, b in zip(images, others, strict=True)):
        return 0.0
    return min((_psnr(a, b) for a, b in zip(images, others, strict=True)), default=0.0)


def _psnr(image: Image, other: Image) -> float:
    error = float(np.mean((image.astype(np.float32) - other.astype(np.float32)) ** 2))
    return min(99.0, 10 * float(np.log10(255**2 / error))) if error else 99.0

"""Interlaced pictures of a scene whose every moment is known."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.sources.deinterlace import SimpleFilter

Luma = NDArray[np.uint8]
SIZE = (192, 128)  # (w, h)


def scene(moment: float, *, speed: float = 6.0, size: tuple[int, int] = SIZE) -> Luma:
    """The scene at a moment, in periods: soft stripes that move to the right over a still background, (h, w)."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    still = 110 + 25 * np.sin(x / 9) * np.cos(y / 7)
    moving = 60 * np.tanh(6 * np.sin((x + 0.4 * y - speed * moment) / 8))
    inside = (y > size[1] // 4) & (y < 3 * size[1] // 4)
    return np.clip(np.where(inside, 128 + moving, still), 0, 255).astype(np.uint8)


def weave(moment: float, *, top_first: bool = True, speed: float = 6.0, size: tuple[int, int] = SIZE) -> Luma:
    """An interlaced picture of the scene: its first field at the moment, the other one half a period later."""
    picture, later = scene(moment, speed=speed, size=size), scene(moment + 0.5, speed=speed, size=size)
    picture[top_first::2] = later[top_first::2]
    return picture


def frame_of(luma: Luma, flags: str = "prog", pix_fmt: str = "yuv420p") -> av.VideoFrame:
    """A grey frame, as it comes from a decoder. flags: "tff" or "bff" for interlaced, which field comes first."""
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv420p")
    frame.colorspace, frame.color_range = 5, 1
    for plane, value in zip(frame.planes, (luma, None, None), strict=True):
        lines = np.full((plane.height, plane.line_size), 128, np.uint8)
        if value is not None:
            lines[:, : luma.shape[1]] = value
        plane.update(lines.tobytes())
    if pix_fmt != "yuv420p":
        frame = frame.reformat(format=pix_fmt)
        frame.colorspace, frame.color_range = 5, 1
    return SimpleFilter(frame, "setfield", flags).push(frame)[0]


def luma_of(frame: av.VideoFrame) -> Luma:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


def combed_share(picture: Luma) -> float:
    """Share of combed pixels, 0..1: brighter or darker than both neighbours, unlike the next lines of their field."""
    lines = picture.astype(int)
    above2, above, line, below, below2 = (lines[i : len(lines) - 4 + i] for i in range(5))
    first, second = line - above, line - below
    differs = ((first > 9) & (second > 9)) | ((first < -9) & (second < -9))
    return float(np.mean(differs & (np.abs(above2 + 4 * line + below2 - 3 * (above + below)) > 54)))


def write_interlaced(path: Path, *, count: int = 12, flagged: bool = True, of: Callable[[float], Luma] = weave) -> Path:
    """A recording of the scene at 25 frames, 50 fields per second. of: the picture of a moment."""
    with av.open(path, "w") as container:
        params = "tff=1" if flagged else "bframes=0"
        stream = container.add_stream("libx264", rate=25, options={"crf": "8", "x264-params": params})
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for moment in range(count):
            frame = frame_of(of(moment), "tff" if flagged else "prog")
            frame.pts, frame.time_base = moment, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path

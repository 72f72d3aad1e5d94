"""Inputs of the benchmarks: the demo clip at an endoscope's resolution, and decoded frames in memory."""

import itertools
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from tqdm import tqdm

from realtime_polyp.field_of_view import Image
from realtime_polyp.folders import asset
from realtime_polyp.packets import Frame
from realtime_polyp.sources import FileSource, Source
from realtime_polyp.sources.wrapper import SourceWrapper

DEMO = asset("demo.mp4")
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}  # (width, height) px
_RATE_HZ = 30
_BITS_PER_PIXEL = 8_000_000 / (1920 * 1080)  # per second, as recorders write at 1080p
_KEPT_BYTES = 2**29  # of decoded frames; more than any processor's cache
_LEAST_KEPT = 8


def make_clip(folder: Path, size: str, *, seconds: float, key_every: int | None = None) -> Path:
    """Encode the start of the demo clip at one of SIZES, 30 fps H.264 as from a recorder, unless it exists.

    key_every: every n-th frame is a keyframe, and none waits for a later one (B-frames), as in a stream of low delay;
        None: as the encoder sets them.
    """
    path = folder / f"{size}30{'' if key_every is None else f'-key{key_every}'}.mp4"
    if path.exists():
        return path
    width, height = SIZES[size]
    with av.open(str(path), "w") as container:
        keys = {} if key_every is None else {"g": f"{key_every}", "bf": "0"}
        stream = container.add_stream("libx264", rate=Fraction(_RATE_HZ), options={"preset": "veryfast"} | keys)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = round(_BITS_PER_PIXEL * width * height)
        total = round(seconds * _RATE_HZ)
        for frame in tqdm(
            FileSource(DEMO, end_s=seconds).frames(), f"making a {size} clip", total, unit="frame", disable=None
        ):
            image = np.asarray(cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def images_of(clip: Path) -> list[Image]:
    """Decode the clip's first frames, up to half a gigabyte but at least eight."""
    source = FileSource(clip)
    width, height = source.size
    count = max(_LEAST_KEPT, _KEPT_BYTES // (width * height * 3))
    return [frame.image for frame in itertools.islice(source.frames(), count)]


class MemorySource:
    """A source that costs nothing to decode: `count` frames from a few images, forwards and backwards in turn."""

    name, live, warning = "memory", False, None
    duration_s, decoder, reads_ahead = None, None, False
    rate_hz: Fraction | None = Fraction(_RATE_HZ)

    def __init__(self, images: Sequence[Image], count: int) -> None:
        self._images = images
        self.frames_total: int | None = count
        self._count = count
        height, width = images[0].shape[:2]
        self.size = (width, height)

    def frames(self) -> Iterator[Frame]:
        there_and_back = [*self._images, *self._images[-2:0:-1]]
        for index, image in zip(range(self._count), itertools.cycle(there_and_back), strict=False):
            yield Frame(index, index / _RATE_HZ, time.monotonic(), image)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class TimeLimited(SourceWrapper):
    """Another source, ended when its clock reaches `length_s`."""

    def __init__(self, source: Source, length_s: float) -> None:
        super().__init__(source)
        self._length_s = length_s

    @property
    def frames_total(self) -> int | None:
        return None

    @property
    def duration_s(self) -> float | None:
        return self._length_s

    def frames(self) -> Iterator[Frame]:
        return itertools.takewhile(lambda frame: frame.pts_s < self._length_s, self.source.frames())

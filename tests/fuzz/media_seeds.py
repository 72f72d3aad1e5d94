"""Tiny videos and stills of every container, made at the start: nothing of them lies in the repository."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

_SIZE = (48, 32)
# Name: (suffix, FFmpeg's format, codec, pixel format).
CONTAINERS = {
    "mp4": (".mp4", "mp4", "libx264", "yuv420p"),
    "mov": (".mov", "mov", "libx264", "yuv420p"),
    "mkv": (".mkv", "matroska", "libx264", "yuv420p"),
    "avi": (".avi", "avi", "mpeg4", "yuv420p"),
    "gif": (".gif", "gif", "gif", "rgb8"),
    "vob": (".vob", "vob", "mpeg1video", "yuv420p"),
    "ts": (".ts", "mpegts", "mpeg2video", "yuv420p"),
    "webm": (".webm", "webm", "libvpx-vp9", "yuv420p"),
    "mjpeg": (".mkv", "matroska", "mjpeg", "yuvj420p"),
}
_RATES_HZ = {"mpeg1video": 25}
STILLS = (".png", ".jpg", ".tif", ".bmp", ".webp")


def write_seeds(folder: Path) -> None:
    """Write folder/NAME/seed.SUFFIX for each container, and folder/still/seed.SUFFIX."""
    for name in CONTAINERS:
        suffix, *how = CONTAINERS[name]
        (folder / name).mkdir(parents=True, exist_ok=True)
        _write_clip(folder / name / f"seed{suffix}", *how)
    (folder / "still").mkdir(exist_ok=True)
    for suffix in STILLS:
        _, data = cv2.imencode(suffix, _picture(3))
        (folder / "still" / f"seed{suffix}").write_bytes(data.tobytes())


def _picture(number: int) -> NDArray[np.uint8]:
    width, height = _SIZE
    rows, columns = np.mgrid[:height, :width]
    shades = np.stack([rows * 5 + number * 9, columns * 4, (rows + columns + number * 20) * 2], axis=2)
    return shades.astype(np.uint8)


def _write_clip(path: Path, format_: str, codec: str, pixels: str) -> None:
    with av.open(str(path), "w", format=format_) as container:
        stream = container.add_stream(codec, rate=_RATES_HZ.get(codec, 10))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *_SIZE, pixels
        stream.time_base = Fraction(1, 10)
        stream.codec_context.gop_size = 4
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(_picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

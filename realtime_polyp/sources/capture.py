"""Capture cards, frame grabbers and webcams, through FFmpeg's own device readers."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.live import live_frames
from realtime_polyp.sources.reader import Reader


@dataclass(frozen=True)
class _Platform:
    """How one operating system's devices are reached. first: what the number 0 stands for, {} taking the number."""

    format: str
    first: str
    pixel_format_option: str


_PLATFORMS = {
    "linux": _Platform("v4l2", "/dev/video{}", "input_format"),
    "darwin": _Platform("avfoundation", "{}:none", "pixel_format"),
    "win32": _Platform("dshow", "video={}", "pixel_format"),
}

# nonblocking reads (4 is AVFMT_FLAG_NONBLOCK, which has no name): a read blocked inside a driver cannot be woken
_LOW_DELAY = {"fflags": "nobuffer+4"}

_CURES = {
    av.error.FileNotFoundError: "there is no such device",
    av.error.PermissionError: "this user may not open it (on Linux: add the user to the group video)",
    av.error.ExitError: "it did not answer in time; check its signal and its cable",
    av.error.DemuxerNotFoundError: "this build of PyAV cannot read such devices",
}


class CaptureSource:
    """A live camera; close() from any thread ends its frames within a few milliseconds, even when no signal comes.

    device: a number (0 is the first camera), a path such as /dev/video0, or the name FFmpeg knows the device by.
    format: FFmpeg's device reader, such as "v4l2" or "decklink"; by default the platform's.
    size (width, height) px, rate_hz, pixel_format ("mjpeg", "yuyv422", ...): asked of the device; by default its own.
    silence_s: without a frame for so long, SourceError. A change of size while running shows in the frames.
    """

    live = True
    frames_total: int | None = None
    warning: str | None = None

    def __init__(
        self,
        device: str | int,
        *,
        format: str | None = None,
        size: tuple[int, int] | None = None,
        rate_hz: Fraction | float | None = None,
        pixel_format: str | None = None,
        open_timeout_s: float = 10.0,
        silence_s: float = 3.0,
    ) -> None:
        platform = _PLATFORMS.get(sys.platform, _PLATFORMS["linux"])
        target = _target(device, platform)
        self.name = str(device)
        self._silence_s = silence_s
        options = _asked(size, rate_hz, {platform.pixel_format_option: pixel_format})
        try:
            container = av.open(
                target, "r", format=format or platform.format, options=options, timeout=(open_timeout_s, silence_s)
            )
        except (av.error.FFmpegError, ValueError) as error:  # ValueError: PyAV knows no such format
            raise SourceError(_why_not(target, format or platform.format, options, error)) from error
        self._reader = Reader(container, threading.Event(), name=target)
        self.rate_hz = self._reader.rate_hz
        self.size = (self._reader.stream.width, self._reader.stream.height)

    def frames(self) -> Iterator[Frame]:
        """Frames as they come; SourceError when they stop coming."""
        return live_frames(self._reader, name=self.name, silence_s=self._silence_s)

    def close(self) -> None:
        self._reader.stop.set()
        self._reader.free()


def found_devices() -> list[str]:
    """Paths of the video devices of this machine; only Linux lists them."""
    return sorted(str(path) for path in Path("/dev").glob("video*"))


def _target(device: str | int, platform: _Platform) -> str:
    return platform.first.format(device) if str(device).isdecimal() else str(device)


def _asked(
    size: tuple[int, int] | None, rate_hz: Fraction | float | None, others: dict[str, str | None]
) -> dict[str, str]:
    """FFmpeg's options for what the user asked of the device."""
    asked = {"video_size": f"{size[0]}x{size[1]}" if size else None, "framerate": str(rate_hz) if rate_hz else None}
    return _LOW_DELAY | {key: value for key, value in (asked | others).items() if value is not None}


def _why_not(target: str, format_name: str, options: dict[str, str], error: Exception) -> str:
    cure = next((cure for kind, cure in _CURES.items() if isinstance(error, kind)), str(error))
    asked = ", ".join(f"{key} {value}" for key, value in options.items() if key not in _LOW_DELAY)
    wanted = f" with {asked}" if asked else ""
    here = ", ".join(found_devices()) or "none"
    return f"The capture device {target} ({format_name}) cannot be opened{wanted}: {cure}. Devices found: {here}."

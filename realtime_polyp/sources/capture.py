"""Capture cards, frame grabbers and webcams, read through FFmpeg's device formats."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error

from realtime_polyp.messages import printable, shorten_path
from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.damage import Damage
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.sources.ffmpeg_devices import find_names
from realtime_polyp.sources.live import read_all, read_live
from realtime_polyp.sources.opening import open_device
from realtime_polyp.sources.picture import displayed_size
from realtime_polyp.sources.reader import Reader


@dataclass(frozen=True)
class _Platform:
    """FFmpeg's names for an operating system's capture devices.

    Attributes:
        format: FFmpeg's device format.
        name_template: FFmpeg's name of the device with a number; of DirectShow, with a name.
        pixel_format_option: FFmpeg's option for the pixel format.
        input_option: FFmpeg's option for the number of a card's input.
    """

    format: str
    name_template: str
    pixel_format_option: str
    input_option: str = "channel"


_PLATFORMS = {
    "linux": _Platform("v4l2", "/dev/video{}", "input_format"),
    "darwin": _Platform("avfoundation", "{}:none", "pixel_format"),
    "win32": _Platform("dshow", "video={}", "pixel_format", "crossbar_video_input_pin_number"),
}

# 4 is AVFMT_FLAG_NONBLOCK, which FFmpeg's options have no name for: a read that blocks in a driver cannot be
# interrupted.
_LOW_DELAY = {"fflags": "nobuffer+4"}

_MADE_ON_DEMAND = "lavfi"  # FFmpeg's generator gives a picture whenever one is read: none can be late

_CAUSES = {
    av.error.FileNotFoundError: "there is no such device",
    av.error.PermissionError: "permission denied (on Linux: add the user to the group video)",
    av.error.ExitError: "it did not respond in time; check its signal and its cable",
    av.error.DemuxerNotFoundError: "this build of PyAV does not support the device format",
}

_AWAY = (av.error.FileNotFoundError, av.error.ExitError, av.error.OSError)  # unplugged, without a signal, or busy


class CaptureSource:
    """Live frames of a capture device. `close` ends `frames` within a few milliseconds, even without a signal.

    Arguments:
        device: a number (0 is the first device), a path such as /dev/video0, or FFmpeg's name of the device.
        format: FFmpeg's device format, such as "v4l2" or "decklink"; default: that of the operating system.
        size: (width, height) px to request; default: chosen by the device.
        rate_hz: frames per second to request; default: chosen by the device.
        pixel_format: to request, such as "mjpeg" or "yuyv422"; default: chosen by the device.
        input: number of a card's input; default: the one that is set.
        open_timeout_s: time limit for opening, s.
        silence_s: time without a frame after which `frames` raises SourceError, s.
        deinterlace: see `Deinterlacer`.

    If the device changes its picture size while running, the frames have the new size. Raises SourceError if the device
    cannot be opened.

    Attributes:
        format: FFmpeg's name of what it sends: a pixel format, or a codec such as "mjpeg".
        sent_size: (width, height) px as it sends them; `size` has square pixels.
        explanation: what it sends, and what was asked for and not got, one sentence; "" where nobody asked.
    """

    explanation = ""
    live, reads_ahead = True, False
    frames_total: int | None = None
    duration_s: float | None = None
    decoder: str | None = None

    def __init__(
        self,
        device: str | int,
        *,
        format: str | None = None,
        size: tuple[int, int] | None = None,
        rate_hz: Fraction | float | None = None,
        pixel_format: str | None = None,
        input: int | None = None,
        open_timeout_s: float = 10.0,
        silence_s: float = 3.0,
        deinterlace: Mode = "auto",
    ) -> None:
        platform = _PLATFORMS.get(sys.platform, _PLATFORMS["linux"])
        device_name = _device_name(device, platform, format)
        self.name = printable(device)
        self._silence_s, self.deinterlace = silence_s, deinterlace
        self.damage = Damage()
        number = None if input is None else str(input)
        others = {_format_option(platform, pixel_format): pixel_format, platform.input_option: number}
        options = _device_options(size, rate_hz, others)
        try:
            container = open_device(
                device_name,
                format=format or platform.format,
                options=options,
                timeout_s=(open_timeout_s, silence_s),
            )
        except (av.error.FFmpegError, ValueError) as error:  # ValueError: unknown format
            why = _explain_open_error(device_name, format or platform.format, options, error)
            raise SourceError(why, is_away=isinstance(error, _AWAY)) from error
        self.reader = Reader(container, threading.Event(), name=device_name)
        self.rate_hz = self.reader.rate_hz
        self.sent_size = (self.reader.stream.width, self.reader.stream.height)
        try:
            self.size = displayed_size(self.reader.stream)
        except SourceError:
            self.close()
            raise
        context = self.reader.stream.codec_context
        self.format = (context.pix_fmt if context.name == "rawvideo" else None) or context.name

    def frames(self) -> Iterator[Frame]:
        """Yield frames as they arrive. Raises SourceError if they stop."""
        if self.reader.container_name == _MADE_ON_DEMAND:
            return read_all(self.reader, name=self.name, silence_s=self._silence_s, deinterlace=self.deinterlace)
        return read_live(
            self.reader, name=self.name, silence_s=self._silence_s, damage=self.damage, deinterlace=self.deinterlace
        )

    @property
    def warning(self) -> str | None:
        return self.damage.describe_live(self.name)

    def close(self) -> None:
        self.reader.stop.set()
        self.reader.free()


def find_devices() -> list[str]:
    """List the paths of this machine's video devices; empty except on Linux."""
    return sorted(str(path) for path in Path("/dev").glob("video*"))


def device_format() -> str:
    """FFmpeg's device format of this operating system."""
    return _PLATFORMS.get(sys.platform, _PLATFORMS["linux"]).format


def device_name(device: str) -> str:
    """FFmpeg's name of a device on this operating system."""
    return _device_name(device, _PLATFORMS.get(sys.platform, _PLATFORMS["linux"]))


def is_number(text: str) -> bool:
    """Whether the text is the number of a device."""
    return text.isascii() and text.isdecimal()


def _device_name(device: str | int, platform: _Platform, format: str | None = None) -> str:
    """Return FFmpeg's name of the device. format: FFmpeg's device format; None: the platform's."""
    name = str(device)
    if platform.format == "dshow" and format in (None, "dshow"):
        return _directshow_name(name, platform)
    return platform.name_template.format(name) if is_number(name) else name


def _directshow_name(name: str, platform: _Platform) -> str:
    """Return DirectShow's name of a device: it has no numbers, those are places in the list of devices."""
    if name.startswith(("video=", "audio=")):
        return name
    places = {str(number): place for number, (place, _) in enumerate(find_names("dshow"))} if is_number(name) else {}
    return platform.name_template.format(places.get(name, name))


def _format_option(platform: _Platform, pixel_format: str | None) -> str:
    """DirectShow has an option of its own for compressed pictures."""
    is_compressed = pixel_format in ("mjpeg", "h264", "hevc")
    return "vcodec" if is_compressed and platform.format == "dshow" else platform.pixel_format_option


def _device_options(
    size: tuple[int, int] | None, rate_hz: Fraction | float | None, other_options: dict[str, str | None]
) -> dict[str, str]:
    """Return FFmpeg's options for the requested settings."""
    requested = {"video_size": f"{size[0]}x{size[1]}" if size else None, "framerate": str(rate_hz) if rate_hz else None}
    return _LOW_DELAY | {key: value for key, value in (requested | other_options).items() if value is not None}


def _found_devices() -> list[str]:
    """The paths of this machine's devices on Linux, else the names that FFmpeg finds."""
    if sys.platform.startswith("linux"):
        return find_devices()
    return [name for _, name in find_names(device_format())]


def _explain_open_error(device_name: str, format_name: str, options: dict[str, str], error: Exception) -> str:
    cause = next((cause for kind, cause in _CAUSES.items() if isinstance(error, kind)), None)
    cause = cause or str(getattr(error, "strerror", None) or error).lower()
    settings = ", ".join(f"{key} {value}" for key, value in options.items() if key not in _LOW_DELAY)
    requested = f" with {settings}" if settings else ""
    devices = ", ".join(_found_devices()) or "none"
    return (
        f"The capture device {shorten_path(device_name)} ({format_name}) cannot be opened{requested}: {cause}. "
        f"Devices found: {devices}."
    )

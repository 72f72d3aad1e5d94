"""Asks Linux's video devices (V4L2) for their inputs, formats, sizes and rates. They are neither set nor started.

The structures are those of linux/videodev2.h on every 64-bit system.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from realtime_polyp.messages import one_line, shorten
from realtime_polyp.sources.capture_modes import Details, Input, Mode, Size, rates_between

Ioctl = Callable[[int, int, bytearray], object]
"""(descriptor, request, argument, which is changed in place); raises OSError."""

_READ, _WRITE = 2, 1
_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_CAPTURE_MPLANE = 9
_CAN_CAPTURE, _CAN_CAPTURE_MPLANE, _HAS_DEVICE_CAPS = 0x1, 0x1000, 0x80000000
_DISCRETE = 1
_MOST = 256  # answers of one kind: a driver that never ends its list is no use
_NO_SIGNAL = {  # V4L2_IN_ST_...
    0x1: "no power",
    0x2: "no signal",
    0x100: "no horizontal lock",
    0x400: "no vertical lock",
    0x800: "no lock to a video standard",
    0x10000: "no synchronization lock",
    0x20000: "no equalizer lock",
    0x40000: "no carrier",
}
# FFmpeg's names of V4L2's four letters.
_FORMATS = {
    "YUYV": "yuyv422", "UYVY": "uyvy422", "MJPG": "mjpeg", "JPEG": "mjpeg", "NV12": "nv12", "NM12": "nv12",
    "NV21": "nv21", "YU12": "yuv420p", "YM12": "yuv420p", "422P": "yuv422p", "RGB3": "rgb24", "BGR3": "bgr24",
    "BGR4": "bgr0", "XR24": "bgr0", "GREY": "gray", "P010": "p010le", "H264": "h264", "HEVC": "hevc",
}  # fmt: skip
# Sizes that are asked for rates where a device takes any size.
_USUAL_SIZES: tuple[Size, ...] = ((640, 480), (720, 576), (1280, 720), (1920, 1080), (3840, 2160))


@dataclass(frozen=True)
class _Request:
    """One ioctl: its number, and its structure as `struct` writes it."""

    number: int
    form: str

    @property
    def size(self) -> int:
        return struct.calcsize(self.form)


def _request(direction: int, number: int, form: str) -> _Request:
    return _Request(direction << 30 | struct.calcsize(form) << 16 | ord("V") << 8 | number, form)


QUERYCAP = _request(_READ, 0, "<16s32s32s3I3I")
ENUM_FMT = _request(_READ | _WRITE, 2, "<3I32s5I")
ENUM_INPUT = _request(_READ | _WRITE, 26, "<I32s3IQ2I3I4x")
ENUM_SIZES = _request(_READ | _WRITE, 74, "<3I6I2I")
ENUM_RATES = _request(_READ | _WRITE, 75, "<5I6I2I")


def read_details(place: str, ioctl: Ioctl | None = None, open_device: Callable[[str], int] | None = None) -> Details:
    """Ask a device such as /dev/video0. ioctl, open_device: in place of the system's, with recorded answers."""
    ask = ioctl or _system_ioctl()
    try:
        handle = (open_device or _open)(place)
    except OSError as error:
        return Details(problem=f"{place} cannot be asked: {(error.strerror or str(error)).lower()}")
    try:
        return _read(handle, ask)
    except OSError as error:
        return Details(problem=f"{place} is no capture device: {(error.strerror or str(error)).lower()}")
    finally:
        if open_device is None:
            os.close(handle)


def _open(place: str) -> int:
    return os.open(place, os.O_RDWR | os.O_NONBLOCK)


def _system_ioctl() -> Ioctl:
    import fcntl  # Linux and macOS only

    return lambda handle, number, argument: fcntl.ioctl(handle, number, argument, True)


def _read(handle: int, ask: Ioctl) -> Details:
    driver, card, _, _, capabilities, own, *_ = _ask(handle, ask, QUERYCAP)
    flags = own if capabilities & _HAS_DEVICE_CAPS else capabilities
    if not flags & (_CAN_CAPTURE | _CAN_CAPTURE_MPLANE):
        return Details(problem=f"{_text(card)} takes no pictures")
    kind = _CAPTURE if flags & _CAN_CAPTURE else _CAPTURE_MPLANE
    modes = [mode for letters in _formats(handle, ask, kind) for mode in _modes(handle, ask, letters)]
    return Details(tuple(modes), tuple(_inputs(handle, ask)), _text(driver))


def _ask(handle: int, ask: Ioctl, request: _Request, *values: int) -> tuple[int, ...]:
    """Make one ioctl, whose argument begins with these values; returns the fields of the answer. Raises OSError."""
    argument = bytearray(request.size)
    struct.pack_into(f"<{len(values)}I", argument, 0, *values)
    ask(handle, request.number, argument)
    return struct.unpack(request.form, argument)


def _ask_all(handle: int, ask: Ioctl, request: _Request, *values: int) -> Iterator[tuple[int, ...]]:
    """The answers to a request with a rising index, until the device has no more."""
    for index in range(_MOST):
        try:
            yield _ask(handle, ask, request, index, *values)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                raise
            return


def _formats(handle: int, ask: Ioctl, kind: int) -> Iterator[int]:
    for answer in _ask_all(handle, ask, ENUM_FMT, kind):
        yield answer[4]


def _inputs(handle: int, ask: Ioctl) -> Iterator[Input]:
    for number, name, _, _, _, _, status, *_ in _ask_all(handle, ask, ENUM_INPUT):
        wrong = [text for bit, text in _NO_SIGNAL.items() if status & bit]
        yield Input(number, _text(name), ", ".join(wrong))


def _modes(handle: int, ask: Ioctl, letters: int) -> Iterator[Mode]:
    """The modes of one pixel format, given as its four letters in a number."""
    name = letters.to_bytes(4, "little").decode("ascii", "replace")
    format = _FORMATS.get(name, name.strip().lower())
    for _, _, kind, *numbers in _ask_all(handle, ask, ENUM_SIZES, letters):
        if kind == _DISCRETE:
            size = (numbers[0], numbers[1])
            yield Mode(format, size, _rates(handle, ask, letters, size))
            continue
        least_width, most_width, _, least_height, most_height, *_ = numbers
        least, most = (least_width, least_height), (most_width, most_height)
        for size in _USUAL_SIZES:
            if least_width <= size[0] <= most_width and least_height <= size[1] <= most_height:
                yield Mode(format, size, _rates(handle, ask, letters, size))
        yield Mode(format, most, _rates(handle, ask, letters, most), least)
        return


def _rates(handle: int, ask: Ioctl, letters: int, size: Size) -> tuple[Fraction, ...]:
    """Frames per second, the highest first."""
    found: set[Fraction] = set()
    for *_, kind, first, second, third, fourth, _, _, _, _ in _ask_all(handle, ask, ENUM_RATES, letters, *size):
        if kind != _DISCRETE:
            return rates_between(_rate(third, fourth), _rate(first, second))
        found.add(_rate(first, second))
    return tuple(sorted((one for one in found if one), reverse=True))


def _rate(numerator: int, denominator: int) -> Fraction:
    """Frames per second of an interval in seconds; 0 where it is nonsense."""
    return Fraction(denominator, numerator) if numerator and denominator else Fraction(0)


def _text(value: object) -> str:
    raw = value if isinstance(value, bytes) else b""
    return shorten(one_line(raw.split(b"\0")[0].decode("utf-8", "replace").strip()))

"""What capture devices offer, and which of it is chosen: inputs, pixel formats, sizes and rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

UNCOMPRESSED = (
    "yuyv422",
    "uyvy422",
    "nv12",
    "nv21",
    "yuv420p",
    "yuv422p",
    "rgb24",
    "bgr24",
    "bgr0",
    "rgb0",
    "gray",
    "p010le",
)
"""FFmpeg's names of formats without loss."""

_USUAL_SIZE = (1920, 1080)  # the largest that is chosen by itself: more takes time and shows the models nothing
_USUAL_RATE_HZ = Fraction(30)
_USUAL_RATES = (25, 30, 50, 60)
_SMOOTH_HZ = Fraction(24)  # a larger picture at fewer frames is not chosen by itself
_SAME_RATE = Fraction(1, 20)  # 29.97 is as good as 30
Size = tuple[int, int]  # width, height, px


@dataclass(frozen=True)
class Mode:
    """One way in which a device sends pictures.

    Attributes:
        format: FFmpeg's name of the pixel format or codec, such as "yuyv422" or "mjpeg".
        size: (width, height) px; of a device that takes any size, the largest.
        rates_hz: frames per second, the highest first; none: not known.
        least_size: of a device that takes any size, the smallest; else None.
    """

    format: str
    size: Size
    rates_hz: tuple[Fraction, ...] = ()
    least_size: Size | None = None

    @property
    def is_uncompressed(self) -> bool:
        return self.format in UNCOMPRESSED

    def __str__(self) -> str:
        size = f"{self.size[0]}x{self.size[1]}"
        if self.least_size:
            size = f"{self.least_size[0]}x{self.least_size[1]} to {size}"
        rates = ", ".join(rate_text(one) for one in self.rates_hz)
        return f"{self.format} {size} {rates or 'any rate'}"


@dataclass(frozen=True)
class Input:
    """A socket of a card. signal: what is wrong with its signal, "" where nothing is known to be."""

    number: int
    name: str
    signal: str = ""

    def __str__(self) -> str:
        return f"input {self.number}: {self.name}" + (f", {self.signal}" if self.signal else "")


@dataclass(frozen=True)
class Details:
    """What a device offers. problem: why it could not be asked, one sentence; "" where it answered."""

    modes: tuple[Mode, ...] = ()
    inputs: tuple[Input, ...] = ()
    driver: str = ""
    problem: str = ""


@dataclass(frozen=True)
class CaptureRequest:
    """What is asked of a device. None: whatever is best.

    Attributes:
        size: (width, height) px.
        rate_hz: frames per second.
        format: FFmpeg's name of the pixel format or codec.
        input: number of the card's input.
    """

    size: Size | None = None
    rate_hz: Fraction | None = None
    format: str | None = None
    input: int | None = None

    @property
    def is_given(self) -> bool:
        return (self.size, self.rate_hz, self.format) != (None, None, None)


def choose_mode(modes: Sequence[Mode], request: CaptureRequest = CaptureRequest()) -> CaptureRequest:
    """Return what to ask of a device that offers these modes: the nearest to a request, in whole.

    Asked for nothing, the largest picture up to 1920 x 1080 that has 24 frames per second or more. Among modes of one
    size and rate the uncompressed ones come first. A device that names no modes is asked for what was requested.
    """
    fitting = [mode for mode in modes if request.format in (None, mode.format)] or list(modes)
    if not fitting:
        return request
    best = max(fitting, key=lambda mode: _worth(mode, request))
    size = _nearest_size(best, request.size or _USUAL_SIZE)
    rate_hz = _nearest_rate(best.rates_hz, request.rate_hz or _USUAL_RATE_HZ)
    return CaptureRequest(size, rate_hz, best.format, request.input)


def shortfall(request: CaptureRequest, size: Size, rate_hz: Fraction | None, format: str | None) -> str:
    """Say what was asked for and not got, in one clause; "" where all of it was."""
    found = []
    if request.size and request.size != size:
        found.append(f"{size[0]} x {size[1]} instead of {request.size[0]} x {request.size[1]}")
    if request.rate_hz and rate_hz and not _is_same_rate(rate_hz, request.rate_hz):
        found.append(f"{rate_text(rate_hz)} instead of {rate_text(request.rate_hz)}")
    if request.format and format and request.format != format:
        found.append(f"{format} instead of {request.format}")
    return ", ".join(found)


def rates_between(slowest_hz: Fraction, fastest_hz: Fraction) -> tuple[Fraction, ...]:
    """The limits of a device that takes any rate, and the usual rates between them; the highest first."""
    between = {Fraction(one) for one in _USUAL_RATES if slowest_hz <= one <= fastest_hz}
    return tuple(sorted((one for one in {slowest_hz, fastest_hz} | between if one > 0), reverse=True))


def rate_text(rate_hz: Fraction) -> str:
    """Such as "60 Hz" or "29.97 Hz"."""
    return f"{float(rate_hz):.4g} Hz"


def _worth(mode: Mode, request: CaptureRequest) -> tuple[float, ...]:
    """How well a mode fits a request: compared from left to right."""
    wanted_hz = request.rate_hz or _USUAL_RATE_HZ
    size = _nearest_size(mode, request.size or _USUAL_SIZE)
    rate_hz = _nearest_rate(mode.rates_hz, wanted_hz) or wanted_hz
    reached = float(min(Fraction(1), rate_hz / wanted_hz * (1 + _SAME_RATE)))
    if request.size:
        misses = abs(size[0] * size[1] - request.size[0] * request.size[1])
        return (-misses, reached, float(mode.is_uncompressed), -float(abs(rate_hz - wanted_hz)))
    fits = size[0] <= _USUAL_SIZE[0] and size[1] <= _USUAL_SIZE[1]
    is_smooth = rate_hz >= (wanted_hz * (1 - _SAME_RATE) if request.rate_hz else _SMOOTH_HZ)
    area = size[0] * size[1] if fits else -size[0] * size[1]
    return (float(is_smooth), float(fits), area, reached, float(mode.is_uncompressed))


def _nearest_size(mode: Mode, wanted: Size) -> Size:
    if mode.least_size is None:
        return mode.size
    limits = zip(mode.least_size, wanted, mode.size, strict=True)
    width, height = (max(least, min(length, most)) for least, length, most in limits)
    return width, height


def _nearest_rate(rates_hz: Sequence[Fraction], wanted_hz: Fraction) -> Fraction | None:
    """The lowest rate that reaches what is wanted, else the highest."""
    enough = [one for one in rates_hz if one >= wanted_hz * (1 - _SAME_RATE)]
    return min(enough) if enough else max(rates_hz, default=None)


def _is_same_rate(one_hz: Fraction, other_hz: Fraction) -> bool:
    return abs(one_hz - other_hz) <= other_hz * _SAME_RATE

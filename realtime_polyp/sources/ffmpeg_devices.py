"""Capture devices of macOS (AVFoundation) and Windows (DirectShow), as FFmpeg tells them in its log."""

import re
from contextlib import suppress
from fractions import Fraction

import av
import av.error
import av.logging

from realtime_polyp.messages import one_line, shorten
from realtime_polyp.sources.capture_modes import Details, Mode, rates_between

_DSHOW = re.compile(
    r"(?:pixel_format|vcodec)=(?P<format>\w+)\s+min s=(?P<least>\d+x\d+) fps=(?P<slow>[\d.]+)"
    r"\s+max s=(?P<most>\d+x\d+) fps=(?P<fast>[\d.]+)"
)
_AVFOUNDATION = re.compile(r"(?P<size>\d+x\d+)@\[(?P<slow>[\d.]+)\s+(?P<fast>[\d.]+)\]fps")
_FINEST = 1001  # the denominator of 29.97


def find_names(format: str) -> list[tuple[str, str]]:
    """Return (what `device:` takes, the maker's name) of the devices of a format; empty where FFmpeg finds none."""
    try:
        found = av.enumerate_input_devices(format)
    except (av.error.FFmpegError, ValueError, OSError, RuntimeError):
        return []
    return [(one.name, shorten(one_line(one.description or one.name))) for one in found if "video" in one.media_types]


def read_details(name: str, format: str) -> Details:
    """Ask FFmpeg for the modes of a device. name: as FFmpeg takes it. format: "dshow" or "avfoundation"."""
    options = {"list_options": "true"} if format == "dshow" else {"framerate": "0.001"}  # no device has such a rate
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture(local=False) as lines, suppress(av.error.FFmpegError, ValueError, OSError):
            av.open(name, "r", format=format, options=options).close()
    finally:
        av.logging.set_level(level)
    modes = parse_modes("".join(text for _, _, text in lines), format)
    return Details(modes, problem="" if modes else f"{name} told no modes")


def parse_modes(text: str, format: str) -> tuple[Mode, ...]:
    """Return the modes in FFmpeg's log of a device, each once, in its order."""
    return tuple(dict.fromkeys(_dshow_modes(text) if format == "dshow" else _avfoundation_modes(text)))


def _dshow_modes(text: str) -> list[Mode]:
    modes = []
    for found in _DSHOW.finditer(text):
        least, most = _size(found["least"]), _size(found["most"])
        rates_hz = _rates(found["slow"], found["fast"])
        modes.append(Mode(found["format"], most, rates_hz, None if least == most else least))
    return modes


def _avfoundation_modes(text: str) -> list[Mode]:
    """It names sizes and rates alone: each can be had in any of the pixel formats, of which one is taken."""
    return [
        Mode("uyvy422", _size(one["size"]), _rates(one["slow"], one["fast"])) for one in _AVFOUNDATION.finditer(text)
    ]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _rates(slowest: str, fastest: str) -> tuple[Fraction, ...]:
    slowest_hz, fastest_hz = (Fraction(one).limit_denominator(_FINEST) for one in (slowest, fastest))
    return rates_between(slowest_hz, fastest_hz)

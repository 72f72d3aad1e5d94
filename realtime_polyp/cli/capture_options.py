"""Options of capture devices: which mode is asked for, and the list of what there is."""

import argparse
import re
from fractions import Fraction

from realtime_polyp.sources.capture_modes import Size

_SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
_RATE = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4})?|[0-9]{1,6}/[1-9][0-9]{0,4}")
_FORMAT = re.compile(r"[a-z0-9_]{2,16}")
_FASTEST_HZ = 1000


def add_capture_options(group: argparse._ArgumentGroup) -> None:
    """Add --list-devices and the --capture options."""
    group.add_argument(
        "--list-devices", action="store_true", help="list cards and cameras with inputs, formats, sizes and rates"
    )
    group.add_argument("--capture-size", type=_size, metavar="WxH", help="ask a card or camera for this size")
    group.add_argument("--capture-rate", type=_rate, metavar="HZ", help="and for so many frames per second")
    group.add_argument(
        "--capture-format",
        type=_format,
        metavar="NAME",
        help="and for this format: yuyv422, nv12, mjpeg, ... (default: uncompressed, where that is as fast)",
    )
    group.add_argument("--capture-input", type=_input, metavar="N", help="and for the card's input with this number")


def _size(text: str) -> Size:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write it as 1920x1080")
    return int(found[1]), int(found[2])


def _rate(text: str) -> Fraction:
    if not _RATE.fullmatch(text) or not 0 < Fraction(text) <= _FASTEST_HZ:
        allowed = f"above 0 to {_FASTEST_HZ}, such as 59.94 or 60000/1001"
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: give frames per second, {allowed}")
    return Fraction(text)


def _format(text: str) -> str:
    if not _FORMAT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no format: give a name such as yuyv422, nv12 or mjpeg")
    return text


def _input(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 4):
        raise argparse.ArgumentTypeError(f"{text!r} is no input: give its number from --list-devices")
    return int(text)

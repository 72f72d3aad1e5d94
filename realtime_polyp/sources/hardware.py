"""Decoding on a GPU where that works, tried out beforehand; in software everywhere else."""

import threading
from pathlib import Path

import av
import av.error
from av.codec.hwaccel import HWAccel

from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.reader import Reader

# What a GPU's pictures are once they are fetched. Software decoders keep colours in two planes: yuv420p.
_FETCHED_FORMATS = {"nv12", "p010le", "p016le"}


def hwaccel_for(path: Path, device: str | None) -> HWAccel | None:
    """How to open this file so that the device ("cuda") decodes it.

    None, for software, where no device is asked for, there is none, or it does not take this codec or profile.
    """
    return _hwaccel(device) if device is not None and decodes_on(device, path) else None


def decodes_on(device: str, path: Path) -> bool:
    """Whether the device decodes the file's first picture: only its format tells, since FFmpeg may use software."""
    try:
        container = av.open(str(path), "r", metadata_errors="replace", hwaccel=_hwaccel(device))
        reader = Reader(container, threading.Event(), name=str(path))
    except (av.error.FFmpegError, SourceError):  # without a driver PermissionError, in spite of the fallback
        return False
    try:
        return _first_format(reader) in _FETCHED_FORMATS
    except av.error.FFmpegError:
        return False
    finally:
        reader.free()


def _hwaccel(device: str) -> HWAccel:
    return HWAccel(device, allow_software_fallback=True)


def decoder_name(codec: str, hwaccel: HWAccel | None, device: str | None) -> str:
    """Such as "h264 (cuda)" or "h264 (software)"."""
    return f"{codec} ({device if hwaccel is not None else 'software'})"


def _first_format(reader: Reader) -> str | None:
    """The pixel format of the first picture; None when there is none."""
    while (packet := reader.packet()) is not None:
        for picture in reader.decode(packet):
            return picture.format.name
    return None

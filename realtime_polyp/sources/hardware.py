"""Chooses between decoding on a GPU and in software, by trying the GPU on the file's first frame."""

import threading
from pathlib import Path

import av.error
from av.codec.hwaccel import HWAccel

from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.opening import open_file
from realtime_polyp.sources.reader import Reader

# Pixel formats of frames fetched from a GPU. Software decoders give yuv420p instead.
_FETCHED_FORMATS = {"nv12", "p010le", "p016le"}


def hwaccel_for(path: Path, device: str | None, *, allow_playlists: bool = False) -> HWAccel | None:
    """Return PyAV's hardware option for decoding the file on the device ("cuda").

    None means software: no device is given, there is none, or it does not support the codec or profile.
    """
    decodes = device is not None and decodes_on(device, path, allow_playlists=allow_playlists)
    return _hwaccel(device) if device is not None and decodes else None


def decodes_on(device: str, path: Path, *, allow_playlists: bool = False) -> bool:
    """Whether the device decodes the file. FFmpeg may silently fall back to software; the pixel format tells."""
    try:
        container = open_file(path, allow_playlists=allow_playlists, hwaccel=_hwaccel(device))
        reader = Reader(container, threading.Event(), name=str(path))
    except (av.error.FFmpegError, SourceError):  # PermissionError without a driver, in spite of the fallback
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
    """Return codec and device, such as "h264 (cuda)" or "h264 (software)"."""
    return f"{codec} ({device if hwaccel is not None else 'software'})"


def _first_format(reader: Reader) -> str | None:
    """Return the pixel format of the first frame; None if there is no frame."""
    while (packet := reader.packet()) is not None:
        for picture in reader.decode(packet):
            return picture.format.name
    return None

"""Reads live inputs, and detects both their silence and their end."""

import time
from collections.abc import Iterator

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.continuity import mark_continuity
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.reader import Clock, Reader

_POLL_S = 0.002  # between two polls of a device; small beside a frame's 17 to 40 ms


def read_live(reader: Reader, *, name: str, silence_s: float) -> Iterator[Frame]:
    """Yield frames as they arrive, until the sender ends the stream or `reader.stop` is set. Frees the reader.

    name: for error messages. `pts_s` starts at 0 with the first frame. Raises SourceError after `silence_s` without a
    frame, or if the device or connection fails.
    """
    return mark_continuity(_convert(reader, name, silence_s))


def _convert(reader: Reader, name: str, silence_s: float) -> Iterator[Frame]:
    clock = Clock(reader.time_base, None, reader.period_s)
    to_rgb = RgbConverter(reader.stream.sample_aspect_ratio)
    try:
        for index, picture in enumerate(_pictures(reader, name, silence_s)):
            captured_s = time.monotonic()
            yield Frame(index, clock.at(picture.pts), captured_s, to_rgb(picture))
    finally:
        reader.free()


def _pictures(reader: Reader, name: str, silence_s: float) -> Iterator[VideoFrame]:
    while not reader.stop.is_set():
        pictures = _read_pictures(reader, name, silence_s)
        if pictures is None:
            return
        yield from pictures


def _read_pictures(reader: Reader, name: str, silence_s: float) -> list[VideoFrame] | None:
    """Return the next pictures, waiting at most `silence_s`; None at the end of the stream."""
    deadline_s = time.monotonic() + silence_s
    while time.monotonic() < deadline_s:
        try:
            packet = reader.packet()
        except av.error.BlockingIOError:  # non-blocking device without data
            reader.stop.wait(_POLL_S)
            continue
        except (av.error.ExitError, av.error.TimeoutError):  # the read timeout of the container
            break
        except av.error.FFmpegError as error:
            raise SourceError(f"{name} stopped delivering pictures: {str(error.strerror).lower()}.") from None
        if packet is None:
            return None
        if pictures := _decode(reader, packet):
            return pictures
    if reader.stop.is_set():
        return None
    raise SourceError(f"{name} has sent no picture for {silence_s:g} s: check its signal and its cable.")


def _decode(reader: Reader, packet: "Packet[VideoStream]") -> list[VideoFrame]:
    """Decode a packet. A broken one, as at the start of a stream that is joined midway, gives no picture."""
    try:
        return reader.decode(packet)
    except av.error.FFmpegError:
        return []

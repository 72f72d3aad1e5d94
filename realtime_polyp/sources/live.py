"""Reading what cannot be paused: cameras and streams, whose silence and whose end must both be noticed."""

import time
from collections.abc import Iterator

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.reader import Clock, Reader

_POLL_S = 0.002  # between two looks at a device that has nothing yet; small beside a frame's 17 to 40 ms


def live_frames(reader: Reader, *, name: str, silence_s: float) -> Iterator[Frame]:
    """Frames as they come, until the sender ends the stream or `reader.stop` is set; frees the reader.

    SourceError: no frame for silence_s, or the device or connection failed. pts_s counts from the first frame.
    """
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
        pictures = _next_pictures(reader, name, silence_s)
        if pictures is None:
            return
        yield from pictures


def _next_pictures(reader: Reader, name: str, silence_s: float) -> list[VideoFrame] | None:
    """What arrives next, waiting at most silence_s for it; None at the end."""
    deadline_s = time.monotonic() + silence_s
    while time.monotonic() < deadline_s:
        try:
            packet = reader.packet()
        except av.error.BlockingIOError:  # a device in non-blocking mode has nothing yet
            reader.stop.wait(_POLL_S)
            continue
        except (av.error.ExitError, av.error.TimeoutError):  # the read timeout of the container
            break
        except av.error.FFmpegError as error:
            raise SourceError(f"{name} stopped delivering pictures: {str(error.strerror).lower()}.") from error
        if packet is None:
            return None
        if pictures := _decoded(reader, packet):
            return pictures
    if reader.stop.is_set():
        return None
    raise SourceError(f"{name} has sent no picture for {silence_s:g} s: check its signal and its cable.")


def _decoded(reader: Reader, packet: "Packet[VideoStream]") -> list[VideoFrame]:
    """The packet's pictures; none if it is broken, as the first ones of a stream joined midway are."""
    try:
        return reader.decode(packet)
    except av.error.FFmpegError:
        return []

"""Reads one video stream through FFmpeg, closable from any thread, and converts its timestamps to seconds."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise

import av
import av.error
from av.codec.context import Flags, ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.image_files import MAX_PIXELS
from realtime_polyp.sources.aspects import PixelAspects
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.fields import FieldPairs

_NOT_A_CLIP = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
JUMP_BACK_S, JUMP_AHEAD_S = 1.0, 60.0  # a step beyond these is a reset of the clock, not a gap
_ARRIVAL_TIME_BASE = Fraction(1, 1_000_000)
_LIKELY_PERIOD_S = 0.04
_HIGHEST_RATE_HZ = 1000  # FFmpeg says 60,000 for raw DV
_FARTHEST_S = 1e8  # of a seek, three years: FFmpeg's timestamps have 64 bits


def packets_of(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Yield the packets of a stream from the container's position on; the last one is empty.

    PyAV ends with an IndexError at a packet of a stream that began after the container was opened. That packet is
    passed over.
    """
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            continue


class Reader:
    """Reads packets and pictures of the best video stream of an open container. FFmpeg's errors are not caught.

    One thread may read packets while another decodes. Freeing a container in use would crash the process,
    so `free` then leaves it to the call in progress. `stream` lies in the container's memory: use `hold` around it.

    stop: once set, nothing more is read. name: for error messages. tap: called with each packet that was read, on the
    thread that reads; it must return at once and change nothing. Raises SourceError if no stream can be decoded.
    """

    tap: "Callable[[Packet[VideoStream]], None] | None" = None

    def __init__(
        self, container: InputContainer, stop: threading.Event, *, name: str, thread_type: str = "SLICE"
    ) -> None:
        try:
            stream = _best_stream(container, name)
        except SourceError:
            container.close()
            raise
        stream.thread_type = ThreadType[thread_type]
        stream.codec_context.flags |= Flags.copy_opaque  # pictures carry what their packets do (`sources.pieces`)
        self.stop, self.stream = stop, stream
        self.time_base = stream.time_base or Fraction(1, 1_000_000)
        self.start_pts = stream.start_time
        self.ends_s = container.duration / av.time_base if container.duration else None  # as the container says
        self.rate_hz = _rate(container, stream)
        self.period_s = float(1 / self.rate_hz) if self.rate_hz else _LIKELY_PERIOD_S
        self.container_name = container.format.name
        self._aspects = PixelAspects(stream, by_packet=thread_type == "SLICE")
        self._container = container
        self._packets = packets_of(container, stream)
        self._reading, self._decoding = threading.Lock(), threading.Lock()
        self._state = threading.Lock()
        self._in_use, self._to_be_freed, self._is_free = 0, False, False
        self._stamps_arrival = False

    def packet(self) -> "Packet[VideoStream] | None":
        """Return the next packet. The last one is empty and flushes the decoder; then, or once stopped, None."""
        with self._reading, self.hold() as usable:
            if not usable:
                return None
            try:
                packet = next(self._packets, None)
            except av.error.FFmpegError:
                # An error ends the generator, but the stream may go on.
                self._packets = packets_of(self._container, self.stream)
                raise
            if packet is None:
                return None
            if self._stamps_arrival and packet.size:  # the last one is empty
                packet.pts = packet.dts = round(time.monotonic() / self.time_base)
                packet.duration = 0
            if tap := self.tap:
                tap(packet)
            return packet

    def stamp_by_arrival(self) -> None:
        """From now on packets get the time at which they come: their stream has no clock, and FFmpeg invents one."""
        self._stamps_arrival, self.time_base = True, _ARRIVAL_TIME_BASE

    def decode(self, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
        """Return the pictures that the packet completes; None flushes the decoder."""
        with self._decoding, self.hold() as usable:
            if not usable:
                return []
            pictures = self.stream.decode(packet)
            self._aspects.add_packet(packet)
            return pictures

    def skip_unneeded(self, packet: "Packet[VideoStream]", *, until_s: float) -> None:
        """Before decoding a packet: pictures before this time that no other picture needs are not decoded."""
        early = packet.pts is not None and (packet.pts - (self.start_pts or 0)) * self.time_base < until_s
        self.stream.codec_context.skip_frame = "NONREF" if early else "DEFAULT"

    def take_aspect(self, picture: VideoFrame) -> Fraction | None:
        """Return a decoded picture's pixel aspect, width over height; once for each picture. None: square."""
        return self._aspects.take(picture)

    def forget(self) -> None:
        """Drop the pictures that are still in the decoder, to restart at a keyframe."""
        with self._decoding, self.hold() as usable:
            if usable:
                self.stream.codec_context.flush_buffers()
                self._aspects.clear()

    def seek(self, seconds: float) -> None:
        """Seek to a key picture at or before this time since the stream's start, if the container has an index."""
        with self._reading, self._decoding, self.hold() as usable:
            if usable:
                target = (self.start_pts or 0) + int(min(seconds, _FARTHEST_S) / self.time_base)
                self._container.seek(target, stream=self.stream)
                self._packets = packets_of(self._container, self.stream)
                self._aspects.clear()

    def seek_bytes(self, place: int) -> None:
        """Go on reading at this place in the file, bytes; for containers that allow it."""
        with self._reading, self._decoding, self.hold() as usable:
            if usable:
                self._container.seek(place, unsupported_byte_offset=True)
                self._packets = packets_of(self._container, self.stream)
                self._aspects.clear()

    def free(self) -> None:
        """Close the container, or leave that to the call in progress. May be called repeatedly and from any thread."""
        with self._state:
            self._to_be_freed = True
            self._close_unused()

    @contextmanager
    def hold(self) -> Iterator[bool]:
        """Keep the container open during the block. Yields False once it is closed or `stop` is set."""
        with self._state:
            usable = not (self._to_be_freed or self.stop.is_set())
            self._in_use += 1
        try:
            yield usable
        finally:
            with self._state:
                self._in_use -= 1
                if self._to_be_freed:
                    self._close_unused()

    def _close_unused(self) -> None:
        if not self._in_use and not self._is_free:
            self._is_free = True
            self._packets.close()  # type: ignore[attr-defined]  # a generator
            self._container.close()


class Clock:
    """Converts a stream's timestamps to rising seconds since its start. Fills missing ones and removes jumps.

    A jump is a step of more than 1 s back or 60 s ahead. Of live streams; recordings have `sources.pieces`.
    """

    def __init__(self, time_base: Fraction, origin: int | None, period_s: float) -> None:
        self._time_base, self._origin, self._period_s = time_base, origin, period_s
        self.jumped = False
        self._last_s: float | None = None
        self._shift_s = 0.0

    def at(self, pts: int | None) -> float:
        """Return the time of the next picture, s; its timestamp may be missing. Sets `jumped` if it removed a jump."""
        self.jumped = False
        self._last_s = self._first_s(pts) if self._last_s is None else self._next_s(pts, self._last_s)
        return self._last_s

    def _first_s(self, pts: int | None) -> float:
        if pts is None:
            return 0.0
        if self._origin is None or pts < self._origin:
            self._origin = pts
        return self._seconds(pts)

    def _next_s(self, pts: int | None, last_s: float) -> float:
        if pts is None:
            return last_s + self._period_s
        step_s = self._seconds(pts) - last_s
        if not -JUMP_BACK_S < step_s < JUMP_AHEAD_S:
            self.jumped = True
            self._shift_s += self._period_s - step_s
        return max(self._seconds(pts), last_s + float(self._time_base))

    def _seconds(self, pts: int) -> float:
        return float((pts - (self._origin or 0)) * self._time_base) + self._shift_s


def _best_stream(container: InputContainer, name: str) -> VideoStream:
    """Return the largest video stream, preferring the container's default; discard all other streams."""
    clips = [s for s in container.streams.video if not s.disposition & _NOT_A_CLIP]
    if not clips:
        only_cover = " except a cover picture" if container.streams.video else ""
        raise SourceError(f"{name} has no video{only_cover}: its streams are {_kinds(container)}.")
    best = max(clips, key=lambda s: (_area_px(s), bool(s.disposition & Disposition.default), -s.index))
    if _area_px(best) == 0:
        raise SourceError(
            f"{name} has a video stream that cannot be decoded here: "
            f"its codec is unknown, or its picture has no size or more than {MAX_PIXELS // 10**6} megapixels."
        )
    for stream in container.streams:
        if stream is not best:
            stream.discard = Discard.all
    return best


def _area_px(stream: VideoStream) -> int:
    context = stream.codec_context
    return context.width * context.height if context is not None else 0


def _kinds(container: InputContainer) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "none"


def _rate(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Return frames/s. FFmpeg's average is the better estimate, but invented if the container has no clock, too high
    where AVI lists empty frames, and that of the fields where each has a packet."""
    guesses = (
        [stream.average_rate, stream.guessed_rate] if container.duration else [stream.guessed_rate, stream.average_rate]
    )
    if container.format.name == "avi":
        guesses.insert(0, _indexed_rate(stream))
    rate = next((Fraction(rate) for rate in guesses if rate and rate <= _HIGHEST_RATE_HZ), None)
    header_rate = stream.codec_context.framerate
    counts_fields = rate and header_rate and rate == 2 * header_rate and FieldPairs(stream).may_occur
    return Fraction(header_rate) if counts_fields and header_rate else rate


def _indexed_rate(stream: VideoStream) -> Fraction | None:
    """Return frames/s from the usual step of the container's index; None without one."""
    times = [entry.timestamp for entry in stream.index_entries]
    steps = sorted(after - before for before, after in pairwise(times) if after > before)
    return 1 / (steps[len(steps) // 2] * stream.time_base) if steps and stream.time_base else None

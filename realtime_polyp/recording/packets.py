"""Compressed packets for the original picture: copied from a live source, or encoded from its pictures.

Both kinds of feed keep the newest packets, from a keyframe on, so that a recording begins with a whole picture, and
with what has just passed.
"""

import io
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import av
import av.error
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from realtime_polyp.packets import Frame
from realtime_polyp.recording.spill import LARGEST_BYTES, Spilled, SpillFile

if TYPE_CHECKING:
    from realtime_polyp.recording.encoder import EncodedPackets
    from realtime_polyp.sources.reader import Reader

_UNCOMPRESSED = ("rawvideo", "wrapped_avframe", "v210", "v210x", "v308", "v408", "v410", "r210", "bitpacked", "yuv4")
_MOST_BYTES = 256 << 20  # kept in memory; then the oldest go
_SPILL_BYTES = 64 << 20  # in memory; then the oldest go to the disk
_MOST_PLACES = 4096
_LIKELY_RATE_HZ = 30
_START_CODE = re.compile(rb"\x00*\x00\x00\x01")
_JUMP_BACK_MS, _JUMP_AHEAD_MS = -1000, 60_000  # a step beyond these is a reset of the sender's clock


@dataclass(frozen=True)
class StoredPacket:
    """A compressed picture.

    Attributes:
        data: its bytes, which may lie on the disk.
        time_ms: when it is shown, on the feed's own clock.
        dts_ms: when it is decoded.
        duration_ms: 0 where it is not known.
        is_key: decoding can begin here.
    """

    data: bytes | Spilled
    time_ms: int
    dts_ms: int
    duration_ms: int
    is_key: bool

    def load(self) -> bytes:
        """Its bytes. Raises OSError."""
        return self.data.load() if isinstance(self.data, Spilled) else self.data


Listener = Callable[[StoredPacket], None]


class PacketFeed(Protocol):
    """Where packets come from."""

    @property
    def recent(self) -> "RecentPackets": ...

    @property
    def is_encoded(self) -> bool:
        """Packets are made here, after `place`; else they have been there before the frame."""
        ...

    @property
    def dropped(self) -> int:
        """Pictures that were not encoded because the encoder was too slow."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why pictures are not encoded any more; None: they are, or need not be."""
        ...

    def fits(self, reader: "Reader | None", size: tuple[int, int]) -> bool:
        """Whether the feed works, and a new one of this source would have the same format.

        reader: of the source, where its packets can be copied; None: it sends raw pictures. size: (width, height), px.
        """
        ...

    def add_stream(self, container: OutputContainer) -> VideoStream:
        """Add the stream of these packets to a container. Raises FFmpegError, ValueError."""
        ...

    def place(self, frame: Frame) -> float | None:
        """The time of a frame's packet on the feed's clock, ms; None: it has none. Called once per frame; returns at
        once, unless the picture can wait for the encoder: see `EncodedPackets`."""
        ...

    def describe(self) -> dict[str, Any]:
        """How the packets were made, as JSON types."""
        ...

    def settle(self, within_s: float) -> None:
        """Wait until what was placed so far was handed over, no longer than this."""
        ...

    def finish(self) -> None:
        """Hand over what is still under way; nothing follows."""
        ...


class RecentPackets:
    """The newest packets, from a keyframe on, for at least `keep_ms`; and who gets the next ones. Thread-safe.

    Where there is a folder, what does not fit into 64 MB lies on the disk, up to 4 GB, and is written there on a thread
    of its own. Without one, or where that fails, what does not fit into 256 MB is forgotten.
    """

    def __init__(self, keep_ms: int = 0, folder: Path | None = None) -> None:
        self.keep_ms = keep_ms
        self._on_disk = 0  # of the packets, the first ones
        self._disk_bytes = 0
        self._spills = folder is not None
        self._full = threading.Event()
        self._packets: deque[StoredPacket] = deque()
        self._bytes = 0
        self._listener: Listener | None = None
        self._has_begun = False  # the listener has a keyframe
        self._lock = threading.Lock()
        if folder is not None:
            threading.Thread(target=self._spill_all, args=(folder,), name="spill", daemon=True).start()

    def add(self, packet: StoredPacket) -> None:
        """Take the next packet and pass it on. Packets before the first keyframe are of no use.

        A listener gets everything from its first keyframe on, also where that is too much to be kept.
        """
        with self._lock:
            self._has_begun = self._has_begun or packet.is_key
            if self._listener and self._has_begun:
                self._listener(packet)
            if not (self._packets or packet.is_key):
                return
            self._packets.append(packet)
            self._bytes += len(packet.data)
            self._forget_old()
            if self._bytes - self._disk_bytes > _SPILL_BYTES:
                self._full.set()

    def listen(self, listener: Listener, *, back_ms: int) -> StoredPacket | None:
        """Pass the packets of the last `back_ms`, from the keyframe before them on, and all that follow, to a listener.

        Returns the first one; None where there is none yet.
        """
        with self._lock:
            first = self._key_before(self._packets[-1].time_ms - back_ms) if self._packets else 0
            packets = list(self._packets)[first:]
            for packet in packets:
                listener(packet)
            self._listener, self._has_begun = listener, bool(packets)
            return packets[0] if packets else None

    def stop_listening(self) -> None:
        with self._lock:
            self._listener = None

    def close(self) -> None:
        """Forget everything, and end the thread that writes to the disk."""
        with self._lock:
            self._forget_all()
            self._spills = False
            self._full.set()

    def _key_before(self, time_ms: int) -> int:
        """Index of the last keyframe at or before a time; of the first packet, if there is none."""
        keys = [at for at, packet in enumerate(self._packets) if packet.is_key and packet.time_ms <= time_ms]
        return keys[-1] if keys else 0

    def _forget_old(self) -> None:
        """Drop whole groups of pictures, each from a keyframe to the next."""
        newest_ms = self._packets[-1].time_ms
        while len(self._packets) > 1:
            next_key = next((at for at, one in enumerate(self._packets) if at and one.is_key), None)
            too_large = self._bytes > (LARGEST_BYTES if self._spills else _MOST_BYTES)
            if next_key is None:
                if too_large:  # no keyframe in so much: what follows cannot be decoded anyway
                    self._forget_all()
                return
            if self._packets[next_key].time_ms > newest_ms - self.keep_ms and not too_large:
                return
            for _ in range(next_key):
                self._forget(self._packets.popleft())

    def _forget_all(self) -> None:
        self._packets.clear()
        self._bytes = self._disk_bytes = self._on_disk = 0

    def _forget(self, packet: StoredPacket) -> None:
        self._bytes -= len(packet.data)
        if isinstance(packet.data, Spilled):
            self._on_disk -= 1
            self._disk_bytes -= len(packet.data)

    def _spill_all(self, folder: Path) -> None:
        """Move the oldest packets to the disk whenever there are too many in memory."""
        try:
            file = SpillFile(folder)
            while self._spills:
                self._full.wait()
                packet = self._next_to_spill()
                if packet is not None:
                    self._replace(packet, replace(packet, data=file.put(packet.load())))
        except OSError:  # a full disk: what is in memory is enough
            with self._lock:
                self._spills = False
                self._full.clear()

    def _next_to_spill(self) -> StoredPacket | None:
        with self._lock:
            if self._bytes - self._disk_bytes > _SPILL_BYTES and self._on_disk < len(self._packets):
                return self._packets[self._on_disk]
            self._full.clear()
            return None

    def _replace(self, packet: StoredPacket, by: StoredPacket) -> None:
        """Replace it, unless it was forgotten meanwhile."""
        with self._lock:
            if self._on_disk < len(self._packets) and self._packets[self._on_disk] is packet:
                self._packets[self._on_disk] = by
                self._on_disk += 1
                self._disk_bytes += len(by.data)


class CopiedPackets:
    """The packets of a live source, copied as they were sent. Pictures of another format, after the source was opened
    again, are encoded: fitted into the first size, with the first codec. keep_ms, folder: see `RecentPackets`.
    reader: of the source."""

    is_encoded = False

    def __init__(self, reader: "Reader", *, keep_ms: int = 0, folder: Path | None = None) -> None:
        template = copy_format(reader)
        if template is None:
            raise ValueError("the packets of the source cannot be copied")
        self.recent = RecentPackets(keep_ms, folder)
        self._template, self._form = template, _form_of(reader)
        self._reader = reader
        self._encoder: EncodedPackets | None = None
        self._begin_ms, self._lost = 0, 0
        self._places: dict[float, int] = {}
        self._shift_ms, self._last_ms, self._last_dts_ms = 0, 0, -1
        self._begins = True
        reader.tap = self._add

    def attach(self, reader: "Reader | None") -> str | None:
        """Go on with the same source, opened again. None: its packets cannot be copied.

        Returns what became of the picture if its format has changed, one sentence.
        """
        if reader is self._reader:
            return None
        self._reader.tap = None
        self._begins = True
        self._places.clear()
        self._end_encoding()
        if reader is not None and _form_of(reader) == self._form:
            self._reader = reader
            reader.tap = self._add
            return None
        return self._begin_encoding(reader)

    def fits(self, reader: "Reader | None", size: tuple[int, int]) -> bool:
        return not self.error and reader is not None and _form_of(reader) == self._form

    def _begin_encoding(self, reader: "Reader | None") -> str:
        from realtime_polyp.recording.encoder import EncodedPackets  # it is built on this module

        codec, width, height, _ = self._form
        self._begin_ms = self._last_ms + round(self._reader.period_s * 1000)
        rate_hz = (reader or self._reader).rate_hz or Fraction(_LIKELY_RATE_HZ)
        try:
            size = (width, height)
            self._encoder = EncodedPackets(size, rate_hz, live=True, codec=codec, hand_over=self._take_encoded)
        except (av.error.FFmpegError, ValueError) as error:
            return f"The source has another format, and its picture is not recorded any more ({error}): record anew (R)"
        return f"The source has another format: its picture is recorded as {codec}, {width} x {height}"

    def _end_encoding(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder:
            encoder.finish()
            self._lost += encoder.dropped

    @property
    def dropped(self) -> int:
        encoder = self._encoder
        return self._lost + (encoder.dropped if encoder else 0)

    @property
    def error(self) -> Exception | None:
        encoder = self._encoder
        return encoder.error if encoder else None

    def add_stream(self, container: OutputContainer) -> VideoStream:
        stream: VideoStream = container.add_stream_from_template(self._template, opaque=True)
        return stream

    def place(self, frame: Frame) -> float | None:
        if encoder := self._encoder:
            place = encoder.place(frame)
            return None if place is None else self._begin_ms + place
        return None if frame.stamp_s is None else self._places.get(frame.stamp_s)

    def describe(self) -> dict[str, Any]:
        return {"how": "packets", "codec": self._form[0]}

    def settle(self, within_s: float) -> None:
        if encoder := self._encoder:
            encoder.settle(within_s)

    def finish(self) -> None:
        self._reader.tap = None
        self._end_encoding()
        self.recent.close()

    def _take_encoded(self, packet: StoredPacket) -> None:
        """On the encoder's thread: pass a picture on, in the form of the packets before it."""
        time_ms = self._begin_ms + packet.time_ms
        self._last_ms, self._last_dts_ms = max(self._last_ms, time_ms), max(self._last_dts_ms + 1, time_ms)
        assert isinstance(packet.data, bytes)
        data = _with_lengths(packet.data, self._form)
        self.recent.add(replace(packet, data=data, time_ms=time_ms, dts_ms=self._last_dts_ms))

    def _add(self, packet: "Packet[VideoStream]") -> None:
        """On the thread that reads: copy a packet. One without a timestamp, such as a second field, follows the last
        one: pictures refer to it."""
        if not packet.size:
            return
        to_ms = self._reader.time_base * 1000
        stamp = packet.dts if packet.pts is None else packet.pts
        time_ms = self._last_dts_ms + 1 if stamp is None else self._unwrap(round(stamp * to_ms))
        delay_ms = 0 if stamp is None or packet.dts is None else round((stamp - packet.dts) * to_ms)
        self._last_dts_ms = max(self._last_dts_ms + 1, time_ms - delay_ms)
        time_ms = max(time_ms, self._last_dts_ms)  # a damaged timestamp, or a small step back: no muxer would take it
        if packet.pts is not None:
            self._places[float(packet.pts * self._reader.time_base)] = time_ms
        if len(self._places) > _MOST_PLACES:
            del self._places[next(iter(self._places))]
        duration_ms = round((packet.duration or 0) * to_ms)
        self.recent.add(StoredPacket(bytes(packet), time_ms, self._last_dts_ms, duration_ms, packet.is_keyframe))

    def _unwrap(self, own_ms: int) -> int:
        """The time on a clock that goes on where the sender's jumps."""
        step_ms = own_ms + self._shift_ms - self._last_ms
        if self._begins or not _JUMP_BACK_MS < step_ms < _JUMP_AHEAD_MS:
            self._shift_ms += round(self._reader.period_s * 1000) - step_ms
            self._begins = False
        self._last_ms = max(self._last_ms, own_ms + self._shift_ms)
        return own_ms + self._shift_ms


def is_raw(reader: "Reader") -> bool:
    """Whether the pictures of a stream are not compressed."""
    return reader.stream.codec_context.name in _UNCOMPRESSED


def can_be_copied(reader: "Reader") -> bool:
    """Whether the reader is open, the packets of its stream are compressed, and Matroska can hold them."""
    return copy_format(reader) is not None


def copy_format(reader: "Reader") -> VideoStream | None:
    """Copy the parameters of a stream: PyAV's own stream lies in memory that is freed with the reader.

    Returns a stream of a Matroska file that is never written; None where the packets cannot be copied.
    """
    if is_raw(reader):
        return None
    with reader.hold() as usable:
        if not usable:
            return None
        try:
            container = av.open(io.BytesIO(), "w", format="matroska")
            stream: VideoStream = container.add_stream_from_template(reader.stream, opaque=True)
            container.start_encoding()
            return stream
        except (av.error.FFmpegError, ValueError):
            return None


def _with_lengths(data: bytes, form: tuple[str, int, int, bytes]) -> bytes:
    """H.264 in the form of an earlier stream: with a length before each unit where that had them, as in FLV and MP4."""
    codec, _, _, extradata = form
    if codec != "h264" or extradata[:1] != b"\x01":
        return data
    length_bytes = (extradata[4] & 3) + 1
    units = [unit for unit in _START_CODE.split(data) if unit]
    return b"".join(len(unit).to_bytes(length_bytes, "big") + unit for unit in units)


def _form_of(reader: "Reader") -> tuple[str, int, int, bytes]:
    """What must stay the same for packets to follow each other in one file."""
    context = reader.stream.codec_context
    return context.name, context.width, context.height, bytes(context.extradata or b"")

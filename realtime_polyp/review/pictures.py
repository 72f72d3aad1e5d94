"""Random access to the pictures of a video file: any picture by its time, the one before and the one after.

FFmpeg only decodes forwards from a key picture. Decoded pictures around the position are therefore kept, as FFmpeg
decodes them (half the size of RGB): stepping back decodes a stretch once and then takes one picture after the other.
"""

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.field_of_view import Image
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.sources.opening import open_file
from realtime_polyp.sources.packet_scan import PacketScan, Start, scan_packets
from realtime_polyp.sources.paths import check_file
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.pieces import clock_of
from realtime_polyp.sources.reader import Reader

MEMORY_BYTES = 192 << 20
"""Decoded pictures that are kept around the position: 60 of 1080p."""

SAME_TIME_S = 2e-3
"""A picture is the one that is asked for if its time is this close: Matroska rounds times to 1 ms."""

_SEEK_MARGINS_S = (0.0, 2.0, 10.0)  # a seek may land too late (MPEG-TS has no index): retry earlier
_DECODE_ON_S = 3.0  # so far ahead, decoding on is not slower than a seek
_LEAD_S, _LEAD_PICTURES = 0.5, 4  # kept before a picture after a seek; of earlier ones, only what it needs is decoded
_LISTING = {"mov", "matroska", "avi", "flv", "asf"}  # containers whose index leads to a time
_ERRORS_ALLOWED = 3  # consecutive


@dataclass(frozen=True)
class Picture:
    """A picture of a file: its time since the stream's start, s, and the picture (H, W, 3) uint8 RGB."""

    time_s: float
    image: Image


class PictureFile:
    """The pictures of one video file. Use it on one thread.

    memory_bytes: bound of what is kept decoded; at least two pictures are kept. threads: FFmpeg's, SLICE or AUTO.
    deinterlace: see `Deinterlacer`.

    Raises SourceError for a file that cannot be opened or has no video. A damaged part has no pictures.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        memory_bytes: int = MEMORY_BYTES,
        threads: str = "AUTO",
        allow_playlists: bool = False,
        deinterlace: Mode = "auto",
    ) -> None:
        self.path = check_file(Path(path))
        self._allow_playlists, self._threads, self._memory_bytes = allow_playlists, threads, memory_bytes
        self._stop = threading.Event()
        self._to_rgb, self._deinterlace = RgbConverter(deinterlace=deinterlace), deinterlace
        self._open()

    @property
    def kept_bytes(self) -> int:
        """Memory of the pictures that are kept decoded."""
        return self._bytes

    @property
    def period_s(self) -> float:
        """The usual time from picture to picture, s."""
        return self._reader.period_s

    def at(self, time_s: float) -> Picture | None:
        """Return the picture of this time, to within SAME_TIME_S; None where there is none.

        Half a period after an interlaced picture, its second field is returned. With "field-rate", half a period after
        a progressive one it is returned again, as it was shown.
        """
        self._go_to(time_s)
        index = self._index_at(time_s)
        if index is not None:
            return self._convert(index)
        index = self._index_at(time_s - self.period_s / 2)
        return None if index is None else self._second_field(index)

    def _index_at(self, time_s: float) -> int | None:
        index = bisect_left(self._times_s, time_s - SAME_TIME_S)
        near = [one for one in range(index, len(self._times_s)) if self._times_s[one] <= time_s + SAME_TIME_S]
        return min(near, key=lambda one: abs(self._times_s[one] - time_s)) if near else None

    def _second_field(self, index: int) -> Picture | None:
        first = self._convert(index)
        image = self._to_rgb.second_field()
        if image is None and self._deinterlace == "field-rate":
            image = first.image
        return None if image is None else Picture(first.time_s + self.period_s / 2, image)

    def shown_at(self, time_s: float) -> Picture | None:
        """Return the picture that a player shows at this time: the last one that is not later, else the first."""
        self._go_to(time_s)
        index = bisect_right(self._times_s, time_s + SAME_TIME_S) - 1
        if not self._times_s:  # beyond the end
            return self.before(time_s + 2 * SAME_TIME_S)
        return self._convert(max(0, index))

    def before(self, time_s: float) -> Picture | None:
        """Return the last picture before this time; None before the first."""
        if not (self._times_s and self._times_s[0] < time_s - SAME_TIME_S and self._reached(time_s - SAME_TIME_S)):
            # Everything from the key picture on is kept: the next steps back need it.
            self._seek(time_s - SAME_TIME_S, strictly=True, skips=False)
            self._decode_to(time_s)
        index = bisect_left(self._times_s, time_s - SAME_TIME_S) - 1
        return self._convert(index) if index >= 0 else None

    def after(self, time_s: float) -> Picture | None:
        """Return the first picture after this time; None after the last."""
        self._go_to(time_s)
        while not self._is_over and not (self._times_s and self._times_s[-1] > time_s + SAME_TIME_S):
            self._decode_one()
        index = bisect_right(self._times_s, time_s + SAME_TIME_S)
        return self._convert(index) if index < len(self._times_s) else None

    def close(self) -> None:
        self._stop.set()
        self._reader.free()
        self._clear()

    # Where the decoder is: right after the last picture that is kept

    def _open(self, start: Start | None = None) -> None:
        self._reader = self._open_reader()
        self._listed_s = _listed_s(self._reader)
        self._clear()
        self._pictures = self._decode(start=start)

    def _open_reader(self) -> Reader:
        container = open_file(self.path, allow_playlists=self._allow_playlists)
        return Reader(container, self._stop, name=str(self.path), thread_type=self._threads)

    def _clear(self) -> None:
        self._times_s: list[float] = []
        self._kept: list[tuple[VideoFrame, Fraction | None]] = []  # with its pixel aspect
        self._bytes, self._is_over, self._skip_until_s = 0, False, 0.0

    def _reached(self, time_s: float) -> bool:
        """Whether everything up to this time was decoded."""
        return self._is_over or bool(self._times_s and self._times_s[-1] >= time_s)

    def _go_to(self, time_s: float) -> None:
        """Make the kept pictures cover this time, as far as the file does."""
        first_s, last_s = (self._times_s[0], self._times_s[-1]) if self._times_s else (0.0, 0.0)
        if not self._times_s or time_s < first_s - SAME_TIME_S or time_s > last_s + _DECODE_ON_S:
            self._seek(time_s)
        self._decode_to(time_s)
        if self._times_s and self._times_s[0] > time_s + SAME_TIME_S and self._skip_until_s > 0:  # a low rate
            self._seek(time_s, skips=False)
            self._decode_to(time_s)

    def _decode_to(self, time_s: float) -> None:
        while not self._reached(time_s + SAME_TIME_S):
            self._decode_one()

    def _seek(self, time_s: float, *, strictly: bool = False, skips: bool = True) -> None:
        """Go to a key picture at or before this time (strictly: before it), or to the file's first picture.

        skips: pictures long before this time are neither kept nor, where no other picture needs them, decoded.
        """
        lead_s = max(_LEAD_S, _LEAD_PICTURES * self._reader.period_s)
        begin_s = time_s - clock_of(self._reader).lead_s
        scan = None if self._is_listed(time_s) else scan_packets(self.path, self._open_reader, until_s=time_s)
        for margin_s in _SEEK_MARGINS_S if scan is None or scan.leads_to_times else ():
            self._clear()
            if begin_s - margin_s <= 0:
                break
            try:
                self._reader.seek(begin_s - margin_s)
                landed = scan.land(self._reader) if scan else []
            except av.error.FFmpegError:
                break
            if scan and not landed:
                continue
            self._pictures = self._decode(landed, scan.beginning if scan else None)
            self._skip_until_s = time_s - lead_s if skips else 0.0
            first_s = self._decode_one()
            if first_s is not None and first_s <= (time_s if strictly else time_s + SAME_TIME_S):
                return
        self._begin_at(scan, scan.start_before(begin_s - SAME_TIME_S) if scan else None)
        self._decode_one()

    def _begin_at(self, scan: PacketScan | None, start: Start | None) -> None:
        """Begin decoding at a start; None: at the file's start."""
        try:
            landed = scan.go_to(start, self._reader) if scan and start else []
        except av.error.FFmpegError:
            landed = []
        if not landed:
            self._reader.free()
            self._open(start)
        else:
            self._clear()
            self._pictures = self._decode(landed, start)

    def _is_listed(self, time_s: float) -> bool:
        """Whether the container's index leads to this time. A seek by time may else land in another piece of a joined
        recording, so the packets up to there are read before."""
        return time_s <= self._listed_s

    def _decode_one(self) -> float | None:
        """Decode the next picture and keep it, unless it is skipped; returns its time, or None at the end."""
        found = next(self._pictures, None)
        if found is None:
            self._is_over = True
            return None
        time_s, picture, aspect = found
        if time_s < self._skip_until_s:
            return time_s
        self._times_s.append(time_s)
        self._kept.append((picture, aspect))
        self._bytes += _size_of(picture)
        while self._bytes > self._memory_bytes and len(self._kept) > 2:
            self._bytes -= _size_of(self._kept[0][0])
            del self._times_s[0], self._kept[0]
        return time_s

    def _decode(
        self, landed: "Sequence[Packet[VideoStream]]" = (), start: Start | None = None
    ) -> Iterator[tuple[float, VideoFrame, Fraction | None]]:
        """Yield pictures with their times and pixel aspects, from the reader's position on.

        landed: packets that were read after a seek. start: where decoding begins; without packets that were read, the
        reader is at the file's start.
        """
        reader, errors = self._reader, 0
        clock = clock_of(reader, start.piece if start else None)
        in_first = start is None or start.piece.number == 0  # the reader counts from its beginning
        skips = in_first and not clock.lead_s  # a clock by order needs every picture
        skipped, read = start.packets if start and not landed else 0, deque(landed)
        while errors < _ERRORS_ALLOWED:
            try:
                packet = read.popleft() if read else reader.packet()
                if packet is None:
                    return
                skipped -= bool(packet.size)
                if skipped >= 0 and packet.size:
                    continue
                skips = not clock.add_packet(packet) and skips
                reader.skip_unneeded(packet, until_s=self._skip_until_s if skips else 0.0)
                pictures = reader.decode(packet)
                errors = 0
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                errors += 1
                continue
            for picture in pictures:
                yield clock.at(picture), picture, reader.take_aspect(picture)

    def _convert(self, index: int) -> Picture:
        picture, aspect = self._kept[index]
        self._to_rgb.set_aspect(aspect)
        self._to_rgb.set_before(self._kept[index - 1][0] if index else None)
        return Picture(self._times_s[index], self._to_rgb(picture))


def _size_of(picture: VideoFrame) -> int:
    return sum(plane.buffer_size for plane in picture.planes)


def _listed_s(reader: Reader) -> float:
    """Return the time of the last picture in the container's index, s."""
    times = reader.stream.index_entries
    if not _LISTING & set(reader.container_name.split(",")) or not len(times):
        return -1.0
    return float((times[len(times) - 1].timestamp - (reader.start_pts or 0)) * reader.time_base)

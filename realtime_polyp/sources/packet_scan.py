"""Reads the packets of a recording without decoding them: the time of every picture, and where decoding can begin.

Containers without a complete index (MPEG-TS, MPEG-PS, Matroska) do not say which number a picture has. Where a
recording is joined from pieces, a seek by time may land in any of them. Both are known once the packets up to there
were read.
"""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import av.error
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from realtime_polyp.sources.fields import FieldPairs
from realtime_polyp.sources.opening import open_file
from realtime_polyp.sources.paths import path_error
from realtime_polyp.sources.pieces import MOST_REORDERED, Piece, PieceClock, has_real_clock, is_by_order
from realtime_polyp.sources.reader import Reader

_ERRORS_ALLOWED = 3  # consecutive
_MOST_KEPT = 4  # recordings whose packets are remembered
_NO_STAMP = -(1 << 63)
_KEY, _SHOWN = 1, 2
_AHEAD_S = 60.0  # read beyond what is asked for, for the next look
_BYTES_SOUGHT = {"mpegts", "mpeg"}  # containers in which reading can begin at any place
_COMPARED = 24  # packets behind a seek
_MOST_BEFORE = 3  # packets that FFmpeg may give before the one at the place that was sought


@dataclass(frozen=True)
class Start:
    """A key picture at which decoding can begin.

    Attributes:
        time_s: its time, s.
        packets: how many packets of the video come before it in the file.
        piece: that it belongs to.
        stamp, at: its timestamp, ticks, and its place in the file, bytes; -1: not known.
    """

    time_s: float
    packets: int
    piece: Piece
    stamp: int
    at: int


@dataclass
class PacketScan:
    """The packets of a recording from its beginning on.

    Attributes:
        until_s: every picture before this time is known, s; infinite: all are.
        pieces: that are joined in this recording.
        by_order: its DTS are the times (`is_by_order`).
        has_clock: its timestamps are stored, and not made up by FFmpeg as those of raw streams.
    """

    until_s: float = -1.0
    pieces: list[Piece] = field(default_factory=list)
    by_order: bool = False
    has_clock: bool = True
    _stamps: "array[int]" = field(default_factory=lambda: array("q"))
    _at: "array[int]" = field(default_factory=lambda: array("q"))  # places in the file, bytes
    _numbers: "array[int]" = field(default_factory=lambda: array("l"))  # of the pieces
    _kinds: bytearray = field(default_factory=bytearray)
    _times_s: "NDArray[np.float64]" = field(default_factory=lambda: np.zeros(0))  # by packet; NaN: no time

    @property
    def leads_to_times(self) -> bool:
        """Whether a seek by time may land at the right place."""
        return self.has_clock and len(self.pieces) == 1

    @property
    def times_s(self) -> "NDArray[np.float64]":
        """The times of the pictures, rising, s."""
        shown = (np.frombuffer(self._kinds, np.uint8) & _SHOWN > 0) & ~np.isnan(self._times_s)
        return np.sort(self._times_s[shown])

    def count_before(self, time_s: float) -> int:
        """Return how many pictures come before this time."""
        return int(np.searchsorted(self.times_s, time_s))

    def start_before(self, time_s: float) -> Start | None:
        """Return the last key picture at or before this time; None without one."""
        keys = (np.frombuffer(self._kinds, np.uint8) & _KEY > 0) & (self._times_s <= time_s)
        if not keys.any():
            return None
        at = int(np.flatnonzero(keys)[-1])
        piece = replace(self.pieces[self._numbers[at]])
        return Start(float(self._times_s[at]), at, piece, self._stamps[at], self._at[at])

    @property
    def beginning(self) -> Start:
        """The beginning of the file."""
        return Start(0.0, 0, replace(self.pieces[0]), _NO_STAMP, -1)

    def go_to(self, start: Start, reader: Reader) -> "list[Packet[VideoStream]]":
        """Seek to the place of a start in the file; returns the first packets from it on, none if that leads
        elsewhere. Raises FFmpegError."""
        if start.at < 0 or reader.container_name not in _BYTES_SOUGHT:
            return []
        reader.seek_bytes(start.at)
        for _ in range(_MOST_BEFORE):
            packet = reader.packet()
            if packet is None or (packet.pos == start.at and self._stamp_of(packet) == start.stamp):
                return [] if packet is None else self._follow(packet, start.packets, reader)
        return []

    def land(self, reader: Reader) -> "list[Packet[VideoStream]]":
        """Read on after a seek by time; returns the first packets, none unless they are as they were read before, and
        of the first piece. Raises FFmpegError."""
        landed = reader.packet()
        stamp = None if landed is None else self._stamp_of(landed)
        if landed is None or stamp is None or landed.pos is None:
            return []
        same = (np.array(self._stamps, np.int64) == stamp) & (np.array(self._at, np.int64) == landed.pos)
        places = [place for place in np.flatnonzero(same).tolist() if self._numbers[place] == 0]
        return self._follow(landed, places[0], reader) if places else []

    def _follow(self, landed: "Packet[VideoStream]", place: int, reader: Reader) -> "list[Packet[VideoStream]]":
        """Read some more packets; FFmpeg makes up wrong timestamps behind some seeks. Returns none then."""
        packets = [landed]
        for known in range(place + 1, min(place + _COMPARED, len(self._stamps))):
            packet = reader.packet()
            if packet is None:
                break
            packets.append(packet)
            if not packet.size:
                break
            if self._stamp_of(packet) != self._stamps[known] or (packet.pos or self._at[known]) != self._at[known]:
                return []
        return packets

    def _stamp_of(self, packet: "Packet[VideoStream]") -> int | None:
        """Return the PTS, or the DTS where they are the times."""
        return packet.dts if self.by_order or packet.pts is None else packet.pts

    def add(self, packet: "Packet[VideoStream]", piece: Piece, *, is_shown: bool) -> None:
        """Note the next packet of the file."""
        stamp = self._stamp_of(packet)
        self._stamps.append(_NO_STAMP if stamp is None else stamp)
        self._at.append(-1 if packet.pos is None else packet.pos)
        self._numbers.append(piece.number)
        self._kinds.append(_KEY * packet.is_keyframe | _SHOWN * is_shown)

    def finish(self, clock: PieceClock, tick_s: float) -> None:
        """Give every packet its time."""
        clock.place(clock.pieces[-1])
        self.pieces = clock.pieces
        firsts = np.array([one.first or 0 for one in self.pieces], np.int64)
        begins_s = np.array([one.begin_s or 0.0 for one in self.pieces])
        numbers, stamps = np.array(self._numbers, np.int64), np.array(self._stamps, np.int64)
        known = stamps != _NO_STAMP
        times_s = (np.where(known, stamps, 0) - firsts[numbers]) * tick_s + begins_s[numbers]
        self._times_s = np.where(known, times_s, np.nan)


_kept: "OrderedDict[tuple[str, int, int], PacketScan]" = OrderedDict()
_lock = threading.Lock()


def scan_packets(
    path: Path,
    open_reader: Callable[[], Reader],
    *,
    until_s: float = np.inf,
) -> PacketScan:
    """Return the packets of a recording up to this time; they are remembered while the file stays as it is.

    open_reader: opens it at its beginning, with a `stop` that ends the scan. A damaged file: what can be read. Raises
    SourceError if it cannot be opened.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise path_error(path, error) from None
    key = (str(path.absolute()), info.st_size, info.st_mtime_ns)
    with _lock:
        known = _kept.get(key)
    if known is not None and known.until_s >= until_s:
        return known
    reader = open_reader()
    try:
        found = _scan(reader, until_s + _AHEAD_S)
    finally:
        reader.free()
    if not reader.stop.is_set():
        with _lock:
            _kept[key] = found
            _kept.move_to_end(key)
            while len(_kept) > _MOST_KEPT:
                _kept.popitem(last=False)
    return found


def scan_file(path: Path) -> PacketScan:
    """Return the packets of a whole recording. Raises SourceError if it cannot be opened."""
    return scan_packets(path, lambda: Reader(open_file(path), threading.Event(), name=str(path)))


def _scan(reader: Reader, until_s: float) -> PacketScan:
    has_clock = has_real_clock(reader) or reader.container_name in _BYTES_SOUGHT
    scan = PacketScan(until_s, by_order=is_by_order(reader), has_clock=has_clock)
    clock, fields, errors, past = PieceClock(reader), FieldPairs(reader.stream), 0, 0
    while errors < _ERRORS_ALLOWED:
        try:
            packet = reader.packet()
            errors = 0
        except av.error.FFmpegError:
            errors += 1
            continue
        if packet is None:
            scan.until_s = np.inf
            break
        if not packet.size:
            continue
        clock.add_packet(packet)
        piece = clock.pieces[-1]
        scan.add(packet, piece, is_shown=not (packet.is_discard or fields.is_second(packet)))
        # A packet is never shown before it is decoded. FFmpeg's DTS are wrong for some packets of joined Matroska.
        past += packet.dts is not None and until_s < np.inf and _is_past(clock, piece, packet.dts, reader, until_s)
        if past > MOST_REORDERED:
            break
    scan.finish(clock, float(reader.time_base))
    return scan


def _is_past(clock: PieceClock, piece: Piece, dts: int, reader: Reader, until_s: float) -> bool:
    """Whether a packet comes later than a time, whatever its piece's first picture turns out to be."""
    is_placed = piece.begin_s is not None
    if not is_placed:
        clock.place(piece)
    time_s = piece.time_s(dts, reader.time_base)
    if not is_placed:
        piece.begin_s = None  # until all of its packets are known
    return time_s > until_s

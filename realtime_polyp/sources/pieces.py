"""The times of a recording's pictures, from its packets in the order of the file.

Recordings are joined from pieces whose timestamps begin anew, as on a DVD or where transport streams are appended.
Each piece then goes on one period after the one before. Packets carry the number of their piece through the decoder
(`opaque`), so a picture is never counted to another piece. AVI stores no times but an order: see `OrderClock`.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heapify, heappop, heappush
from typing import Protocol

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.sources.fields import FieldPairs
from realtime_polyp.sources.reader import JUMP_AHEAD_S, JUMP_BACK_S, Reader

_REAL_CLOCKS = {"mov", "matroska", "avi", "asf", "flv", "nut", "ogg", "mxf"}  # they store times, not a sender's clock
_DTS_BACK_S = 0.25
_LONGEST_PAUSE_S = 86_400.0  # where the end is not known; a longer step is a damaged timestamp
MOST_REORDERED = 16
"""Pictures between decoding and display, in H.264."""


@dataclass
class Piece:
    """A part of a recording with one clock.

    Attributes:
        number: from 0, in the order of the file.
        first, newest: lowest and highest PTS of its packets so far, ticks.
        begin_s: time of `first` in the recording, s; None until it is needed.
    """

    number: int = 0
    first: int | None = None
    newest: int | None = None
    begin_s: float | None = None

    def add(self, pts: int) -> None:
        self.first = pts if self.first is None else min(self.first, pts)
        self.newest = pts if self.newest is None else max(self.newest, pts)

    def time_s(self, pts: int, time_base: Fraction) -> float:
        """Return the time of a PTS in the recording, s."""
        origin = pts if self.first is None else self.first
        return float((pts - origin) * time_base) + (self.begin_s or 0.0)


class FileClock(Protocol):
    """Gives a recording's pictures their times.

    Attributes:
        jumped: the newest picture begins another piece.
        lead_s: how much before a picture decoding must begin for its time to be right, s.
    """

    jumped: bool
    lead_s: float

    @property
    def packet_piece(self) -> int:
        """Number of the piece that the newest packet belongs to."""
        ...

    @property
    def picture_piece(self) -> int:
        """Number of the piece that the newest picture belongs to."""
        ...

    def add_packet(self, packet: "Packet[VideoStream]") -> bool:
        """Note a packet before it is decoded. Returns whether a piece begins with it."""
        ...

    def note_lost(self, packet: "Packet[VideoStream]") -> None:
        """Note that a packet gave no picture."""
        ...

    def at(self, picture: VideoFrame) -> float:
        """Return a decoded picture's time, s: rising, from the first picture of the file on."""
        ...


def clock_of(reader: Reader, begin: Piece | None = None) -> FileClock:
    """Return the clock of a recording. begin: the piece in which reading begins; None: the first."""
    return OrderClock(reader, begin) if is_by_order(reader) else PieceClock(reader, begin)


def is_by_order(reader: Reader) -> bool:
    """Whether FFmpeg reads no times of pictures with B-frames from this container, but the order of decoding."""
    of_h264 = reader.container_name == "mxf" and reader.stream.codec_context.name == "h264"
    return reader.container_name in ("avi", "asf") or of_h264


def has_real_clock(reader: Reader) -> bool:
    """Whether the container stores the recording's own times, so that a long step is a pause."""
    return bool(_REAL_CLOCKS & set(reader.container_name.split(",")))


class PieceClock:
    """Times from timestamps.

    A piece begins with a key picture whose DTS do not rise, where DTS go back more than 0.25 s and 4 periods, or ahead
    more than 60 s in a container without times of its own.
    """

    lead_s = 0.0

    def __init__(self, reader: Reader, begin: Piece | None = None) -> None:
        self.jumped = False
        self._time_base, self._period_s = reader.time_base, reader.period_s
        self._tick_s, self._by_order = float(reader.time_base), is_by_order(reader)
        self._trusts_ahead, self._ends_s = has_real_clock(reader), reader.ends_s
        self._carries_number = not reader.stream.codec_context.is_hwaccel
        self.pieces = [replace(begin) if begin else Piece(first=reader.start_pts, begin_s=0.0)]
        self._dts: int | None = None
        self._before_is_key = False
        self._last_s: float | None = None
        self._piece: Piece | None = None

    @property
    def packet_piece(self) -> int:
        return self.pieces[-1].number

    @property
    def picture_piece(self) -> int:
        return self._piece.number if self._piece else 0

    def add_packet(self, packet: "Packet[VideoStream]") -> bool:
        # FFmpeg gives the first packet of a raw stream's second piece a DTS that goes on, and a PTS that begins anew.
        dts = packet.dts if packet.dts is None or packet.pts is None else min(packet.dts, packet.pts)
        begins = dts is not None and self._dts is not None and self._is_jump(self._dts, dts)
        if packet.is_keyframe and not self._before_is_key and dts is not None and self._dts is not None:
            begins = begins or dts <= self._dts  # DTS rise, but bad multiplexers may be wrong by a little
        self._before_is_key = packet.is_keyframe
        if begins:
            self.pieces.append(Piece(self.pieces[-1].number + 1))
        self._dts = self._dts if dts is None else dts
        piece, shown = self.pieces[-1], packet.dts if packet.pts is None or self._by_order else packet.pts
        if shown is not None and not packet.is_discard:
            piece.newest = shown if piece.newest is None else max(piece.newest, shown)
            if piece.begin_s is None or piece.first is None:
                piece.add(shown)
        if piece.number:
            packet.opaque = (piece.number,)  # PyAV finds it by its address: no other packet may have the same object
        return begins

    def note_lost(self, packet: "Packet[VideoStream]") -> None:
        return

    def at(self, picture: VideoFrame) -> float:
        piece, last_s = self._piece_of(picture), self._last_s
        self.jumped = self._piece is not None and piece is not self._piece
        self._piece, self._last_s = piece, self._time_s(piece, picture.pts, last_s)
        return self._last_s

    def place(self, piece: Piece) -> None:
        """Set where a piece begins, and every one before it."""
        for before, one in zip(self.pieces, self.pieces[1:], strict=False):
            if one.begin_s is None:
                end_s = before.begin_s or 0.0
                if before.newest is not None:
                    end_s = before.time_s(before.newest, self._time_base)
                one.begin_s = end_s + self._period_s
            if one is piece:
                return

    def _time_s(self, piece: Piece, pts: int | None, last_s: float | None) -> float:
        if pts is None:
            return 0.0 if last_s is None else last_s + self._period_s
        if piece.first is None or (last_s is None and piece.number == 0 and pts < piece.first):
            piece.first = pts
        if piece.begin_s is None:
            self.place(piece)
        time_s = piece.time_s(pts, self._time_base)
        if last_s is None:
            return time_s
        if self._steps_wrong(time_s - last_s, time_s):  # without DTS
            self.jumped = True
            piece.begin_s = (piece.begin_s or 0.0) + last_s + self._period_s - time_s
            time_s = last_s + self._period_s
        return max(time_s, last_s + float(self._time_base))

    def _piece_of(self, picture: VideoFrame) -> Piece:
        newest = self.pieces[-1]
        if self._carries_number or picture.pts is None or len(self.pieces) == 1:
            return self.pieces[max(0, (_carried(picture) or 0) - self.pieces[0].number)]
        late = newest.newest is not None and picture.pts > newest.newest  # it was still in the decoder
        return self.pieces[-2] if late else newest

    def _is_jump(self, before: int, after: int) -> bool:
        step_s = (after - before) * self._tick_s
        if 0 <= step_s < JUMP_AHEAD_S:
            return False
        time_s = self.pieces[-1].time_s(after, self._time_base)
        return step_s < -max(_DTS_BACK_S, 4 * self._period_s) or self._steps_wrong(step_s, time_s)

    def _steps_wrong(self, step_s: float, time_s: float) -> bool:
        if -JUMP_BACK_S < step_s < JUMP_AHEAD_S:
            return False
        if step_s < 0 or not self._trusts_ahead:
            return True
        return step_s > _LONGEST_PAUSE_S if self._ends_s is None else time_s > self._ends_s + JUMP_AHEAD_S


class OrderClock:
    """Times where only an order is stored: the n-th picture that is shown has the n-th time that is stored.

    AVI numbers pictures in the order of decoding, and FFmpeg reads ASF and H.264 in MXF so. Their times of B-frames are
    late and out of order.
    """

    packet_piece = picture_piece = 0

    def __init__(self, reader: Reader, begin: Piece | None = None) -> None:
        self.jumped = False
        self.lead_s = 3 * MOST_REORDERED * reader.period_s if reader.stream.codec_context.has_b_frames else 0.0
        self._time_base, self._period_s = reader.time_base, reader.period_s
        self._origin = begin.first if begin else reader.start_pts  # None: the first packet's
        self._fields = FieldPairs(reader.stream)
        self._times: list[int] = []  # a heap: not yet given to a picture, ticks
        self._inside: dict[int | None, int] = {}  # the packets in the decoder: {DTS: how many came before}
        self._count = self._newest = 0
        self._last_s: float | None = None

    def add_packet(self, packet: "Packet[VideoStream]") -> bool:
        if packet.dts is None or packet.is_discard or not packet.size or self._fields.is_second(packet):
            return False
        self._origin = packet.dts if self._origin is None else self._origin
        heappush(self._times, packet.dts)
        self._inside[packet.dts] = self._count
        packet.opaque = (packet.dts,)
        self._count += 1
        return False

    def note_lost(self, packet: "Packet[VideoStream]") -> None:
        if packet.dts is not None and packet.dts in self._inside:
            del self._inside[packet.dts]
            self._times.remove(packet.dts)
            heapify(self._times)

    def at(self, picture: VideoFrame) -> float:
        self._newest = max(self._newest, self._inside.pop(_carried(picture), 0))
        for dts in [one for one, place in self._inside.items() if place < self._newest - MOST_REORDERED]:
            del self._inside[dts]  # the decoder gave no picture for it
            heappop(self._times)
        least_s = -1.0 if self._last_s is None else self._last_s + float(self._time_base)
        if self._times:
            self._last_s = max(least_s, float((heappop(self._times) - (self._origin or 0)) * self._time_base))
        else:
            self._last_s = 0.0 if self._last_s is None else self._last_s + self._period_s
        return self._last_s


def _carried(picture: VideoFrame) -> int | None:
    """Return the number that the picture's packet carried through the decoder."""
    return picture.opaque[0] if isinstance(picture.opaque, tuple) else None

"""Finds missing pictures from the timestamps of a recording or stream with a regular frame rate."""

from array import array
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

_LEAST_STEPS = 8  # fewer steps do not show the frame rate
_STAMP_ROUNDING_S = 0.0021  # both ends of a step are rounded, to 1 ms in Matroska and FLV
_UNEVEN_ALLOWED = 0.05  # share of irregular steps in a regular recording
_LOST_STEP = 1.75  # periods; telecined film has steps of 1.5
_SHORT_S = 0.1  # joined recordings may be this far apart, and frame grabbers leave out dropped frames
_SHORT_GAPS_ALLOWED = 0.005  # share of the steps; with more, the recorder omits identical pictures
_NEAR = 8  # periods; short gaps this close together count as one: packets are stored out of order
_TAIL, _TAIL_PERIODS = 4, 3.5  # steps, periods; a truncated video lacks pictures that are stored after later ones
_LONG_S, _LONG_STEP = 0.5, 5.0  # the shortest gap where periods vary a little, s and periods
_LIVE_STAMPS = 600
_RESTART_AHEAD_S = 60.0
_PAUSE_S = 60.0  # a recorder was stopped, or waited for a signal, where a longer step leaves no bytes free
_PICTURES_SHARE = 0.25  # of the bytes that pictures take in that time; sound goes on in a pause


@dataclass(frozen=True)
class Gap:
    """Missing pictures.

    Attributes:
        begin_s: when the first missing picture was due, s.
        end_s: time of the next picture, s.
    """

    begin_s: float
    end_s: float

    @property
    def missing_s(self) -> float:
        return self.end_s - self.begin_s


@dataclass
class StampLog:
    """The timestamps of one video, in the pieces that it is joined from.

    Attributes:
        time_base_s: length of a tick, s.
        keeps_pauses: the container stores the times of the recording, where a pause of the recorder is a long step.
    """

    time_base_s: float
    keeps_pauses: bool = False
    _pieces: "dict[int, _Piece]" = field(default_factory=dict)
    _dts: int | None = None
    _end_at: int | None = None  # place after the newest packet, bytes
    _bytes: int = 0
    _seconds: float = 0.0
    _lacks_bytes: bool = False  # a long step in which there is room for pictures

    def add_packet(self, packet: "Packet[VideoStream]", piece: int = 0, *, is_join: bool = False) -> None:
        """Add a packet in the order of the file. piece: its number. is_join: the piece begins with it."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return
        self._note_place(packet, stamp, is_join=is_join)
        if packet.is_discard:  # an edit list hides its picture
            self._piece(piece).add(stamp if packet.pts is None else packet.pts, is_key=False)

    def _note_place(self, packet: "Packet[VideoStream]", stamp: int, *, is_join: bool) -> None:
        """Compare a long step with the bytes that the file holds there: lost pictures leave their place."""
        step_s = 0.0 if self._dts is None or is_join else (stamp - self._dts) * self.time_base_s
        if step_s <= _PAUSE_S:
            self._bytes, self._seconds = self._bytes + packet.size, self._seconds + max(0.0, step_s)
        elif packet.pos is not None and self._end_at is not None and self._seconds > 0:
            room = _PICTURES_SHARE * step_s * self._bytes / self._seconds
            self._lacks_bytes = self._lacks_bytes or packet.pos - self._end_at > room
        self._dts, self._end_at = stamp, None if packet.pos is None else packet.pos + packet.size

    def add_picture(self, pts: int | None, shown_at_s: float, piece: int = 0, *, is_key: bool) -> None:
        """Add a decoded picture. shown_at_s: its time on the reader's clock, s. piece: its number."""
        if pts is None:
            return
        part = self._piece(piece)
        if part.origin_s is None:
            part.origin_s = shown_at_s - pts * self.time_base_s
        part.add(pts, is_key=is_key)

    def _piece(self, number: int) -> "_Piece":
        return self._pieces.setdefault(number, _Piece())

    def forget_pictures(self) -> None:
        """Forget all pictures, as after a seek."""
        self._pieces.clear()

    def gaps(self, *, joins_begin_with_keys: bool, least_s: float = 0.0) -> list[Gap]:
        """Return the gaps; see `find_gaps`."""
        pieces = [piece.sorted(self.time_base_s) for piece in self._pieces.values() if len(piece.stamps) > 1]
        found = find_gaps(pieces, joins_begin_with_keys=joins_begin_with_keys, least_s=least_s)
        keeps = self.keeps_pauses and not self._lacks_bytes
        return [gap for gap in found if not keeps or gap.missing_s <= _PAUSE_S]


class LiveGaps:
    """Finds gaps in a live stream from its last 600 timestamps."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_LIVE_STAMPS)
        self._step_s = 0.0

    def add(self, stamp_s: float) -> Gap | None:
        """Add the next timestamp, s. Returns the gap that ends with it, or None."""
        step_s = stamp_s - self._times[-1] if self._times else 0.0
        if not 0 <= step_s < _RESTART_AHEAD_S:
            self._times.clear()
        self._times.append(stamp_s)
        is_longer, self._step_s = step_s > _LOST_STEP * self._step_s, step_s
        if not is_longer or len(self._times) <= _LEAST_STEPS:
            return None
        times = np.array(self._times)
        found = find_gaps([(times, np.zeros(len(times), np.bool_))], joins_begin_with_keys=False, least_s=_SHORT_S)
        return found[-1] if found and found[-1].end_s == stamp_s else None


@dataclass
class _Piece:
    origin_s: float | None = None
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    keys: bytearray = field(default_factory=bytearray)

    def add(self, stamp: int, *, is_key: bool) -> None:
        self.stamps.append(stamp)
        self.keys.append(is_key)

    def sorted(self, time_base_s: float) -> "tuple[NDArray[np.float64], NDArray[np.bool_]]":
        stamps = np.array(self.stamps, np.int64)
        order = np.argsort(stamps, kind="stable")
        keys = np.frombuffer(self.keys, np.uint8)[order] != 0
        times: NDArray[np.float64] = stamps[order] * np.float64(time_base_s) + (self.origin_s or 0.0)
        return times, keys


def find_gaps(
    pieces: "list[tuple[NDArray[np.float64], NDArray[np.bool_]]]", *, joins_begin_with_keys: bool, least_s: float = 0.0
) -> list[Gap]:
    """Return the gaps of a video with a regular frame rate; none if its rate varies.

    pieces: rising times (n,), s, and whether each picture is a keyframe (n,).
    joins_begin_with_keys: not every picture is a keyframe, so a short gap before one may be a join of two videos.
    least_s: shorter gaps are ignored, s.

    Regular: 95 % of the steps equal one period, up to rounding; a gap is then a step above 1.75 periods. Nearly
    regular: 95 % of the steps are between 0.5 and 1.5 periods, as from cameras with a clock of their own; a gap is then
    longer than 0.5 s and 5 periods. Otherwise the rate varies, and a long step may be intended.
    """
    steps = np.concatenate([np.diff(times) for times, _ in pieces]) if pieces else np.zeros(0)
    if len(steps) < _LEAST_STEPS:
        return []
    period_s = _period_s(steps)
    odd_allowed = max(min(4, len(steps) // 8), _UNEVEN_ALLOWED * len(steps))
    off = np.abs(steps - period_s)
    if period_s > 0 and np.count_nonzero(off > max(_STAMP_ROUNDING_S, 0.02 * period_s)) <= odd_allowed:
        least_step_s = _LOST_STEP * period_s
    elif np.count_nonzero(off > 0.5 * period_s) <= odd_allowed:
        least_step_s = max(_LONG_S, _LONG_STEP * period_s)
    else:
        return []
    gaps: list[Gap] = []
    short: list[Gap] = []
    for times, keys in pieces:
        for at in np.flatnonzero(np.diff(times) > least_step_s):
            gap = Gap(float(times[at] + period_s), float(times[at + 1]))
            may_be_join = joins_begin_with_keys and bool(keys[at + 1])
            if joins_begin_with_keys and at + 1 + _TAIL > len(times) - 1 and gap.missing_s < _TAIL_PERIODS * period_s:
                continue
            if gap.missing_s >= max(least_s, _SHORT_S if may_be_join else 0.0) - _STAMP_ROUNDING_S:
                (short if gap.missing_s < _SHORT_S else gaps).append(gap)
    causes = sum(b.begin_s - a.end_s > _NEAR * period_s for a, b in pairwise(short)) + bool(short)
    if causes <= max(2.0, _SHORT_GAPS_ALLOWED * len(steps)):
        gaps = sorted(gaps + short, key=lambda gap: gap.begin_s)
    return gaps


def _period_s(steps: "NDArray[np.float64]") -> float:
    """Return the period, s: the mean of the steps near the median, because rounding moves single steps."""
    median = float(np.sort(steps)[len(steps) // 2])
    near = steps[np.abs(steps - median) <= max(_STAMP_ROUNDING_S, 0.02 * median)]
    return float(near.mean())

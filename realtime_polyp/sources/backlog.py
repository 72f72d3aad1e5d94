"""A queue of live packets for the decoder. Packets that wait too long are skipped without decoding."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

P = TypeVar("P")

LATE_S = 0.3
"""If a packet waits longer than this, packets are skipped up to a keyframe, s."""

_CATCH_UP_S = 1.0  # without a newer keyframe, the backlog is decoded if that takes less than this
_KEYLESS_S = 10.0  # after this time without a keyframe, decode whatever arrives
_MOST_PACKETS, _MOST_BYTES = 1024, 64 << 20
_COST_SHARE = 0.2  # weight of the newest measurement in the average time to decode a packet
_HIGHEST_LOAD = 0.95
_STALE_STAMP_S = 60.0


@dataclass
class Waiting(Generic[P]):
    """A packet in the backlog.

    Attributes:
        packet: passed to the decoder.
        is_key: whether it holds a keyframe, at which decoding can begin.
        stamp_s: its DTS, or else its PTS, s; None if it has neither.
        arrived_s: time.monotonic() when it was read, s.
        size: bytes.
        shows: whether its picture is shown; if False, it is decoded only because later pictures refer to it.
        held_back: it came long before, and was handed out when a read gave up.
    """

    packet: P
    is_key: bool
    stamp_s: float | None
    arrived_s: float
    size: int = 0
    shows: bool = True
    held_back: bool = False


@dataclass
class Taken(Generic[P]):
    """The result of `Backlog.take`.

    Attributes:
        skipped: packets that were skipped before `next`, in order.
        next: the packet to decode; None if none has arrived or the stream has ended.
        ended: whether the stream has ended.
    """

    skipped: list[Waiting[P]] = field(default_factory=list)
    next: Waiting[P] | None = None
    ended: bool = False


class Backlog(Generic[P]):
    """Hands packets from the thread that reads to the thread that decodes.

    If the oldest packet has waited longer than `LATE_S`, packets are skipped up to the newest keyframe. Without a newer
    keyframe, late packets are decoded but not shown if that catches up within 1 s; else they are skipped until the next
    keyframe arrives.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._items: deque[Waiting[P]] = deque()
        self._changed = threading.Condition()
        self._skipped: list[Waiting[P]] = []
        self._bytes = 0
        self._closed = self._stopped = False
        self._cost_s = 0.0
        self._awaits_key_since_s: float | None = None
        self._catches_up_since_s: float | None = None

    @property
    def stopped(self) -> bool:
        return self._stopped

    def put(self, item: Waiting[P]) -> None:
        """Add a packet. If the backlog is full, skip up to the newest keyframe."""
        with self._changed:
            self._items.append(item)
            self._bytes += item.size
            if len(self._items) > _MOST_PACKETS or self._bytes > _MOST_BYTES:
                self._skip_to_key()
            self._changed.notify()

    def close(self) -> None:
        """End the stream. Packets in the backlog can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def stop(self) -> None:
        """Discard all packets and let the reading thread end."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify()

    def take(self, timeout_s: float) -> Taken[P]:
        """Return the next packet to decode and the packets skipped before it. Waits at most `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or self._stopped, timeout_s)
            self._drop_late()
            skipped, self._skipped = self._skipped, []
            if self._items:
                item = self._items.popleft()
                self._bytes -= item.size
                return Taken(skipped, item)
            return Taken(skipped, ended=self._closed or self._stopped)

    def add_cost(self, duration_s: float) -> None:
        """Record how long the decoding thread was busy with one packet, s."""
        self._cost_s += (_COST_SHARE if self._cost_s else 1.0) * (duration_s - self._cost_s)

    def _drop_late(self) -> None:
        if not self._items:
            return
        self._wait_for_key()
        if not self._items:
            return
        has_newer_key = any(item.is_key for item in islice(self._items, 1, None))
        if has_newer_key and self._waited_s() > LATE_S and self._drain_s() > LATE_S:
            self._skip_to_key()
        if self._waited_s() <= LATE_S:
            self._catches_up_since_s = None
        elif self._catches_up():
            self._items[0].shows = len(self._items) == 1  # show only the newest
        elif not self._items[0].is_key:
            self._skip_to_key()

    def _catches_up(self) -> bool:
        """Whether decoding the whole backlog catches up within `_CATCH_UP_S`."""
        now_s = self._clock()
        self._catches_up_since_s = self._catches_up_since_s or now_s
        return now_s - self._catches_up_since_s < _CATCH_UP_S and self._drain_s() < _CATCH_UP_S

    def _waited_s(self) -> float:
        return self._clock() - self._items[0].arrived_s

    def _span_s(self) -> float:
        first, last = self._items[0].stamp_s, self._items[-1].stamp_s
        span_s = last - first if first is not None and last is not None else 0.0
        return span_s if 0 <= span_s < _STALE_STAMP_S else 0.0

    def _drain_s(self) -> float:
        """Return the time to decode the backlog and the packets that arrive meanwhile, s."""
        count = len(self._items)
        period_s = max(self._span_s(), self._items[-1].arrived_s - self._items[0].arrived_s) / max(1, count - 1)
        load = min(_HIGHEST_LOAD, self._cost_s / period_s) if period_s > 0 else 0.0
        return count * self._cost_s / (1.0 - load)

    def _wait_for_key(self) -> None:
        """Skip to the first keyframe if decoding has to restart."""
        if self._awaits_key_since_s is None:
            return
        while self._items and not self._items[0].is_key:
            if self._clock() - self._awaits_key_since_s > _KEYLESS_S:
                break
            self._skip_oldest()
        if self._items:
            self._awaits_key_since_s = None

    def _skip_to_key(self) -> None:
        """Skip up to the newest keyframe after the oldest packet, or everything if there is none."""
        newest = max((at for at, item in enumerate(self._items) if item.is_key and at), default=None)
        for _ in range(len(self._items) if newest is None else newest):
            self._skip_oldest()
        self._catches_up_since_s = None
        if newest is None:
            self._awaits_key_since_s = self._awaits_key_since_s or self._clock()

    def _skip_oldest(self) -> None:
        item = self._items.popleft()
        self._bytes -= item.size
        self._skipped.append(item)

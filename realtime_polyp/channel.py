"""A bounded queue of packets between two threads."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The channel was stopped by the other thread. The receiver of this exception should end without an error."""


class Channel(Generic[T]):
    """A bounded queue in which neither thread can wait forever for the other.

    capacity: maximum number of packets.
    live: when full, drop the oldest packet (a camera cannot be paused) instead of making the producer wait (a file
        can).
    on_drop: called with every packet that is dropped, and the reason, while the channel is locked.
    choose: returns the index of the packet to drop when full; the oldest by default.
    """

    def __init__(
        self,
        capacity: int,
        *,
        live: bool = False,
        on_drop: Callable[[T, str], None] | None = None,
        choose: Callable[[Sequence[T]], int] = lambda items: 0,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"a channel's capacity must be at least 1, got {capacity}")
        self._items: deque[T] = deque()
        self.live = live
        self._capacity, self._on_drop, self._choose = capacity, on_drop, choose
        self._closed = self._stopped = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Add a packet. Waits for room unless live. Raises Stopped after `stop`; the packet is then dropped."""
        with self._changed:
            while self.live and len(self._items) >= self._capacity:  # more than one after `put_now`
                dropped = self._items[index := self._choose(self._items)]
                del self._items[index]
                self._drop(dropped, "newer frame")
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._capacity)
            if self._stopped:
                self._drop(item, "stopped")
                raise Stopped
            self._items.append(item)
            self._changed.notify_all()

    def put_now(self, item: T) -> None:
        """Add a packet without waiting and without dropping another, beyond the capacity if need be. Raises Stopped."""
        with self._changed:
            if self._stopped:
                raise Stopped
            self._items.append(item)
            self._changed.notify_all()

    def batches(self, largest: int, *, is_late: Callable[[T], bool] = lambda item: False) -> Iterator[list[T]]:
        """Yield batches of 1 to `largest` packets, without waiting for a batch to fill.

        is_late: the oldest packets for which it is true are dropped when a batch is taken, all but the newest packet.
        """
        while batch := self._take(largest, is_late):
            yield batch

    def latest(self) -> T | None:
        """Return the newest packet, or None, without waiting. Older packets are dropped."""
        with self._changed:
            newest = self._items.pop() if self._items else None
            self._clear("newer frame")
            self._changed.notify_all()
            return newest

    def take_nowait(self) -> T | None:
        """Return the oldest packet, or None, without waiting or dropping packets."""
        with self._changed:
            oldest = self._items.popleft() if self._items else None
            self._changed.notify_all()
            return oldest

    def close(self) -> None:
        """End the input. Queued packets are still delivered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop both threads: queued packets are dropped, and calls that wait raise `Stopped`."""
        with self._changed:
            self._stopped = True
            self._clear("stopped")
            self._changed.notify_all()

    @property
    def exhausted(self) -> bool:
        """Whether nothing is queued and nothing can be added."""
        with self._changed:
            return (self._closed or self._stopped) and not self._items

    def _take(self, largest: int, is_late: Callable[[T], bool]) -> list[T]:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or self._stopped)
            if self._stopped:
                raise Stopped
            while len(self._items) > 1 and is_late(self._items[0]):
                self._drop(self._items.popleft(), "late")
            batch = [self._items.popleft() for _ in range(min(largest, len(self._items)))]
            self._changed.notify_all()
            return batch

    def _clear(self, reason: str) -> None:
        while self._items:
            self._drop(self._items.popleft(), reason)

    def _drop(self, item: T, reason: str) -> None:
        if self._on_drop:
            self._on_drop(item, reason)

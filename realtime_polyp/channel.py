"""Bounded hand-over of packets between two threads."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The other end of the channel has gone away; unwind quietly."""


class Channel(Generic[T]):
    """A bounded queue that cannot strand either end.

    capacity: packets held at most.
    live: when full, drop the oldest packet (a camera cannot be paused) instead of making the producer wait (a file
        can).
    on_drop: told of every packet that leaves without being taken, with the reason, while no other can enter or leave.
    """

    def __init__(self, capacity: int, *, live: bool = False, on_drop: Callable[[T, str], None] | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"a channel's capacity must be at least 1, got {capacity}")
        self._items: deque[T] = deque()
        self.live = live
        self._capacity, self._on_drop = capacity, on_drop
        self._closed = self._stopped = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Hand over; waits for room unless live. Raises Stopped, the item then dropped."""
        with self._changed:
            if self.live and len(self._items) == self._capacity:
                self._drop(self._items.popleft(), "newer frame")
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._capacity)
            if self._stopped:
                self._drop(item, "stopped")
                raise Stopped
            self._items.append(item)
            self._changed.notify_all()

    def batches(self, largest: int) -> Iterator[list[T]]:
        """Yield what has arrived, 1 to `largest` packets at a time, never waiting to fill one."""
        while batch := self._take(largest):
            yield batch

    def latest(self) -> T | None:
        """The newest packet, or None; never waits. Older ones are dropped. What a screen's timer calls."""
        with self._changed:
            newest = self._items.pop() if self._items else None
            self._clear("newer frame")
            self._changed.notify_all()
            return newest

    def take_nowait(self) -> T | None:
        """The oldest packet, or None; never waits and drops nothing."""
        with self._changed:
            oldest = self._items.popleft() if self._items else None
            self._changed.notify_all()
            return oldest

    def close(self) -> None:
        """The producer has finished: what is queued will still be delivered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Either end gives up: queued packets are dropped and both ends wake with `Stopped`."""
        with self._changed:
            self._stopped = True
            self._clear("stopped")
            self._changed.notify_all()

    @property
    def exhausted(self) -> bool:
        """Nothing is queued and nothing will come."""
        with self._changed:
            return (self._closed or self._stopped) and not self._items

    def _take(self, largest: int) -> list[T]:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or self._stopped)
            if self._stopped:
                raise Stopped
            batch = [self._items.popleft() for _ in range(min(largest, len(self._items)))]
            self._changed.notify_all()
            return batch

    def _clear(self, reason: str) -> None:
        while self._items:
            self._drop(self._items.popleft(), reason)

    def _drop(self, item: T, reason: str) -> None:
        if self._on_drop:
            self._on_drop(item, reason)

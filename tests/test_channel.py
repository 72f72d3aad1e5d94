"""The hand-over between two threads: bounded, in order, accounted for, and never a dead end."""

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.channel import Channel, Stopped

JOIN_S = 3.0


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def joined(thread: threading.Thread) -> None:
    thread.join(JOIN_S)
    assert not thread.is_alive(), "left behind"


@given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 5))
def test_all_arrives_once_and_in_order_in_batches_no_larger_than_asked(count: int, capacity: int, largest: int) -> None:
    channel: Channel[int] = Channel(capacity)

    def produce() -> None:
        for item in range(count):
            channel.put(item)
        channel.close()

    producer = started(produce)
    batches = list(channel.batches(largest))
    joined(producer)
    assert [item for batch in batches for item in batch] == list(range(count))
    assert all(1 <= len(batch) <= min(largest, capacity) for batch in batches)
    assert channel.exhausted


@given(st.lists(st.sampled_from(["put", "take", "latest"]), max_size=60), st.integers(1, 4))
def test_a_live_channel_keeps_the_newest_and_tells_of_each_it_drops(steps: list[str], capacity: int) -> None:
    """Against a plain list that follows the same rules."""
    dropped: list[int] = []
    channel: Channel[int] = Channel(capacity, live=True, on_drop=lambda item, why: dropped.append(item))
    queue, expected_drops, sent = list[int](), list[int](), 0
    for step in steps:
        if step == "put":
            channel.put(sent)
            queue.append(sent)
            sent += 1
            if len(queue) > capacity:
                expected_drops.append(queue.pop(0))
        elif step == "take":
            assert channel.take_nowait() == (queue.pop(0) if queue else None)
        else:
            assert channel.latest() == (queue.pop() if queue else None)
            expected_drops += queue
            queue.clear()
    assert dropped == expected_drops


def test_a_live_producer_does_not_wait_after_packets_beyond_the_capacity() -> None:
    dropped: list[int] = []
    channel: Channel[int] = Channel(2, live=True, on_drop=lambda item, why: dropped.append(item))
    channel.put(1)
    channel.put(2)
    channel.put_now(3)
    joined(started(lambda: channel.put(4)))
    assert dropped == [1, 2] and next(channel.batches(9)) == [3, 4]


def test_a_full_channel_makes_its_producer_wait() -> None:
    channel: Channel[int] = Channel(2)
    done: list[int] = []
    producer = started(lambda: [(channel.put(item), done.append(item)) for item in range(3)])
    time.sleep(0.05)
    assert done == [0, 1]
    assert channel.take_nowait() == 0
    joined(producer)
    assert done == [0, 1, 2]


def test_a_batch_never_waits_to_fill() -> None:
    channel: Channel[int] = Channel(8)
    channel.put(1)
    assert next(channel.batches(4)) == [1]


def test_stop_drops_what_is_queued_and_wakes_both_ends() -> None:
    dropped: list[tuple[int, str]] = []
    full: Channel[int] = Channel(1, on_drop=lambda item, why: dropped.append((item, why)))
    full.put(1)
    unwound: list[str] = []

    def put() -> None:
        with pytest.raises(Stopped):
            full.put(2)
        unwound.append("producer")

    producer = started(put)
    time.sleep(0.05)
    full.stop()
    joined(producer)
    assert dropped == [(1, "stopped"), (2, "stopped")] and unwound == ["producer"]
    assert full.exhausted and full.latest() is None

    empty: Channel[int] = Channel(1)

    def take() -> None:
        with pytest.raises(Stopped):
            next(empty.batches(1))
        unwound.append("consumer")

    consumer = started(take)
    time.sleep(0.05)
    empty.stop()
    joined(consumer)
    assert unwound == ["producer", "consumer"]


def test_close_delivers_what_is_queued_then_ends() -> None:
    channel: Channel[int] = Channel(3)
    channel.put(1)
    channel.put(2)
    channel.close()
    assert not channel.exhausted
    assert list(channel.batches(1)) == [[1], [2]]
    assert channel.exhausted


def test_close_wakes_a_waiting_consumer() -> None:
    channel: Channel[int] = Channel(1)
    ended: list[list[list[int]]] = []
    consumer = started(lambda: ended.append(list(channel.batches(1))))
    time.sleep(0.05)
    channel.close()
    joined(consumer)
    assert ended == [[]]


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Channel(0)

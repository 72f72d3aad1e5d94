"""Newest wins before the decoder too: late packets are skipped and counted, and every delay contains the lateness."""

import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from fakes import Ages, FakeDetector, pipeline_of, tried_again
from media import Sender, write_clip

from realtime_polyp.packets import Frame, Result
from realtime_polyp.session import Session, SessionError
from realtime_polyp.sources import NetworkSource
from realtime_polyp.sources.backlog import Backlog, Waiting
from realtime_polyp.sources.damage import Damage
from realtime_polyp.sources.lateness import DueClock
from realtime_polyp.sources.live import _Decoding, read_live
from realtime_polyp.sources.reader import Reader

# --- when pictures were due


def lateness(arrivals: list[tuple[float, float]]) -> list[float]:
    """How late each of the packets, given as (stamp, arrival), is found to be, s."""
    clock, late = DueClock(), []
    for stamp_s, arrived_s in arrivals:
        clock.add(stamp_s, arrived_s)
        late.append(round(arrived_s - clock.due_s(stamp_s, arrived_s), 2))
    return late


def test_lateness_is_measured_from_the_best_picture() -> None:
    assert lateness([(10, 100.2), (11, 101.0), (12, 102.5), (13, 103.0)]) == [0, 0, 0.5, 0]


def test_a_sender_with_a_slow_clock_is_not_late_and_a_long_lateness_is_not_forgotten() -> None:
    assert lateness([(t * 0.999, t) for t in range(0, 7200, 10)])[-1] == 0
    assert lateness([(0, 0), *((t, t + 10.0) for t in range(1, 300))])[-1] > 9.5


def test_a_clock_that_begins_anew_keeps_the_lateness() -> None:
    assert lateness([(100, 0), (101, 1), (102, 2), (0, 3), (1, 4), (2, 5.5)]) == [0, 0, 0, 0, 0, 0.5]
    assert lateness([(100, 0), (101, 1), (102, 4), (0, 5), (1, 6)])[-1] == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("before", "late_s"),
    [([(10, 0), (11, 1)], 0.0), ([(9, 0), (10, 1), (11, 4)], 2.0)],
)
def test_a_clock_that_is_set_back_a_little_keeps_the_lateness(before: list[tuple[float, float]], late_s: float) -> None:
    clock, next_s = DueClock(), before[-1][1] + 1.0
    for stamp_s, arrived_s in [*before, (10.5, next_s)]:
        clock.add(stamp_s, arrived_s, rises=True)
    assert next_s - clock.due_s(10.5, next_s) == pytest.approx(late_s, abs=0.02)


def test_a_picture_sent_before_the_senders_clock_jumped_is_due_when_it_arrived() -> None:
    clock = DueClock()
    for stamp_s, arrived_s in ((10, 0.0), (11, 1.0), (3611, 1.04)):
        clock.add(stamp_s, arrived_s)
    assert clock.due_s(11, 1.0) == 1.0 and clock.due_s(3611, 1.5) == pytest.approx(1.04)


def test_a_picture_without_a_stamp_is_due_when_it_arrives() -> None:
    assert DueClock().due_s(None, 5.0) == 5.0


# --- what is skipped


class Waits:
    """A backlog on a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.backlog: Backlog[int] = Backlog(lambda: self.now_s)

    def put(self, *packets: int, keys: tuple[int, ...] = ()) -> None:
        """Packets of a stream at 25 Hz, of which these are key pictures, all arriving now."""
        for packet in packets:
            self.backlog.put(Waiting(packet, packet in keys, packet / 25, self.now_s, size=1))

    def take(self) -> tuple[list[int], int | None, bool]:
        """The skipped packets, the one to decode, and whether it is shown."""
        taken = self.backlog.take(0)
        skipped = [item.packet for item in taken.skipped]
        return (skipped, None, False) if taken.next is None else (skipped, taken.next.packet, taken.next.shows)


def test_packets_in_time_are_decoded_in_order() -> None:
    waits = Waits()
    waits.backlog.add_cost(0.1)
    waits.put(*range(5), keys=(0, 3))
    waits.now_s = 0.29
    assert [waits.take()[1] for _ in range(6)] == [0, 1, 2, 3, 4, None]


def test_late_packets_are_skipped_up_to_the_newest_key_picture() -> None:
    waits = Waits()
    waits.backlog.add_cost(0.1)
    waits.put(*range(10), keys=(0, 4, 7))
    waits.now_s = 0.31
    assert waits.take() == ([0, 1, 2, 3, 4, 5, 6], 7, True)


def test_without_a_newer_key_picture_nothing_is_decoded_until_one_comes() -> None:
    waits = Waits()
    waits.backlog.add_cost(0.2)
    waits.put(*range(1, 10))
    waits.now_s = 0.31
    assert waits.take() == (list(range(1, 10)), None, False)
    waits.put(10, 11, 12, 13, keys=(12,))
    assert waits.take() == ([10, 11], 12, True)
    assert waits.take() == ([], 13, True)


def test_a_fast_decoder_catches_up_without_showing_what_is_late() -> None:
    waits = Waits()
    waits.backlog.add_cost(0.002)
    waits.put(*range(1, 4))
    waits.now_s = 0.4
    waits.put(4)
    assert [waits.take() for _ in range(4)] == [([], 1, False), ([], 2, False), ([], 3, False), ([], 4, True)]


def test_catching_up_ends() -> None:
    waits = Waits()
    waits.backlog.add_cost(0.002)
    waits.put(1, 2, 3, 4)
    waits.now_s = 0.4
    assert waits.take()[1] == 1
    waits.now_s = 1.5
    assert waits.take() == ([2, 3, 4], None, False)


def test_a_stream_that_has_no_key_pictures_is_not_skipped_for_ever() -> None:
    waits = Waits()
    waits.backlog.add_cost(1.0)
    waits.put(1, 2)
    waits.now_s = 1.0
    assert waits.take() == ([1, 2], None, False)
    waits.now_s = 11.1
    waits.put(3)
    assert waits.take() == ([], 3, True)


def test_what_waits_is_bounded() -> None:
    waits = Waits()
    waits.put(*range(3000), keys=tuple(range(0, 3000, 50)))
    skipped, first, _ = waits.take()
    assert len(skipped) == first and 3000 - 1025 <= first < 3000


# --- a scripted stream


class SlowReader:
    """A stream of MJPEG-like key pictures at 50 Hz in real time; decoding one takes `cost_s`."""

    time_base, period_s, container_name = Fraction(1, 50), 0.02, "mpegts"

    def __init__(self, count: int, cost_s: float, *, lost: range = range(0)) -> None:
        self.stop, self._count, self._cost_s, self._lost = threading.Event(), count, cost_s, lost
        self.stream: Any = type("Stream", (), {"sample_aspect_ratio": None})()
        self._next, self._begin_s = 0, time.monotonic()
        self.decoded: list[int] = []

    def packet(self) -> Any:
        number, self._next = self._next, self._next + 1
        if number >= self._count or self.stop.is_set():
            return None
        if number in self._lost:
            return self.packet()
        time.sleep(max(0.0, self._begin_s + number * self.period_s - time.monotonic()))
        fields = {"pts": number, "dts": number, "size": 9, "is_keyframe": True, "is_corrupt": False}
        return type("Packet", (), fields)()

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        if packet is None:
            return []
        time.sleep(self._cost_s)
        self.decoded.append(packet.pts)
        picture = av.VideoFrame(64, 48, "rgb24")
        picture.pts = packet.pts
        return [picture]

    def take_aspect(self, _: av.VideoFrame) -> None: ...

    def forget(self) -> None: ...

    def free(self) -> None: ...


@tried_again
def test_a_slow_decoder_shows_recent_pictures_and_decodes_no_other() -> None:
    reader, ages_s, frames = SlowReader(100, 0.1), [], []
    for frame in read_live(reader, name="scope", silence_s=5):  # type: ignore[arg-type]
        ages_s.append(time.monotonic() - frame.captured_s)
        frames.append(frame)
    assert max(ages_s) < 1.5 and len(frames) < 60
    assert reader.decoded == [frame.index for frame in frames]
    assert [round(frame.pts_s * 50) for frame in frames] == reader.decoded


def packet_of(pts: int) -> Waiting[Any]:
    """A key picture of `SlowReader`."""
    fields = {"pts": pts, "dts": pts, "size": 9, "is_keyframe": True, "is_corrupt": False}
    return Waiting(type("Packet", (), fields)(), True, pts / 50, arrived_s=pts / 50)


def test_a_clock_that_begins_anew_after_packets_were_skipped_hides_no_picture() -> None:
    decoding = _Decoding(SlowReader(0, 0.0), Damage(), "off")  # type: ignore[arg-type]
    assert [frame.index for frame in decoding.decode(packet_of(1000))] == [0]
    decoding.skip([packet_of(1001), packet_of(1002)])
    later = [frame for pts in (1003, 1004, 0, 1) for frame in decoding.decode(packet_of(pts))]
    assert [frame.index for frame in later] == [3, 4, 5, 6]
    assert [frame.continues for frame in later] == [True, True, False, True]


def test_pictures_that_lead_the_key_picture_after_skipped_packets_are_hidden() -> None:
    decoding = _Decoding(SlowReader(0, 0.0), Damage(), "off")  # type: ignore[arg-type]
    assert [frame.index for frame in decoding.decode(packet_of(1000))] == [0]
    decoding.skip([packet_of(1001)])
    decoding._begins_anew, decoding._key_pts = False, 1004  # its packet came before those that lead it
    later = [frame for pts in (1002, 1003, 1004, 1005) for frame in decoding.decode(packet_of(pts))]
    assert [frame.index for frame in later] == [4, 5]


def test_lost_pictures_of_a_stream_are_told_with_their_place() -> None:
    damage = Damage()
    list(read_live(SlowReader(60, 0.0, lost=range(30, 45)), name="scope", silence_s=5, damage=damage))  # type: ignore[arg-type]
    told = damage.describe_live("scope")
    assert told == "scope arrives incomplete: 0.30 s are missing, from 0.60 s to 0.90 s."


# --- over the network


@tried_again
def test_over_udp_a_slow_decoder_drops_and_accounts_for_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = Reader.decode

    def slow(reader: Reader, packet: Any) -> list[av.VideoFrame]:
        time.sleep(0.08)
        return fast(reader, packet)

    path = write_clip(tmp_path / "a.ts", rate=50, count=200, options={"g": "10", "tune": "zerolatency"})
    pieces = len(path.read_bytes()) / 1316
    monkeypatch.setattr(Reader, "decode", slow)
    ages, frames = Ages(), list[Frame]()

    def show(result: Result) -> None:
        ages.add(result.frame)
        frames.append(result.frame)

    with Sender(path, "udp", hold=True, pause_s=4.0 / pieces) as sender:
        source = NetworkSource(sender.url, open_timeout_s=20, silence_s=1.0, probe_s=0.5)
        session = Session(source, pipeline_of(FakeDetector()), show)
        session.start()
        with pytest.raises(SessionError, match="sent no picture for 1 s"):
            session.wait(60)
    tally = session.tally()
    assert tally.balanced and tally.pending == 0
    assert tally.dropped["decode"]["late"] > 20
    assert frames[-1].index < tally.captured == session._next_index <= 200
    assert max(ages.ages_s[5:], default=0) < ages.limit_s(1.5)  # the first were probed, and are late by that

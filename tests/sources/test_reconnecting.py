"""Live sources that come back by themselves, streams in bursts and streams without a clock."""

import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream
from fakes import wait_until
from media import write_clip

from realtime_polyp.bench.loopback import OTHER_SIZE, Scene, Server
from realtime_polyp.packets import Frame
from realtime_polyp.sources import NetworkSource, SourceError, open_source
from realtime_polyp.sources.damage import Damage, Places
from realtime_polyp.sources.live import read_live
from realtime_polyp.sources.paced import BurstPacer
from realtime_polyp.sources.reader import Reader
from realtime_polyp.sources.reconnecting import AWAY_WAIT_S, FIRST_WAIT_S, LONGEST_WAIT_S, Reconnecting, keep_open


class Camera:
    """A source of `count` frames 40 ms apart, which then fails, or ends (failure None)."""

    name, warning, size, rate_hz, live = "camera", None, (8, 8), Fraction(25), True
    duration_s = frames_total = decoder = None
    reads_ahead = False

    def __init__(self, count: int = 3, failure: Exception | None = SourceError("the cable is out")) -> None:
        self._count, self._failure = count, failure
        self.closed = False

    def frames(self) -> Iterator[Frame]:
        for index in range(self._count):
            yield Frame(index, index / 25, time.monotonic(), np.zeros((8, 8, 3), np.uint8))
        if self._failure:
            raise self._failure

    def close(self) -> None:
        self.closed = True


def test_index_and_clock_go_on_over_an_outage_and_it_is_told() -> None:
    first, later = Camera(), [Camera(failure=None)]

    def reopen() -> Camera:
        if not later:
            raise SourceError("nobody answers", is_away=True)
        return later.pop()

    source, frames = Reconnecting(first, reopen, give_up_after_s=0.7), list[Frame]()
    with pytest.raises(SourceError, match="nobody answers"):
        frames.extend(source.frames())
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.continues for frame in frames] == [True, True, True, False, True, True]
    gap_s = frames[3].pts_s - frames[2].pts_s
    assert gap_s == pytest.approx(frames[3].captured_s - frames[2].captured_s) and gap_s >= FIRST_WAIT_S
    assert source.warning == f"camera was away once, for {gap_s:.1f} s, and came back."
    assert [(one.from_s, one.to_s) for one in source.returns] == [(frames[2].pts_s, frames[3].pts_s)]
    assert first.closed


class Damaged(Camera):
    """A camera whose timestamps jumped, and which its sender then ends."""

    warning = "camera was ended by its sender after 0.1 s."  # type: ignore[assignment]
    damage = Damage(jumps_at_s=Places([0.04]))


def test_what_a_source_lost_is_told_also_after_its_sender_ended_it() -> None:
    source = Reconnecting(Damaged(failure=None), Camera, give_up_after_s=0.5)
    frames = source.frames()
    for _ in range(5):
        next(frames)
    source.close()
    assert source.warning and source.warning.endswith("came back. The timestamps of camera jumped at 0.04 s.")


def test_a_source_that_is_given_up_ends_as_it_failed() -> None:
    def refuses() -> Camera:
        raise SourceError("nobody answers", is_away=True)

    with pytest.raises(SourceError, match="nobody answers"):
        list(Reconnecting(Camera(), refuses, give_up_after_s=0.5).frames())
    with pytest.raises(SourceError, match="the cable is out"):
        list(Reconnecting(Camera(), refuses, give_up_after_s=0).frames())
    assert len(list(Reconnecting(Camera(failure=None), refuses, give_up_after_s=0).frames())) == 3


def waits_of(source: Reconnecting, count: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Read a source, without waiting, until it would have waited `count` times. Returns for how long each time, s."""
    waits = list[float]()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == count:
            source.close()
        return False

    monkeypatch.setattr(source._stop, "wait", wait)
    assert len(list(source.frames())) >= 3
    return waits


@pytest.mark.parametrize(("is_away", "longest_s"), [(True, AWAY_WAIT_S), (False, LONGEST_WAIT_S)])
def test_waits_double_up_to_a_limit(is_away: bool, longest_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> Camera:
        raise SourceError("no", is_away=is_away)

    waits = waits_of(Reconnecting(Camera(), refuses), 8, monkeypatch)
    assert waits == [min(FIRST_WAIT_S * 2**number, longest_s) for number in range(8)]


@pytest.mark.parametrize("pictures", [0, 1])
def test_a_source_that_fails_soon_after_each_return_is_asked_less_and_less(
    pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = waits_of(Reconnecting(Camera(), lambda: Camera(pictures)), 5, monkeypatch)
    assert waits == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S, AWAY_WAIT_S, AWAY_WAIT_S]


def test_a_driver_that_blocks_while_it_opens_does_not_block_the_end() -> None:
    unblock, late = threading.Event(), Camera()

    def blocks() -> Camera:
        unblock.wait()
        return late

    source = Reconnecting(Camera(), blocks)
    thread = threading.Thread(target=lambda: list(source.frames()), daemon=True)
    thread.start()
    wait_until(lambda: source.trouble is not None and source.trouble.next_s is None)
    assert source.trouble and source.trouble.reason == "the cable is out" and source.trouble.attempts == 1
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    unblock.set()
    wait_until(lambda: late.closed)  # what it opened at last is closed


def test_an_attempt_that_hangs_is_abandoned_and_the_next_one_finds_the_source() -> None:
    unblock, late, attempts = threading.Event(), Camera(), list[int]()

    def hangs_once() -> Camera:
        attempts.append(len(attempts))
        if len(attempts) > 1:
            return Camera()
        unblock.wait()
        return late

    source = Reconnecting(Camera(), hangs_once, attempt_limit_s=0.2)
    frames = source.frames()
    assert [next(frames).index for _ in range(6)] == list(range(6))
    source.close()
    assert len(attempts) == 2 and not late.closed
    unblock.set()
    wait_until(lambda: late.closed)  # what the first attempt opened at last is closed


def test_a_driver_that_hangs_for_ever_is_not_given_ever_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    unblock, attempts = threading.Event(), list[int]()

    def hangs() -> Camera:
        attempts.append(len(attempts))
        unblock.wait()
        return Camera()

    source = Reconnecting(Camera(), hangs, attempt_limit_s=0.01)
    waits_of(source, 10, monkeypatch)
    assert len(attempts) == 4
    assert source.trouble and source.trouble.reason == "camera does not open: 4 earlier attempts still hang."
    unblock.set()


@pytest.mark.parametrize("kind", ["tcp", "rtsp"])
def test_a_server_that_accepts_and_says_nothing_does_not_hold_up_the_real_one(kind: Literal["tcp", "rtsp"]) -> None:
    server, limit_s = Server(kind, Scene()), 10.0
    server.start()
    source = keep_open(lambda: NetworkSource(server.url, open_timeout_s=limit_s, silence_s=2, probe_s=0.5))
    watched = Watched(source)
    wait_until(lambda: len(watched.frames) > 5)
    limit_s = 0.3
    server.kill()
    with socket.create_server(("127.0.0.1", server.port)):  # the system accepts for it, and nobody ever answers
        wait_until(lambda: source.trouble is not None and source.trouble.attempts > 3)  # type: ignore[attr-defined]
    limit_s, before = 10.0, len(watched.frames)
    server.start()
    wait_until(lambda: len(watched.frames) > before + 5)
    assert source.trouble is None  # type: ignore[attr-defined]
    indices = [frame.index for frame in watched.frames]
    assert indices == sorted(set(indices)), "numbers go on"
    watched.close()
    server.close()


def test_recordings_are_not_opened_again(tmp_path: Path) -> None:
    source = keep_open(lambda: open_source(str(write_clip(tmp_path / "a.mkv"))))
    assert not isinstance(source, Reconnecting)
    source.close()


class Watched:
    """Reads a source on a thread."""

    def __init__(self, source: object) -> None:
        self.source, self.frames = source, list[Frame]()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for frame in self.source.frames():  # type: ignore[attr-defined]
            self.frames.append(frame)

    def close(self) -> None:
        self.source.close()  # type: ignore[attr-defined]
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_a_server_that_is_killed_and_started_again_with_another_size() -> None:
    server = Server("tcp", Scene())
    server.start()
    watched = Watched(keep_open(lambda: NetworkSource(server.url, silence_s=2, probe_s=0.5)))
    wait_until(lambda: len(watched.frames) > 20)
    server.kill()
    wait_until(lambda: watched.source.trouble is not None)  # type: ignore[attr-defined]
    server.scene.size = OTHER_SIZE
    server.start()
    wait_until(lambda: watched.frames[-1].image.shape[1::-1] == OTHER_SIZE)
    watched.close()
    server.close()
    indices, times_s = [one.index for one in watched.frames], [one.pts_s for one in watched.frames]
    assert all(after > before for values in (indices, times_s) for before, after in pairwise(values))
    cuts = [one for one in watched.frames[1:] if not one.continues]
    assert len(cuts) == 1 and cuts[0].image.shape[1::-1] == OTHER_SIZE


def test_bytes_that_are_no_picture_are_a_failure_of_the_decoder() -> None:
    server = Server("udp", Scene())
    server.start()
    watched = Watched(keep_open(lambda: NetworkSource(server.url, silence_s=30, probe_s=0.5)))
    wait_until(lambda: len(watched.frames) > 5)
    server.scene.silent = True
    wait_until(lambda: time.monotonic() - watched.frames[-1].captured_s > 0.3)
    watched.source.source.damage.undecoded = 100  # type: ignore[attr-defined]
    wait_until(lambda: watched.source.trouble is not None)  # type: ignore[attr-defined]
    assert watched.source.trouble.part == "decoder"  # type: ignore[attr-defined]
    server.scene.silent = False
    wait_until(lambda: watched.source.trouble is None)  # type: ignore[attr-defined]
    watched.close()
    server.close()


def test_live_hls_is_paced_by_its_stamps_and_loses_nothing() -> None:
    server = Server("hls", Scene())
    server.start()
    watched = Watched(opened_hls(server))
    wait_until(lambda: len(watched.frames) > 60)
    watched.close()
    server.close()
    assert [one.index for one in watched.frames] == list(range(len(watched.frames)))
    late_s = [one.captured_s - one.pts_s for one in watched.frames]
    assert max(late_s) - min(late_s) < 1.0, "bursts of 0.5 s, a busy machine aside"


def opened_hls(server: Server) -> NetworkSource:
    found: list[NetworkSource] = []

    def is_there() -> bool:
        try:
            found.append(NetworkSource(server.url, allow_playlists=True))
        except SourceError:
            return False
        return True

    wait_until(is_there)
    return found[0]


def test_bursts_are_spread_and_a_late_one_shifts_what_follows() -> None:
    pacer = BurstPacer()
    assert [pacer.due_s(stamp_s, 100.0) for stamp_s in (5.0, 5.5, 6.0)] == [100.0, 100.5, 101.0]
    assert pacer.due_s(6.5, 103.0) == 103.0, "late"
    assert pacer.due_s(7.0, 103.0) == 103.5, "as late as the one before it"
    assert pacer.due_s(2.0, 103.5) == 103.5, "the stamps jumped back"
    assert pacer.due_s(None, 104.0) == 104.0


def test_a_stream_without_a_clock_takes_the_times_of_arrival(tmp_path: Path) -> None:
    """A picture every 60 ms, for which FFmpeg invents stamps of 25 per second."""
    options: dict[str, Any] = {"format": "mjpeg", "codec": "mjpeg", "pix_fmt": "yuvj420p"}
    path = write_clip(tmp_path / "a.mjpeg", count=6, **options)
    reader = Reader(av.open(str(path), format="mjpeg"), threading.Event(), name="scope")
    reader._packets = slowed(reader._packets)
    frames = list(read_live(reader, name="scope", silence_s=5))
    steps_s = [late.pts_s - early.pts_s for early, late in pairwise(frames)]
    assert len(frames) == 6 and min(steps_s) >= 0.059
    assert frames[-1].captured_s - frames[0].captured_s == pytest.approx(frames[-1].pts_s, abs=0.1)


def slowed(packets: "Iterator[Packet[VideoStream]]") -> "Iterator[Packet[VideoStream]]":
    for packet in packets:
        time.sleep(0.06)
        yield packet


def test_a_source_that_was_opened_after_the_end_is_not_announced() -> None:
    opened: list[object] = []

    def reopen() -> Camera:
        source.close()
        return Camera()

    source = Reconnecting(Camera(), reopen, on_open=opened.append)
    list(source.frames())
    assert opened == []

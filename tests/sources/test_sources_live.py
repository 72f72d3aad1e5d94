"""Cameras, streams and patterns: nothing here waits longer than it says."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import av.error
import pytest
from media import Sender, number_of, write_clip

from realtime_polyp.packets import Frame
from realtime_polyp.sources import CaptureSource, FileSource, NetworkSource, Paced, PatternSource, SourceError
from realtime_polyp.sources.live import read_live
from realtime_polyp.sources.pattern import Pattern, parse_pattern
from realtime_polyp.sources.reader import Clock, Reader

LIVE = {"rate": 25, "count": 50, "options": {"g": "10", "tune": "zerolatency"}}


def ended_within(run: Callable[[], object], stop: Callable[[], None], *, after_s: float) -> float:
    """Seconds from stop() to the end of run(), which has been going in a thread for after_s by then."""
    ended: list[float] = []
    thread = threading.Thread(target=lambda: (run(), ended.append(time.monotonic())), daemon=True)
    thread.start()
    time.sleep(after_s)
    stopped_s = time.monotonic()
    stop()
    thread.join(20)
    assert ended, "it did not end within 20 s"
    return ended[0] - stopped_s


# --- pattern and pacing


def test_a_pattern_comes_in_real_time() -> None:
    source = PatternSource(Pattern((64, 48), Fraction(50), 0.5))
    begin_s = time.monotonic()
    frames = list(source.frames())
    assert source.live and source.frames_total == len(frames) == 25
    assert 0.45 < time.monotonic() - begin_s < 10
    assert [f.pts_s for f in frames] == pytest.approx([n / 50 for n in range(25)])
    assert all(f.captured_s >= begin_s + f.pts_s for f in frames)
    assert frames[0].image.shape == (48, 64, 3) and (frames[0].image != frames[24].image).any()


def test_a_pattern_stops_at_once() -> None:
    source = PatternSource("pattern:64x48@0.1")
    assert ended_within(lambda: list(source.frames()), source.close, after_s=0.2) < 10


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("pattern", Pattern()),
        ("pattern:640x480", Pattern((640, 480))),
        ("pattern@50", Pattern(rate_hz=Fraction(50))),
        ("pattern:640x480@29.97:3", Pattern((640, 480), Fraction("29.97"), 3.0)),
        ("pattern@30000/1001", Pattern(rate_hz=Fraction(30000, 1001))),
    ],
)
def test_patterns_are_parsed(text: str, given: Pattern) -> None:
    assert parse_pattern(text) == given


@pytest.mark.parametrize("text", ["patterns", "pattern:64x", "pattern:8x8", "pattern@0", "pattern@1/0", "pattern@999"])
def test_bad_patterns_are_refused_by_name(text: str) -> None:
    with pytest.raises(SourceError, match=text):
        parse_pattern(text)


def test_paced_shows_a_recording_in_its_own_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", count=4, times_ms=[0, 40, 240, 280])
    source = Paced(FileSource(path))
    frames = list(source.frames())
    came_s = [f.captured_s - frames[0].captured_s for f in frames]
    assert source.live and source.size == (96, 64)
    assert all(late >= due - 0.005 for late, due in zip(came_s, [0, 0.04, 0.24, 0.28], strict=True))
    assert came_s[-1] < 10


def test_paced_stops_at_once(tmp_path: Path) -> None:
    source = Paced(FileSource(write_clip(tmp_path / "a.mkv", count=2, times_ms=[0, 30000])))
    assert ended_within(lambda: list(source.frames()), source.close, after_s=0.2) < 10


def test_paced_passes_the_warning_on(tmp_path: Path) -> None:
    inner = FileSource(write_clip(tmp_path / "a.mkv", count=1))
    source = Paced(inner)
    inner.warning = "damaged"
    assert source.warning == "damaged"


# --- network


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("live") / "live.ts", **LIVE)  # type: ignore[arg-type]


def read_until_silence(stream: Path, kind: str) -> list[int]:
    """Numbers of the frames that came of three rounds of the clip: UDP and a busy machine may lose some."""
    frames: list[Frame] = []
    with Sender(stream, kind, hold=True, rounds=3, pause_s=0.01) as sender:
        source = NetworkSource(sender.url, open_timeout_s=10, silence_s=0.5)
        assert source.live and source.size == (96, 64)
        with pytest.raises(SourceError, match=r"sent no picture for 0.5 s"):
            frames.extend(source.frames())
    assert all(b.pts_s > a.pts_s for a, b in pairwise(frames))
    return [number_of(f.image) for f in frames]


@pytest.mark.parametrize("kind", ["tcp", "http", "udp"])
def test_streams_are_read_live_up_to_their_last_frame_and_silence_is_an_error(stream: Path, kind: str) -> None:
    assert any(read_until_silence(stream, kind)[-20:] == list(range(30, 50)) for _ in range(5))


def test_the_end_of_a_stream_is_no_failure_but_told(stream: Path) -> None:
    with Sender(stream, "tcp", rounds=2) as sender:
        source = NetworkSource(sender.url, silence_s=2)
        assert list(source.frames())
        assert source.warning is not None and "ended by its sender" in source.warning


def test_close_ends_a_blocked_stream_long_before_its_timeout(stream: Path) -> None:
    with Sender(stream, "tcp", hold=True, rounds=2, pause_s=0) as sender:
        source = NetworkSource(sender.url, silence_s=30)
        assert ended_within(lambda: list(source.frames()), source.close, after_s=0.4) < 10


def test_a_silent_port_is_told_within_the_timeout() -> None:
    begin_s = time.monotonic()
    with pytest.raises(SourceError, match=r"no answer within 0.3 s"):
        NetworkSource("udp://127.0.0.1:9", open_timeout_s=0.3)
    assert time.monotonic() - begin_s < 8  # without a limit of its own: 10 s


@pytest.mark.parametrize("scheme", ["rtsp", "http", "tcp", "rtmp"])
def test_a_refused_connection_is_told_without_the_password(scheme: str) -> None:
    with pytest.raises(SourceError, match="refused") as caught:
        NetworkSource(f"{scheme}://me:secret@127.0.0.1:1/live", open_timeout_s=2)
    assert "secret" not in str(caught.value)


def test_a_recording_over_http_gives_every_frame(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", container_options={"movflags": "faststart"})
    with served(tmp_path) as url:
        source = NetworkSource(f"{url}/a.mp4", open_timeout_s=5)
        assert not source.live
        assert [number_of(f.image) for f in source.frames()] == list(range(12))
        with pytest.raises(SourceError, match="no such stream"):
            NetworkSource(f"{url}/b.mp4", open_timeout_s=5)


def test_what_a_recording_over_http_lacks_is_told(tmp_path: Path) -> None:
    faststart = {"movflags": "faststart"}
    path = write_clip(tmp_path / "a.mov", codec="mjpeg", pix_fmt="yuvj420p", container_options=faststart)
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[4]
        place, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    assert place is not None and data[place : place + 2] == b"\xff\xd8"
    data[place : place + size] = bytes(size)
    path.write_bytes(data)
    with served(tmp_path) as url:
        source = NetworkSource(f"{url}/a.mov", open_timeout_s=5)
        assert [number_of(f.image) for f in source.frames()] == [n for n in range(12) if n != 4]
    assert source.warning is not None
    assert "arrives incomplete: 1 packet could not be decoded (invalid data" in source.warning
    assert source.warning.endswith(" at 0.30 s.")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# --- capture


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(SourceError, match=r"capture device /dev/video77 .*Devices found"):
        CaptureSource(77, open_timeout_s=1)


def test_an_unknown_device_reader_is_named() -> None:
    with pytest.raises(SourceError, match="nonesuch"):
        CaptureSource(0, format="nonesuch")


def test_capture_reads_any_device_reader_of_ffmpeg() -> None:
    source = CaptureSource("testsrc2=size=64x48:rate=25:duration=1", format="lavfi")
    frames = list(source.frames())
    assert source.live and source.size == (64, 48) and source.rate_hz == 25
    assert len(frames) >= 20 and frames[0].image.shape == (48, 64, 3)
    assert frames[0].pts_s == 0.0


class ScriptedPacket:
    """A key picture without a stamp."""

    pts = dts = None
    size, is_keyframe, is_corrupt = 1, True, False

    def __init__(self, name: str) -> None:
        self.name = name


class ScriptedReader:
    """Stands in for a device: each step is a packet, or an error to raise; after the last, it has nothing yet."""

    time_base, period_s, container_name = Fraction(1, 25), 0.04, "v4l2"

    def __init__(self, script: list[object]) -> None:
        self.stop = threading.Event()
        self.freed = False
        self.stream = type("Stream", (), {"sample_aspect_ratio": None})()
        self._script = list(script)

    def packet(self) -> object:
        if self.stop.is_set():
            return None
        step = self._script.pop(0) if self._script else av.error.BlockingIOError(11, "try again")
        if isinstance(step, Exception):
            raise step
        return ScriptedPacket(step) if isinstance(step, str) else step

    def take_aspect(self, _: av.VideoFrame) -> None:
        return None

    def decode(self, packet: ScriptedPacket | None) -> list[av.VideoFrame]:
        if packet is None:
            return []
        if packet.name == "broken":
            raise av.error.InvalidDataError(1, "broken")
        return [av.VideoFrame(64, 48, "rgb24")]

    def free(self) -> None:
        self.freed = True


def scripted(script: list[object], silence_s: float = 0.2) -> tuple[ScriptedReader, Iterator[Frame]]:
    reader = ScriptedReader(script)
    return reader, read_live(reader, name="scope", silence_s=silence_s)  # type: ignore[arg-type]


def test_a_device_with_nothing_yet_is_asked_again() -> None:
    wait = av.error.BlockingIOError(11, "try again")
    reader, frames = scripted([wait, "a", wait, wait, "broken", "b", None])
    assert [f.index for f in frames] == [0, 1]
    assert reader.freed


def test_a_silent_device_is_told_and_freed() -> None:
    reader, frames = scripted(["a"])
    next(frames)
    begin_s = time.monotonic()
    with pytest.raises(SourceError, match=r"scope has sent no picture for 0.2 s"):
        next(frames)
    assert 0.15 < time.monotonic() - begin_s < 10
    assert reader.freed


def test_a_slow_reader_of_frames_is_not_taken_for_silence() -> None:
    _, frames = scripted(["a", "b", None])
    next(frames)
    time.sleep(0.8)
    assert next(frames).index == 1


def test_an_unplugged_device_is_told() -> None:
    _, frames = scripted(["a", av.error.OSError(19, "No such device")])
    next(frames)
    with pytest.raises(SourceError, match="scope stopped delivering pictures: no such device"):
        next(frames)


class LateReader(ScriptedReader):
    """A decoder that holds one picture back, and a read that hands out the last packet when it gives up after 0.2 s."""

    def packet(self) -> object:
        if not self._script:
            raise av.error.ExitError(1, "immediate exit requested")
        if len(self._script) == 1:
            time.sleep(0.3)
        return self._script.pop(0)

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        held, self._held = getattr(self, "_held", None), packet and packet.pts
        if held is None:
            return []
        picture = av.VideoFrame(64, 48, "rgb24")
        picture.pts = held
        return [picture]


def test_before_silence_is_told_the_last_pictures_are_shown() -> None:
    packets = [ScriptedPacket(str(number)) for number in range(3)]
    for number, packet in enumerate(packets):
        packet.pts = number
    frames: list[int] = []
    with pytest.raises(SourceError, match=r"scope has sent no picture for 0.2 s"):
        frames.extend(f.index for f in read_live(LateReader(packets), name="scope", silence_s=0.2))  # type: ignore[arg-type]
    assert frames == [0, 1, 2]


def test_close_ends_a_wait_for_a_device() -> None:
    reader, frames = scripted([], silence_s=30)
    assert ended_within(lambda: list(frames), reader.stop.set, after_s=0.1) < 10


# --- the reader underneath


def test_close_from_another_thread_while_reading_is_safe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", count=30)
    for wait_ms in range(12):
        source = FileSource(path, loop=True)
        assert ended_within(lambda s=source: list(s.frames()), source.close, after_s=wait_ms / 200) < 10  # type: ignore[misc]


def test_a_reader_in_use_is_freed_by_the_last_call(tmp_path: Path) -> None:
    container = av.open(str(write_clip(tmp_path / "a.mkv")))
    reader = Reader(container, threading.Event(), name="a.mkv")
    with reader.hold():
        reader.free()
        assert container.input_was_opened
    assert not container.input_was_opened


# --- the clock


def times(pts: list[int | None], origin: int | None = 0) -> list[float]:
    clock = Clock(Fraction(1, 100), origin, 0.04)
    return [round(clock.at(p), 6) for p in pts]


@pytest.mark.parametrize(
    ("pts", "expected"),
    [
        ([0, 4, 8], [0, 0.04, 0.08]),
        ([50, 54], [0.5, 0.54]),  # joined midway: the origin is the stream's start
        ([None, None, None], [0, 0.04, 0.08]),
        ([0, None, 8], [0, 0.04, 0.08]),
        ([0, 0, 1], [0, 0.01, 0.02]),  # the same time twice, then one already taken
        ([-4, 0, 4], [0, 0.04, 0.08]),
        ([1000, 1004, 0, 4], [10, 10.04, 10.08, 10.12]),  # a clock set back
        ([0, 4, 900000, 900004], [0, 0.04, 0.08, 0.12]),  # and ahead
        ([0, 500], [0, 5]),  # a gap is a gap
    ],
)
def test_times_rise_whatever_the_stamps(pts: list[int | None], expected: list[float]) -> None:
    assert times(pts) == pytest.approx(expected)


def test_without_a_start_the_first_stamp_is_zero() -> None:
    assert times([700, 704], origin=None) == pytest.approx([0, 0.04])

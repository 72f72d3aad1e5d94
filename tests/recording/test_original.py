"""The original picture of a live source: copied packets, encoded pictures, and what has just passed."""

import errno
import os
import threading
import time
from contextlib import nullcontext
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace

import av
import numpy as np
import pytest
from media import Sender, write_clip

from realtime_polyp.packets import Frame
from realtime_polyp.recording.encoder import EncodedPackets
from realtime_polyp.recording.live_original import LiveOriginal, OriginalFile
from realtime_polyp.recording.original import FileOriginal
from realtime_polyp.recording.packets import CopiedPackets, RecentPackets, StoredPacket, can_be_copied
from realtime_polyp.sources import FileSource, NetworkSource, PatternSource

STREAM = {"rate": 25, "count": 50, "container_options": {"mpegts_flags": "resend_headers"}}


def pictures_of(path):
    """{time in ms: image} of a video file."""
    return {round(frame.pts_s * 1000): frame.image for frame in FileSource(path).frames()}


@pytest.mark.parametrize("options", [{"g": "10", "tune": "zerolatency"}, {"g": "12", "bf": "2"}])
def test_packets_of_a_stream_are_copied_as_they_are(tmp_path, options):
    clip = write_clip(tmp_path / "a.ts", options=options, **STREAM)
    with Sender(clip, "tcp") as sender:
        source = NetworkSource(sender.url)
        assert can_be_copied(source.reader)
        original = LiveOriginal(CopiedPackets(source.reader), tmp_path)
        frames = [(frame, original.place(frame)) for frame in source.frames()]
        original.close()
    written = pictures_of(tmp_path / "original.mkv")
    places = {
        round(time_s * 1000): frame for frame, place in frames if (time_s := original.picture_s(place)) is not None
    }
    assert len(places) == len(frames) > 0 and written.keys() >= places.keys()
    assert all((written[time_ms] == frame.image).all() for time_ms, frame in places.items())
    assert original.facts() == {"how": "packets", "codec": "h264", "file": "original.mkv"}


@pytest.mark.parametrize(
    "kind",
    [
        {"format": "mpjpeg", "codec": "mjpeg", "pix_fmt": "yuvj420p"},
        {"format": "h264", "options": {"g": "10", "tune": "zerolatency"}},
    ],
    ids=["motion JPEG", "raw H.264"],
)
def test_pictures_of_a_stream_without_a_clock_are_found_again(tmp_path, kind):
    """They are placed by the times of arrival, as they are shown."""
    clip = write_clip(tmp_path / "a.raw", count=200, **kind)
    with Sender(clip, "tcp") as sender:
        source = NetworkSource(sender.url, probe_s=0.1)
        original = LiveOriginal(CopiedPackets(source.reader), tmp_path)
        frames = [(frame, original.place(frame)) for frame in islice(source.frames(), 40)]
        original.close()
    written = pictures_of(tmp_path / "original.mkv")
    times_s = [original.picture_s(place) for _, place in frames]
    assert len(frames) == 40 and None not in times_s
    assert all((written[round(at * 1000)] == frame.image).all() for at, (frame, _) in zip(times_s, frames, strict=True))


def reader_over(stream):
    """A reader of an open stream, whose packets are tapped by hand."""
    facts = {"time_base": stream.time_base, "period_s": 0.04, "rate_hz": 25}
    return SimpleNamespace(stream=stream, tap=None, hold=lambda: nullcontext(True), **facts)


def test_packets_without_a_timestamp_are_copied(tmp_path):
    """Such as the second fields of interlaced pictures, which later ones refer to."""
    clip = write_clip(tmp_path / "a.ts", options={"g": "10", "tune": "zerolatency"}, **STREAM)
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        reader = reader_over(stream)
        original = LiveOriginal(CopiedPackets(reader), tmp_path)
        for number, packet in enumerate(one for one in container.demux(stream) if one.size):
            if number % 2:
                packet.pts = packet.dts = None
            reader.tap(packet)
        original.close()
    assert len(pictures_of(tmp_path / "original.mkv")) == 50


@pytest.mark.parametrize("back_s", [0.5, 30])
def test_timestamps_that_step_or_jump_back_do_not_end_the_copy(tmp_path, back_s):
    clip = write_clip(tmp_path / "a.ts", options={"g": "10", "tune": "zerolatency"}, **STREAM)
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        reader = reader_over(stream)
        original = LiveOriginal(CopiedPackets(reader), tmp_path)
        for number, packet in enumerate(one for one in container.demux(stream) if one.size):
            back = round(back_s / stream.time_base) if number >= 25 else 0
            packet.pts, packet.dts = packet.pts - back, packet.dts - back
            reader.tap(packet)
        original.close()
    assert len(pictures_of(tmp_path / "original.mkv")) == 50


def test_uncompressed_pictures_are_encoded_nearly_without_loss(tmp_path):
    source = PatternSource("pattern:320x240@25:0.6")
    assert not can_be_copied(source.reader)
    original = LiveOriginal(EncodedPackets(source.size, source.rate_hz, live=True), tmp_path)
    frames = [(frame, original.place(frame)) for frame in source.frames()]
    original.close()
    written = pictures_of(tmp_path / "original.mkv")
    kept = [(frame, original.picture_s(place)) for frame, place in frames if place is not None]
    assert len(written) == len(kept) == 15 - original.dropped and len(kept) > 5
    for frame, time_s in kept:
        difference = written[round(time_s * 1000)].astype(int) - frame.image
        assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("owns_feed", [True, False])
def test_after_a_file_that_cannot_grow_nothing_waits_and_nothing_counts_as_dropped(tmp_path, monkeypatch, owns_feed):
    write = OriginalFile._write

    def on_fat32(self, rest):
        if self._size + len(rest) > 30_000:  # there, 4 GiB
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        write(self, rest)

    monkeypatch.setattr(OriginalFile, "_write", on_fat32)
    feed = EncodedPackets((96, 64), Fraction(25), live=True, keep_ms=10_000)
    original, noise = LiveOriginal(feed, tmp_path, owns_feed=owns_feed), np.random.default_rng(0)
    places = []
    for number in range(30):
        image = noise.integers(0, 255, (64, 96, 3), np.uint8)
        places.append(original.place(Frame(number, number / 25, number / 25, image)))
        feed.settle(5)
    with pytest.raises(OSError, match="too large"):
        original.check()
    assert original.dropped == 0 and not original._queue
    assert (places[-1] is None) == owns_feed  # another's feed goes on, for the recording after this one
    with pytest.raises(OSError, match="too large"):
        original.close()
    feed.finish()


def test_original_that_was_cut_short_plays_up_to_there(tmp_path):
    """Every frame is written at once, so a file that ends anywhere lacks no more than what waits for the encoder."""
    feed = EncodedPackets((96, 64), Fraction(25), live=False)
    original = LiveOriginal(feed, tmp_path)
    random = np.random.default_rng(0)
    sizes = []
    for number in range(60):
        image = random.integers(0, 255, (64, 96, 3), np.uint8)
        while original.place(Frame(number, number / 25, 0.0, image)) is None:
            threading.Event().wait(0.005)
        threading.Event().wait(0.005)
        sizes.append((tmp_path / "original.mkv").stat().st_size)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes((tmp_path / "original.mkv").read_bytes()[: sizes[40]])
    original.close()
    assert max(pictures_of(cut)) >= (40 - 12) * 40  # 10 wait for the encoder at most, one is encoded
    assert len(pictures_of(tmp_path / "original.mkv")) == 60


def a_packet(time_ms, *, key=False, size=100):
    return StoredPacket(bytes(size), time_ms, time_ms, 40, key)


def test_recent_packets_begin_at_the_keyframe_before_what_is_asked_for():
    recent, got = RecentPackets(keep_ms=1000), []
    recent.add(a_packet(-40))  # of no use without a keyframe
    for time_ms in range(0, 4000, 40):
        recent.add(a_packet(time_ms, key=time_ms % 400 == 0))
    first = recent.listen(got.append, back_ms=500)
    assert first and first.is_key and first.time_ms == 3200
    recent.add(a_packet(4000, key=True))
    assert [packet.time_ms for packet in got] == list(range(3200, 4001, 40))
    again = []
    assert recent.listen(again.append, back_ms=10_000).time_ms == 2800  # the group in which the last second begins


def test_recent_packets_are_bounded():
    recent, got = RecentPackets(keep_ms=10**9), []
    for time_ms in range(0, 60_000, 1000):
        recent.add(a_packet(time_ms, key=True, size=8 << 20))
    recent.listen(got.append, back_ms=10**9)
    assert len(got) == 32


class StillFeed:
    """A feed of packets that are there already."""

    is_encoded, dropped, error = False, 0, None

    def __init__(self, stream, packets):
        self.recent, self._stream = RecentPackets(keep_ms=10**9), stream
        for packet in packets:
            self.recent.add(packet)

    def add_stream(self, container):
        return container.add_stream_from_template(self._stream, opaque=True)

    def settle(self, within_s):
        return

    def finish(self):
        return


def test_all_of_a_long_past_is_written_although_more_than_that_may_not_wait(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4", count=40, options={"g": "10", "bf": "0"})
    monkeypatch.setattr("realtime_polyp.recording.live_original._MOST_BYTES", 100)
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        stored = [
            StoredPacket(bytes(one), number * 100, number * 100, 100, one.is_keyframe)
            for number, one in enumerate(packets)
        ]
        original = LiveOriginal(StillFeed(stream, stored), tmp_path, back_s=3.5)
        original.close()
    assert original.dropped == 0 and len(pictures_of(tmp_path / "original.mkv")) == 40


def test_much_of_the_past_lies_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.packets._SPILL_BYTES", 1000)
    recent, got = RecentPackets(keep_ms=5000, folder=tmp_path), []
    for number in range(100):
        recent.add(StoredPacket(bytes([number]) * 200, number * 100, number * 100, 100, number % 5 == 0))
    until_s = time.monotonic() + 20
    while recent._on_disk < 46 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert recent._bytes - recent._disk_bytes <= 1000 and not list(tmp_path.iterdir())
    recent.listen(got.append, back_ms=10**9)
    assert [packet.load() for packet in got] == [bytes([number]) * 200 for number in range(45, 100)]


def test_past_stays_in_memory_where_the_disk_is_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.packets._SPILL_BYTES", 1000)
    recent, got = RecentPackets(keep_ms=10**9, folder=tmp_path / "gone"), []
    for number in range(50):
        recent.add(StoredPacket(bytes(200), number * 100, number * 100, 100, True))
    recent.listen(got.append, back_ms=10**9)
    assert len(got) == 50 and all(len(packet.load()) == 200 for packet in got)


def test_a_format_outlives_its_reader(tmp_path):
    """The memory of a stream is freed when its source is closed, as when it is opened again."""
    with Sender(write_clip(tmp_path / "a.ts", **STREAM), "tcp") as sender:
        source = NetworkSource(sender.url)
        feed = CopiedPackets(source.reader)
        source.close()
        assert not can_be_copied(source.reader)
        original = LiveOriginal(feed, tmp_path)
        assert (original._stream.codec_context.name, original._stream.width) == ("h264", 96)
        original.close()


def test_an_original_that_cannot_begin_leaves_no_thread(tmp_path):
    before = threading.enumerate()
    with pytest.raises(OSError):
        LiveOriginal(EncodedPackets((96, 64), Fraction(25), live=True), tmp_path / "missing" / "folder")
    assert threading.enumerate() == before


def test_a_listener_gets_everything_after_its_keyframe_also_what_is_too_much_to_keep(monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.packets._MOST_BYTES", 1000)
    recent, got, late = RecentPackets(), [], []
    recent.listen(got.append, back_ms=0)
    recent.add(a_packet(-40))
    for time_ms in range(0, 2000, 40):  # 5000 bytes
        recent.add(a_packet(time_ms, key=time_ms == 0))
    assert [packet.time_ms for packet in got] == list(range(0, 2000, 40))
    recent.listen(late.append, back_ms=0)
    recent.add(a_packet(2000))  # what it needs was forgotten
    recent.add(a_packet(2040, key=True))
    assert [packet.time_ms for packet in late] == [2040]


def test_what_was_dropped_before_a_recording_is_not_counted_in_it(tmp_path):
    feed = EncodedPackets((96, 64), Fraction(25), live=True)
    feed.dropped = 5
    original = LiveOriginal(feed, tmp_path)
    feed.dropped += 2
    assert original.dropped == 2
    original.close()


@pytest.mark.parametrize(("waits", "is_still", "kept"), [(False, False, 4), (False, True, 12), (True, False, 12)])
def test_pictures_that_can_wait_for_the_encoder_are_not_left_out(tmp_path, monkeypatch, waits, is_still, kept):
    go, encode = threading.Event(), EncodedPackets._frame_of

    def starts_late(self, image, time_ms):
        go.wait()
        return encode(self, image, time_ms)

    monkeypatch.setattr(EncodedPackets, "_frame_of", starts_late)
    feed = EncodedPackets((96, 64), Fraction(1), live=False, waits=waits)
    threading.Timer(0.5, go.set).start()
    image = np.zeros((64, 96, 3), np.uint8)
    places = [feed.place(Frame(number, number, 0.0, image, is_still=is_still)) for number in range(12)]
    feed.finish()
    found = sum(place is not None for place in places)
    assert found in (kept, min(12, kept + 1)) and feed.dropped == 12 - found  # the first may have left the queue


def test_an_encoder_that_fails_is_told_and_is_no_slow_disk(tmp_path, monkeypatch):
    def fails(self, image, time_ms):
        raise OSError("the encoder is gone")

    monkeypatch.setattr(EncodedPackets, "_frame_of", fails)
    feed = EncodedPackets((96, 64), Fraction(25), live=True)
    original = LiveOriginal(feed, tmp_path)
    assert feed.fits(None, (96, 64)) and not feed.fits(None, (128, 64))
    for number in range(50):
        original.place(Frame(number, number / 25, number / 25, np.zeros((64, 96, 3), np.uint8)))
        feed.settle(20)
    with pytest.raises(OSError, match="the encoder is gone"):
        original.check()
    assert original.dropped == 0 and not feed.fits(None, (96, 64))
    with pytest.raises(OSError, match="the encoder is gone"):
        original.close()


def test_a_copy_that_is_not_complete_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.original._STEP_BYTES", 500)
    clip, folder = tmp_path / "a.MP4", tmp_path / "s"
    clip.write_bytes(bytes(1200))
    folder.mkdir()
    original = FileOriginal(clip, folder, copies=True)
    assert original.step() == original.step() == {}
    assert not (folder / "original.mp4").exists()  # a crash here leaves no part under that name
    with pytest.raises(OSError, match="recording ended too early"):
        original.close()
    assert list(folder.iterdir()) == []


def test_a_copy_is_completed_in_a_folder_that_was_moved(tmp_path):
    clip, folder, moved = tmp_path / "a.mp4", tmp_path / "s", tmp_path / "moved"
    clip.write_bytes(b"1234")
    folder.mkdir()
    original = FileOriginal(clip, folder, copies=True)
    folder.rename(moved)
    while original.step() == {}:
        pass
    original.close()
    assert (moved / "original.mp4").read_bytes() == b"1234"

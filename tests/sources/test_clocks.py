"""Times and counts of pictures: pauses, B-frames in AVI, fields, raw DV, GIF, and sound longer than the picture."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from field_coded import write_field_coded
from media import Sender, number_of, numbered, spoil_bytes, write_clip
from PIL import Image
from test_sources_live import served

from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.sources import FileSource, NetworkSource
from realtime_polyp.sources.index import sound_end_s
from realtime_polyp.sources.opening import open_file
from trainers.video.labels import read_clock

MJPEG: dict[str, Any] = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
REORDERED: dict[str, Any] = {
    "options": {"g": "10", "bf": "3", "preset": "ultrafast", "x264-params": "b-pyramid=normal"}
}
PAUSED_MS = [*range(0, 1000, 40), *range(76000, 77000, 40)]


def numbers(source: FileSource) -> list[int]:
    return [number_of(frame.image) for frame in source.frames()]


def test_a_pause_of_minutes_is_kept_and_is_no_damage(tmp_path: Path) -> None:
    kinds = {"a.mkv": MJPEG, "b.mkv": REORDERED, "a.mp4": REORDERED, "a.flv": REORDERED, "a.mov": MJPEG}
    live = {"live.mkv": MJPEG | {"container_options": {"live": "1"}}}  # without a duration
    for name, options in {**kinds, **live}.items():
        path = write_clip(tmp_path / name, count=50, rate=25, times_ms=PAUSED_MS, **options)
        source = FileSource(path)
        frames = list(source.frames())
        assert [round(frame.pts_s * 1000) for frame in frames] == PAUSED_MS, name
        assert [at for at, frame in enumerate(frames) if not frame.continues] == [0, 25], name
        assert source.warning is None, name
        later = FileSource(path, start_s=60)
        assert [round(frame.pts_s * 1000) for frame in later.frames()] == PAUSED_MS[25:], name
        assert later.warning is None, name
        pictures = PictureFile(path)
        assert number_of(pictures.at(76.4).image) == 35 and number_of(pictures.before(76.0).image) == 24  # type: ignore[union-attr]
        pictures.close()


def test_a_pause_is_kept_in_a_recording_over_the_network(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", count=50, rate=25, times_ms=PAUSED_MS, **REORDERED)
    with served(path.parent) as url:
        source = NetworkSource(f"{url}/{path.name}")
        assert not source.live
        frames = list(source.frames())
    assert [round(frame.pts_s * 1000) for frame in frames] == PAUSED_MS


def test_no_rate_is_stated_of_live_pictures_without_a_clock(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mjpeg", count=40, rate=15, format="mjpeg", **MJPEG)
    with Sender(path, "tcp", rounds=100, pause_s=0.001) as sender:
        source = NetworkSource(sender.url, probe_s=0.2)
        assert source.live and source.rate_hz is None
        source.close()


def test_a_minute_of_lost_bytes_is_damage(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", count=60, rate=1, container_options={"cluster_time_limit": "2000"}, **MJPEG)
    long = write_clip(tmp_path / "b.mkv", count=200, rate=2, container_options={"cluster_time_limit": "2000"}, **MJPEG)
    for one in (path, long):
        spoil_bytes(one, start=0.1, length=int(one.stat().st_size * 0.8))
    source = FileSource(long)
    assert len(list(source.frames())) < 60
    assert source.warning is not None and " s are missing" in source.warning


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
@pytest.mark.parametrize("ticks", [1, 2])
def test_pictures_in_avi_have_even_times(tmp_path: Path, codec: str, ticks: int) -> None:
    path = write_avi(tmp_path / "a.avi", codec, ticks)
    source = FileSource(path)
    assert source.rate_hz == 10 and source.frames_total == 40
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 10 for n in range(40)], abs=1e-6)
    assert source.warning is None
    for start in (1, 12, 30):
        frames = list(FileSource(path, start_s=start / 10).frames())
        assert [(frame.index, number_of(frame.image)) for frame in frames] == [(n, n) for n in range(start, 40)]
        assert frames[0].pts_s == pytest.approx(start / 10, abs=1e-6)
    pictures = PictureFile(path)
    for number in (33, 12, 0, 39):
        assert number_of(pictures.at(number / 10).image) == number  # type: ignore[union-attr]
    assert number_of(pictures.before(3.3).image) == 32  # type: ignore[union-attr]
    pictures.close()
    clock = read_clock(path)
    assert (clock.rate_hz, clock.count) == (10, 40)


@pytest.mark.parametrize("name", ["a.asf", "a.mxf"])
def test_pictures_in_the_order_of_decoding_have_even_times(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name, count=40, rate=25, **REORDERED)
    frames = list(FileSource(path).frames())
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(40)], abs=1e-6)
    for start in (1, 12, 30):
        frames = list(FileSource(path, start_s=start / 25 - 1e-3).frames())
        assert [(frame.index, number_of(frame.image)) for frame in frames] == [(n, n) for n in range(start, 40)]
        assert frames[0].pts_s == pytest.approx(start / 25, abs=1e-6)
    pictures = PictureFile(path)
    assert [number_of(pictures.at(number / 25).image) for number in (33, 12, 0, 39)] == [33, 12, 0, 39]  # type: ignore[union-attr]
    pictures.close()


def write_avi(path: Path, codec: str, ticks: int) -> Path:
    """An AVI file of 10 pictures per second; ticks: of its clock for each picture, of which it lists one."""
    kinds = {"libx264": REORDERED, "mpeg4": {"options": {"bf": "2", "g": "10"}}, "mjpeg": MJPEG}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10 * ticks, options=kinds[codec].get("options", {}))
        stream.width, stream.height, stream.pix_fmt = 96, 64, kinds[codec].get("pix_fmt", "yuv420p")
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = ticks * number, Fraction(1, 10 * ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4", "a.mov", "a.flv"])
def test_field_coded_video_is_counted_by_pictures(tmp_path: Path, name: str) -> None:
    path = write_field_coded(tmp_path / name, [numbered(number, (96, 64)) for number in range(20)])
    source = FileSource(path)
    assert source.frames_total in (20, None) and source.rate_hz == 25
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(20))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(20)], abs=2e-3)
    assert source.warning is None
    later = list(FileSource(path, start_s=0.519).frames())
    assert [(frame.index, number_of(frame.image)) for frame in later] == [(n, n) for n in range(13, 20)]
    clock = read_clock(path)
    assert (clock.rate_hz, clock.count) == (25, 20)


def test_interlaced_pictures_in_one_packet_are_not_taken_for_fields(tmp_path: Path) -> None:
    options = {"g": "10", "bf": "2", "preset": "ultrafast", "x264-params": "tff=1"}
    for name in ("a.mp4", "a.ts"):
        path = write_clip(tmp_path / name, count=20, rate=25, options=options)
        assert (read_clock(path).rate_hz, read_clock(path).count) == (25, 20)
        assert [frame.index for frame in FileSource(path, start_s=0.4).frames()] == list(range(10, 20))
    assert FileSource(tmp_path / "a.mp4").frames_total == 20


def test_pictures_that_an_edit_list_hides_are_not_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", count=30, **REORDERED)
    with av.open(str(path)) as given, av.open(str(tmp_path / "cut.mp4"), "w") as kept:
        stream = given.streams.video[0]
        out = kept.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 15360, packet.dts - 15360
                packet.stream = out
                kept.mux(packet)
    source = FileSource(tmp_path / "cut.mp4")
    shown = numbers(source)
    assert shown == list(range(30 - len(shown), 30)) and len(shown) < 30
    assert source.frames_total == len(shown)
    assert read_clock(tmp_path / "cut.mp4").count == len(shown)


def test_raw_dv_has_its_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.dv", count=3, size=(720, 576), rate=25, codec="dvvideo", format="dv")
    source = FileSource(path)
    assert source.rate_hz == 25
    assert [frame.pts_s for frame in source.frames()] == pytest.approx([0, 0.04, 0.08])


@pytest.mark.parametrize("delay_ms", [None, 0, 50])
def test_a_gif_shows_all_of_its_pictures(tmp_path: Path, delay_ms: int | None) -> None:
    images = [Image.fromarray(numbered(number)) for number in range(6)]
    options = {} if delay_ms is None else {"duration": delay_ms}
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], **options)
    source = FileSource(tmp_path / "a.gif")
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(6))
    assert [frame.pts_s for frame in frames] == pytest.approx([n * (delay_ms or 100) / 1000 for n in range(6)])
    assert source.frames_total == 6
    data = (tmp_path / "a.gif").read_bytes()
    for length in range(20, len(data), 97):  # a cut file never crashes
        (tmp_path / "cut.gif").write_bytes(data[:length])
        try:
            list(FileSource(tmp_path / "cut.gif").frames())
        except ValueError:
            pass


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.wmv"])
def test_sound_may_last_longer_than_the_picture(tmp_path: Path, name: str) -> None:
    source = FileSource(with_sound(tmp_path / name, pictures=20, seconds=6.0))
    assert numbers(source) == list(range(20))
    assert source.warning is None


def test_the_sound_of_a_file_is_no_picture_of_it(tmp_path: Path) -> None:
    silent = write_clip(tmp_path / "a.mp4", count=20)
    assert sound_end_s(open_file(silent), 0.0) == 0.0
    assert sound_end_s(open_file(with_sound(tmp_path / "b.mp4", pictures=20, seconds=6.0)), 0.0) > 5.5


def with_sound(path: Path, *, pictures: int, seconds: float) -> Path:
    """A clip of 10 pictures per second with silence."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("wmv2" if path.suffix == ".wmv" else "libx264", rate=10)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le" if path.suffix == ".wmv" else "aac", rate=8000, layout="mono")
        packets = []
        for number in range(pictures):
            packets += video.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24"))
        packets += video.encode()
        form = sound.codec_context.format.name
        for start in range(0, int(seconds * 8000), 1024):
            samples = np.zeros((1, 1024), np.float32 if "flt" in form else np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
            frame.sample_rate, frame.pts = 8000, start
            packets += sound.encode(frame)
        packets += sound.encode()
        for packet in sorted(
            (one for one in packets if one.size), key=lambda one: float((one.dts or 0) * one.time_base)
        ):
            container.mux(packet)
    return path

"""Recordings joined from pieces whose timestamps begin anew: every picture keeps its own time, also after a seek."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from media import number_of, numbered, write_clip
from numpy.typing import NDArray

from realtime_polyp.review.key_pictures import key_frames
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.sources import FileSource, SourceError
from realtime_polyp.sources.packet_scan import scan_file
from realtime_polyp.sources.pieces import Piece, PieceClock

H264 = {"options": {"g": "5", "bf": "2", "preset": "ultrafast"}}
KINDS: dict[str, dict[str, Any]] = {
    "a.ts": H264,
    "open.ts": {"options": {"g": "5", "bf": "2", "preset": "ultrafast", "x264-params": "open-gop=1"}},
    "a.vob": {"codec": "mpeg2video", "format": "vob", "options": {"g": "5", "bf": "0"}},
    "a.mkv": H264,
    "a.m4v": {"codec": "mpeg4", "format": "m4v", "options": {"g": "5", "bf": "2"}},
}
RATE = {"a.vob": 25}
COUNT = 30
LENGTHS = [(20, 10), (3, 27), (10, 10, 10)]
CASES = [(name, lengths) for name in KINDS for lengths in LENGTHS if name != "a.mkv" or len(lengths) == 2]


def joined(folder: Path, name: str, lengths: tuple[int, ...] = (20, 10)) -> Path:
    """A recording of pieces of these lengths, one written after the other; pictures are numbered through."""
    path, first, data = folder / name, 0, b""
    for length in lengths:
        draw = lambda number, size, first=first: numbered(first + number, size)  # noqa: E731
        piece = write_clip(folder / f"piece.{name}", count=length, rate=RATE.get(name, 10), draw=draw, **KINDS[name])
        data, first = data + piece.read_bytes(), first + length
    path.write_bytes(data)
    return path


def rate_of(name: str) -> int:
    return RATE.get(name, 10)


@pytest.mark.parametrize(("name", "lengths"), CASES)
def test_pieces_follow_each_other_and_nothing_is_damaged(tmp_path: Path, name: str, lengths: tuple[int, ...]) -> None:
    source = FileSource(joined(tmp_path, name, lengths))
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(COUNT))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / rate_of(name) for n in range(COUNT)], abs=2e-3)
    assert source.warning is None


@pytest.mark.parametrize(("name", "lengths"), CASES)
@pytest.mark.parametrize("start", [1, 5, 13, 20, 21, 27])
def test_a_seek_gives_the_picture_of_its_time(tmp_path: Path, name: str, lengths: tuple[int, ...], start: int) -> None:
    source = FileSource(joined(tmp_path, name, lengths), start_s=start / rate_of(name) - 0.002)
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(start, COUNT))
    assert [frame.index for frame in frames] == list(range(start, COUNT))
    assert frames[0].pts_s == pytest.approx(start / rate_of(name), abs=2e-3)
    assert source.warning is None


@pytest.mark.parametrize("name", KINDS)
def test_random_access_gives_the_picture_of_its_time(tmp_path: Path, name: str) -> None:
    file, rate = PictureFile(joined(tmp_path, name)), rate_of(name)
    for number in (25, 2, 21, 19, 20, 7, 29):
        found = file.at(number / rate)
        assert found is not None and number_of(found.image) == number
        before = file.before(number / rate)
        assert before is not None and number_of(before.image) == number - 1
    file.close()


@pytest.mark.parametrize("name", KINDS)
def test_key_pictures_and_the_scan_have_the_same_times(tmp_path: Path, name: str) -> None:
    path, rate = joined(tmp_path, name), rate_of(name)
    for frame in key_frames(path):
        assert frame.pts_s == pytest.approx(number_of(frame.image) / rate, abs=2e-3)
    assert scan_file(path).times_s == pytest.approx([n / rate for n in range(COUNT)], abs=2e-3)


def test_a_picture_of_a_gpu_after_a_seek_into_a_later_piece_has_its_time() -> None:
    """Its packet's number does not come through the decoder."""
    stream = SimpleNamespace(codec_context=SimpleNamespace(is_hwaccel=True))
    reader: Any = SimpleNamespace(
        time_base=Fraction(1, 10), period_s=0.1, container_name="mpegts", ends_s=None, stream=stream
    )
    picture = av.VideoFrame(64, 48, "rgb24")
    picture.pts = 3
    clock = PieceClock(reader, Piece(number=2, first=0, newest=5, begin_s=8.0))
    assert clock.at(picture) == pytest.approx(8.3)
    assert clock.picture_piece == 2


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.ts does not exist"):
        scan_file(tmp_path / "a.ts")


def test_a_clock_that_jumps_ahead_begins_another_piece(tmp_path: Path) -> None:
    parts = []
    for first, start in ((0, 0), (12, 2000), (24, 1000)):  # s; a transport stream's clock says nothing about a pause
        times_ms = [1000 * start + 100 * number for number in range(12)]
        draw = lambda number, size, first=first: numbered(first + number, size)  # noqa: E731
        path = write_clip(tmp_path / "piece.ts", count=12, times_ms=times_ms, draw=draw, **H264)
        parts.append(path.read_bytes())
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(parts))
    for begin in (0, 5, 12, 17, 30):
        source = FileSource(path, start_s=max(0.0, begin / 10 - 0.01))
        frames = list(source.frames())
        assert [(frame.index, number_of(frame.image)) for frame in frames] == [(n, n) for n in range(begin, 36)]
        assert [frame.pts_s for frame in frames] == pytest.approx([n / 10 for n in range(begin, 36)], abs=1e-3)
        assert source.warning is None


@pytest.mark.parametrize("name", ["a.vob", "a.m2v", "a.nut"])
def test_times_that_ffmpeg_makes_up_behind_a_seek_are_not_used(tmp_path: Path, name: str) -> None:
    kinds = {
        "a.vob": {"codec": "mpeg2video", "format": "vob"},
        "a.m2v": {"codec": "mpeg2video", "format": "mpeg2video"},
    }
    options = kinds.get(name, {"codec": "mpeg4"}) | {"options": {"g": "5", "bf": "2"}}
    path = write_clip(tmp_path / name, count=40, rate=25, **options)
    pictures = PictureFile(path)
    for start in range(1, 40, 6):
        frames = list(FileSource(path, start_s=start / 25 - 0.004).frames())
        assert [(frame.index, number_of(frame.image)) for frame in frames] == [(n, n) for n in range(start, 40)]
        found = pictures.at(start / 25)
        assert found is not None and number_of(found.image) == start
    pictures.close()


def test_a_picture_that_lacks_data_at_a_join_is_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", count=20, size=(320, 240), draw=noise, **H264)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3 // 188 * 188] + data)
    source = FileSource(path)
    assert len(list(source.frames())) > 30
    assert source.warning is not None and "incomplete" in source.warning


def noise(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)

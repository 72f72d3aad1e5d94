"""A stream whose pixel aspect changes midway, as where 4:3 and 16:9 recordings are joined."""

import threading
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import Sender, number_of, numbered, write_clip

from realtime_polyp.sources import FileSource, NetworkSource
from realtime_polyp.sources.live import read_live
from realtime_polyp.sources.reader import Reader

NARROW, WIDE = Fraction(16, 15), Fraction(64, 45)  # PAL: 720 x 576 as 4:3 and 16:9
SIZES = {**dict.fromkeys(range(8), (102, 64)), **dict.fromkeys(range(10, 18), (137, 64))}  # of 96 x 64 stored pixels


def write_joined(path: Path, *, codec: str = "libx264", aspects: tuple[Fraction | None, ...] = (NARROW, WIDE)) -> Path:
    """Pieces of 8 pictures at 10 Hz, a second apart, in one stream; B-frames delay the decoder's pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for place, aspect in enumerate(aspects):
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = 96, 64, "yuv420p"  # type: ignore[attr-defined]
            encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)  # type: ignore[attr-defined]
            encoder.options = {"bf": "2"}
            if aspect is not None:
                encoder.sample_aspect_ratio = aspect  # type: ignore[attr-defined]
            for number in range(9):
                frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24") if number < 8 else None
                if frame is not None:
                    frame.pts, frame.time_base = 10 * place + number, Fraction(1, 10)
                for packet in encoder.encode(frame):  # type: ignore[attr-defined]
                    packet.stream = stream
                    container.mux(packet)
    return path


def sizes_of(source: FileSource) -> dict[int, tuple[int, int]]:
    """Width and height as shown at each time, 0.1 s."""
    return {round(10 * frame.pts_s): (frame.image.shape[1], frame.image.shape[0]) for frame in source.frames()}


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_each_picture_has_its_own_aspect(codec: str, tmp_path: Path) -> None:
    path = write_joined(tmp_path / "a.ts", codec=codec)
    assert [number_of(frame.image) for frame in FileSource(path).frames()] == [*range(8), *range(8)]
    assert sizes_of(FileSource(path)) == SIZES


@pytest.mark.parametrize("start", [1, 7, 10, 13])
def test_also_after_a_seek(start: int, tmp_path: Path) -> None:
    source = FileSource(write_joined(tmp_path / "a.ts"), start_s=start / 10)
    assert source.size == SIZES[start]
    assert sizes_of(source) == {number: size for number, size in SIZES.items() if number >= start}


def test_also_of_a_live_stream(tmp_path: Path) -> None:
    reader = Reader(av.open(str(write_joined(tmp_path / "a.ts"))), threading.Event(), name="scope")
    sizes = [frame.image.shape[1::-1] for frame in read_live(reader, name="scope", silence_s=5)]
    assert sizes == list(SIZES.values())


def test_a_stream_says_the_size_in_which_it_is_shown(tmp_path: Path) -> None:
    options = {"g": "10", "tune": "zerolatency"}
    path = write_clip(tmp_path / "a.ts", count=30, rate=25, aspect=WIDE, options=options)
    with Sender(path, "tcp", rounds=3) as sender:
        source = NetworkSource(sender.url, open_timeout_s=10, probe_s=0.5)
        frames = source.frames()
        assert source.size == next(frames).image.shape[1::-1] == (137, 64)
        source.close()
        assert list(frames) == []


def test_a_piece_without_an_aspect_is_square(tmp_path: Path) -> None:
    path = write_joined(tmp_path / "a.ts", aspects=(WIDE, None, NARROW))
    assert list(sizes_of(FileSource(path)).values()) == [(137, 64)] * 8 + [(96, 64)] * 8 + [(102, 64)] * 8


def test_a_container_s_own_aspect_holds(tmp_path: Path) -> None:
    """MPEG-2 stores the picture's aspect, roughly: 221:150 pixels. QuickTime stores 16:11, and 96 * 16 / 11 is 140."""
    path = write_clip(tmp_path / "a.mov", codec="mpeg2video", rate=25, aspect=Fraction(16, 11))
    assert {frame.image.shape for frame in FileSource(path).frames()} == {(64, 140, 3)}

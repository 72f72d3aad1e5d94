import gc
import os
import random
from fractions import Fraction
from pathlib import Path

import pytest
from av.video.frame import VideoFrame
from media import (
    blank_pictures,
    cut_file,
    number_of,
    numbered,
    released,
    spoil_bytes,
    write_clip,
    write_sound,
    write_with_cover,
)

from realtime_polyp.packets import Frame
from realtime_polyp.sources import FileSource, SourceError

FFV1 = {"codec": "ffv1", "pix_fmt": "bgr0"}
ALL_KEYS = {"g": "1"}
NO_REORDERING = {"g": "10", "bf": "0", "qp": "0"}

CONTAINERS = {
    "a.mp4": {},
    "a.mkv": {},
    "a.ts": {},
    "a.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "a.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "a.mov": {"codec": "mpeg4"},
    "a.mpg": {"codec": "mpeg2video", "rate": 25},
    "a.h264": {"format": "h264"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
}


def read(path: Path, **options: object) -> list[Frame]:
    return list(FileSource(path, **options).frames())  # type: ignore[arg-type]


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.image) for frame in frames]


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_frame_of_any_container_in_order_at_its_time(tmp_path: Path, name: str) -> None:
    options = CONTAINERS[name]
    source = FileSource(write_clip(tmp_path / name, **options))
    frames = list(source.frames())
    rate = options.get("rate", 10)
    assert numbers(frames) == list(range(12))
    assert [f.index for f in frames] == list(range(12))
    assert [f.pts_s for f in frames] == pytest.approx([n / rate for n in range(12)], abs=1e-3)
    assert source.warning is None
    assert source.rate_hz == rate
    assert source.size == (96, 64) and not source.live


@pytest.mark.parametrize("count", [1, 2, 7])
def test_short_videos_give_all_their_frames(tmp_path: Path, count: int) -> None:
    source = FileSource(write_clip(tmp_path / "short.mp4", count=count))
    assert source.frames_total == count
    assert numbers(list(source.frames())) == list(range(count))
    assert source.warning is None


@pytest.mark.parametrize("pix_fmt", ["gray", "bgr0", "gbrp10le", "yuv420p10le", "yuv444p", "gray16le", "yuva420p"])
@pytest.mark.parametrize("size", [(97, 65), (96, 64)])
def test_pixel_formats_and_odd_sizes(tmp_path: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    source = FileSource(write_clip(tmp_path / "a.mkv", count=3, size=size, codec="ffv1", pix_fmt=pix_fmt))
    frames = list(source.frames())
    assert numbers(frames) == [0, 1, 2]
    assert source.size == size and frames[0].image.shape == (size[1], size[0], 3)
    assert frames[0].image.dtype == "uint8" and frames[0].image.flags.c_contiguous


def test_variable_frame_rate_keeps_the_exact_times(tmp_path: Path) -> None:
    times_ms = [0, 33, 100, 101, 400, 1000, 1040, 1050]
    frames = read(write_clip(tmp_path / "vfr.mkv", count=8, times_ms=times_ms, options={"bf": "0"}))
    assert [f.pts_s for f in frames] == [t / 1000 for t in times_ms]


def test_a_stream_that_starts_late_is_timed_from_its_own_start(tmp_path: Path) -> None:
    frames = read(write_clip(tmp_path / "late.mkv", count=3, times_ms=[5000, 5100, 5200], **FFV1))
    assert [f.pts_s for f in frames] == pytest.approx([0, 0.1, 0.2])


def test_sound_is_ignored(tmp_path: Path) -> None:
    assert numbers(read(write_clip(tmp_path / "a.mp4", audio=True))) == list(range(12))


def test_the_clip_is_chosen_not_its_cover(tmp_path: Path) -> None:
    source = FileSource(write_with_cover(tmp_path / "cover.mp4"))
    assert source.size == (96, 64)
    assert numbers(list(source.frames())) == list(range(12))


def test_frames_can_be_read_once(tmp_path: Path) -> None:
    source = FileSource(write_clip(tmp_path / "a.mkv", **FFV1))
    list(source.frames())
    with pytest.raises(SourceError, match="read already"):
        next(source.frames())


# --- a part of a file, and loops


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.h264"])
@pytest.mark.parametrize("first", [1, 17, 29])
def test_start_and_end_are_exact(tmp_path: Path, name: str, first: int) -> None:
    path = write_clip(tmp_path / name, count=30, **(CONTAINERS[name] | {"options": {"g": "7"}}))  # type: ignore[arg-type]
    frames = read(path, start_s=first / 10, end_s=first / 10 + 0.3)
    assert numbers(frames) == list(range(30))[first : first + 3]
    assert [f.pts_s for f in frames] == pytest.approx([n / 10 for n in range(30)][first : first + 3])
    assert [f.index for f in frames] == list(range(30))[first : first + 3]


@pytest.mark.parametrize("name", ["vfr.mkv", "vfr.mp4"])
@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "2", "g": "5"}, {"g": "1"}])
def test_the_index_of_a_variable_rate_file_is_counted(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    times_ms = [0, 33, 100, 101, 400, 1000, 1040, 1050, 1500, 1510, 1777, 1800, 1913, 2000, 2100, 2150, 2600, 2601]
    path = write_clip(tmp_path / name, count=len(times_ms), times_ms=times_ms, options=options)
    for first, time_ms in enumerate(times_ms):
        frames = read(path, start_s=time_ms / 1000)
        assert [f.index for f in frames] == numbers(frames) == list(range(first, len(times_ms)))


def test_frames_are_marked_where_they_do_not_continue_the_one_before(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "gap.mkv", count=4, times_ms=[0, 1000, 2001, 2100], options={"bf": "0"})
    assert [f.continues for f in read(path)] == [False, True, False, True]


def test_a_start_between_frames_gives_the_next_one(tmp_path: Path) -> None:
    assert numbers(read(write_clip(tmp_path / "a.mp4"), start_s=0.51))[0] == 6


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({"start_s": -1.0}, "0 s or later, got -1 s"),
        ({"start_s": float("nan")}, "got nan s"),
        ({"start_s": 2.0, "end_s": 1.0}, "after the start at 2 s, got 1 s"),
        ({"start_s": 1.0, "end_s": 1.0}, "after the start at 1 s, got 1 s"),
        ({"end_s": float("nan")}, "got nan s"),
        ({"start_s": 5.0}, "no frame at or after 5 s; it lasts 1.20 s"),
        ({"start_s": 1e300}, r"no frame at or after 1e\+300 s; it lasts 1.20 s"),
        ({"start_s": 0.51, "end_s": 0.55}, "no frame at or after 0.51 s and before 0.55 s"),
    ],
)
def test_impossible_spans_are_refused_with_their_values(tmp_path: Path, span: dict[str, float], message: str) -> None:
    with released(write_clip(tmp_path / "a.mp4")) as path, pytest.raises(SourceError, match=message):
        FileSource(path, **span)  # type: ignore[arg-type]


def test_a_loop_keeps_index_and_time_rising(tmp_path: Path) -> None:
    source = FileSource(write_clip(tmp_path / "a.mp4", count=5), start_s=0.2, loop=True)
    frames = [frame for frame, _ in zip(source.frames(), range(8), strict=False)]
    source.close()
    assert numbers(frames) == [2, 3, 4, 2, 3, 4, 2, 3]
    assert [f.index for f in frames] == list(range(2, 10))
    assert [f.pts_s for f in frames] == pytest.approx([0.2 + n / 10 for n in range(8)])
    assert [f.continues for f in frames] == [False, True, True, False, True, True, False, True]


def test_a_loop_over_a_file_that_lost_its_pictures_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FileSource(write_clip(tmp_path / "a.mp4", count=5), loop=True)
    blank_pictures(write_clip(tmp_path / "blank.mp4", count=5)).replace(tmp_path / "a.mp4")
    reopen, passes = FileSource._reopen, list[FileSource]()

    def count(self: FileSource) -> None:
        passes.append(self)
        assert len(passes) < 9, "it goes round for ever"
        reopen(self)

    monkeypatch.setattr(FileSource, "_reopen", count)
    frames = source.frames()
    assert numbers([next(frames) for _ in range(5)]) == list(range(5))
    with pytest.raises(SourceError, match=r"a\.mp4 cannot be read again: no frame of it can be decoded"):
        next(frames)


# --- orientation and shape


def test_wide_pixels_widen_and_tall_pixels_heighten(tmp_path: Path) -> None:
    wide = FileSource(write_clip(tmp_path / "wide.mp4", count=1, aspect=Fraction(4, 3)))
    tall = FileSource(write_clip(tmp_path / "tall.mp4", count=1, aspect=Fraction(3, 4)))
    assert wide.size == (128, 64) and next(wide.frames()).image.shape == (64, 128, 3)
    assert tall.size == (96, 85) and next(tall.frames()).image.shape == (85, 96, 3)


# --- damage


def noisy_clip(path: Path, **options: object) -> Path:
    """40 frames: with NO_REORDERING lossless and a key every 10, so a share of the bytes is a share of the frames."""
    return write_clip(path, count=40, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cut.mkv", {"options": NO_REORDERING}),
        ("cut.mp4", {"options": NO_REORDERING, "container_options": {"movflags": "faststart"}}),
        ("cut.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    ],
)
def test_a_cut_file_gives_what_is_left_and_a_warning(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    with released(cut_file(noisy_clip(tmp_path / name, **options), 0.7)) as path:
        source = FileSource(path)
        frames = list(source.frames())
    assert 10 < len(frames) < 40
    assert numbers(frames[:-1]) == list(range(len(frames) - 1))
    assert source.warning is not None
    assert source.warning.startswith(f"{name} is damaged after ")
    assert f"({len(frames)} frames could be read)" in source.warning


@pytest.mark.parametrize("name", ["a.ts", "a.mp4"])
def test_a_file_that_is_moved_while_it_is_read_is_read_to_its_end(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / name)
    source = FileSource(path)
    path.rename(tmp_path / "elsewhere")
    assert numbers(list(source.frames())) == list(range(12))
    assert source.warning is None


def test_a_cut_file_that_is_deleted_while_it_is_read_is_told_as_any_other(tmp_path: Path) -> None:
    path = cut_file(noisy_clip(tmp_path / "cut.mkv", options=NO_REORDERING), 0.7)
    source = FileSource(path)
    path.unlink()
    assert len(list(source.frames())) > 10
    assert source.warning is not None and "it should last 4.00 s but ends early" in source.warning


@pytest.mark.parametrize("name", ["spoilt.mp4", "spoilt.mkv", "spoilt.ts"])
def test_spoilt_bytes_cost_a_few_frames_and_are_told(tmp_path: Path, name: str) -> None:
    source = FileSource(spoil_bytes(noisy_clip(tmp_path / name, options=NO_REORDERING), start=0.4, length=400))
    frames = list(source.frames())
    assert 10 < len(frames) <= 40
    times = [f.pts_s for f in frames]
    assert times == sorted(set(times))
    assert source.warning is not None and "is damaged after" in source.warning


def test_spoilt_bytes_anywhere_never_crash(tmp_path: Path) -> None:
    original = noisy_clip(tmp_path / "a.mkv", options=NO_REORDERING).read_bytes()
    for seed in range(30):
        path = tmp_path / "spoilt.mkv"
        path.write_bytes(original)
        try:
            frames = read(spoil_bytes(path, start=seed / 30, length=60, seed=seed))
        except SourceError as error:
            assert str(path) in str(error)
        else:
            assert frames


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.mp4", "does not exist"),
        ("folder", "is a folder, not a video"),
        ("notes.txt", "is a text file"),
        ("notes.mp4", "is not a video that can be read"),
        ("empty.mp4", r"is empty \(0 bytes\)"),
        ("sound.m4a", "has no video: its streams are audio"),
        ("unfinished.mp4", "was not finished"),
        ("nothing.mp4", "no frame that can be decoded"),
    ],
)
def test_what_is_no_video_is_refused_in_one_sentence_with_its_path(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("polyp in the caecum\n" * 100)
    (tmp_path / "notes.mp4").write_bytes(random.Random(0).randbytes(3000))  # some bytes look like other formats
    (tmp_path / "empty.mp4").touch()
    write_sound(tmp_path / "sound.m4a")
    cut_file(write_clip(tmp_path / "unfinished.mp4"), 0.5)
    blank_pictures(write_clip(tmp_path / "nothing.mp4"))
    with released(tmp_path / name) as path, pytest.raises(SourceError, match=message) as caught:
        FileSource(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).count("\n") == 0


# --- closing


def test_the_file_is_released_at_the_end_and_on_leaving_early(tmp_path: Path) -> None:
    with released(write_clip(tmp_path / "a.mp4")) as path:
        read(path)
    with released(path):
        frames = FileSource(path).frames()
        next(frames)
        frames.close()  # type: ignore[attr-defined]
    with released(path):
        source = FileSource(path)
        source.close()
        assert list(source.frames()) == []


def test_close_ends_the_frames(tmp_path: Path) -> None:
    with released(write_clip(tmp_path / "a.mp4")) as path:
        source = FileSource(path, loop=True)
        frames = source.frames()
        next(frames)
        source.close()
        assert list(frames) == []


def test_memory_stays_level_over_many_frames(tmp_path: Path) -> None:
    def resident_mib() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    path = write_clip(tmp_path / "a.mkv", count=60, size=(320, 240), options={"preset": "ultrafast"})
    source = FileSource(path, loop=True)
    frames = source.frames()
    for _ in range(200):
        next(frames)
    before = resident_mib()
    for _ in range(2000):  # 440 MiB of pictures
        next(frames)
    source.close()
    assert resident_mib() < before + 20


def test_no_picture_waits_for_the_garbage_collector(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", size=(112, 80))
    gc.collect()
    gc.disable()
    try:
        read(path)
        left = [o for o in gc.get_objects() if type(o) is VideoFrame and o.width == 112]
    finally:
        gc.enable()
    assert left == []


def test_numbered_pictures_carry_their_number() -> None:
    assert [number_of(numbered(n, (97, 65))) for n in range(64)] == list(range(64))

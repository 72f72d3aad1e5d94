import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from interlaced_toys import combed_share, frame_of, luma_of, scene, weave, write_interlaced
from media import write_clip

from realtime_polyp.packets import Frame
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.sources import FileSource
from realtime_polyp.sources.combing import measure_combing
from realtime_polyp.sources.deinterlace import Deinterlacer, Mode, SimpleFilter
from realtime_polyp.sources.live import read_all, read_live
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.reader import Reader

MOMENTS = range(6)


def error(picture: np.ndarray, truth: np.ndarray) -> float:
    """Mean difference, levels of 255."""
    return float(np.abs(picture.astype(int) - truth).mean())


def test_the_toy_is_combed_and_its_moments_are_not() -> None:
    assert combed_share(weave(3)) > 0.04
    assert combed_share(scene(3)) < 0.001


@pytest.mark.parametrize("flags", ["tff", "bff"])
def test_flagged_pictures_show_the_moment_of_their_first_field(flags: str) -> None:
    deinterlace = Deinterlacer()
    for moment in MOMENTS:
        filled = luma_of(deinterlace(frame_of(weave(moment, top_first=flags == "tff"), flags)))
        assert deinterlace.is_active
        assert combed_share(filled) < 0.005
        assert error(filled, scene(moment)) < 2 < error(weave(moment), scene(moment))


@pytest.mark.parametrize("top_first", [True, False])
def test_combs_overrule_flags_and_tell_which_field_comes_first(top_first: bool) -> None:
    deinterlace = Deinterlacer()
    for moment in MOMENTS:
        filled = luma_of(deinterlace(frame_of(weave(moment, top_first=top_first))))
        assert combed_share(filled) < 0.005
        if moment:
            assert deinterlace.interlacing.top_first == top_first
            assert error(filled, scene(moment)) < 2


def test_combs_that_begin_later_are_removed_from_the_first_one_on() -> None:
    deinterlace = Deinterlacer()
    for moment in MOMENTS:
        assert deinterlace(still := frame_of(weave(moment, speed=0))) is still
    assert combed_share(luma_of(deinterlace(frame_of(weave(1))))) < 0.005


def test_what_stands_still_keeps_all_its_lines() -> None:
    deinterlace = Deinterlacer()
    still = weave(0, speed=0)
    for _ in range(3):
        filled = luma_of(deinterlace(frame_of(still, "tff")))
    assert deinterlace.is_active and np.array_equal(filled, still)


def test_progressive_pictures_are_not_touched() -> None:
    deinterlace = Deinterlacer()
    for moment in MOMENTS:
        frame = frame_of(scene(moment))
        assert deinterlace(frame) is frame and not deinterlace.is_active and deinterlace.second_field() is None


def test_still_horizontal_lines_are_no_combs() -> None:
    lines = np.full((128, 192), 60, np.uint8)
    lines[::2] = 180
    deinterlace = Deinterlacer()
    assert measure_combing(frame_of(lines), None).combed == 1
    deinterlace.set_before(frame_of(lines))
    for _ in range(4):
        assert deinterlace(frame := frame_of(lines)) is frame


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "p010le", "p016le"])
def test_combs_are_measured_in_levels_of_255_whatever_the_depth(pix_fmt: str) -> None:
    lines = np.full((128, 192), 60, np.uint8)
    lines[::2] = 61
    assert measure_combing(frame_of(lines, pix_fmt=pix_fmt), None).combed == 0
    lines[::2] = 80
    assert measure_combing(frame_of(lines, pix_fmt=pix_fmt), None).combed == 1


def test_a_first_picture_that_looks_combed_decides_nothing_about_the_next_ones() -> None:
    lines = np.full((128, 192), 60, np.uint8)
    lines[::2] = 180
    deinterlace = Deinterlacer()
    assert deinterlace(first := frame_of(lines)) is not first
    for _ in range(3):
        assert deinterlace(frame := frame_of(lines)) is frame


def test_still_lines_at_the_start_are_no_combs_from_the_second_picture_on() -> None:
    lines = np.full((128, 192), 60, np.uint8)
    lines[::2] = 180
    deinterlace = Deinterlacer()
    active = [deinterlace(frame := frame_of(lines)) is not frame for _ in range(4)]
    assert active[1:] == [False, False, False]


def test_pictures_that_are_stored_upside_down_are_no_failure() -> None:
    deinterlace = Deinterlacer("field-rate")
    for moment in MOMENTS:
        frame = SimpleFilter(like := frame_of(weave(moment), "tff"), "vflip", "").push(like)[0]
        assert frame.planes[0].line_size < 0
        assert luma_of(deinterlace(frame)).shape == (128, 192)
        deinterlace.second_field()


def test_progressive_video_that_is_flagged_as_interlaced_is_soon_left_whole() -> None:
    deinterlace = Deinterlacer()
    frames = [frame_of(scene(moment), "tff") for moment in range(4)]
    active = [deinterlace(frames[number % 4]) is not frames[number % 4] for number in range(120)]
    assert active[:90] == [True] * 90 and not any(active[-10:])
    assert combed_share(luma_of(deinterlace(frame_of(weave(9), "tff")))) < 0.005  # flags count again


def test_video_that_is_flagged_as_progressive_is_soon_left_whole_after_its_last_combs() -> None:
    deinterlace = Deinterlacer()
    for moment in MOMENTS:
        deinterlace(frame_of(weave(moment)))
    frames = [frame_of(scene(moment)) for moment in range(4)]
    active = [deinterlace(frames[number % 4]) is not frames[number % 4] for number in range(120)]
    assert all(active[:90]) and not any(active[-10:])


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "nv12"])
@pytest.mark.parametrize("flags", ["tff", "bff", "prog"])
def test_the_second_field_is_half_a_period_later(flags: str, pix_fmt: str) -> None:
    deinterlace = Deinterlacer("field-rate")
    for moment in MOMENTS:
        first = luma_of(deinterlace(frame_of(weave(moment, top_first=flags != "bff"), flags, pix_fmt)))
        second = deinterlace.second_field()
        assert second is not None
        if moment:
            assert error(first, scene(moment)) < 2 and error(luma_of(second), scene(moment + 0.5)) < 2
            assert combed_share(luma_of(second)) < 0.005


def test_off_leaves_combs() -> None:
    deinterlace = Deinterlacer("off")
    frame = frame_of(weave(1), "tff")
    assert deinterlace(frame) is frame and not deinterlace.is_active


def test_any_picture_alone_is_as_it_is_in_order() -> None:
    frames = [frame_of(weave(moment), "tff") for moment in MOMENTS]
    in_order = Deinterlacer()
    expected = [luma_of(in_order(frame)).copy() for frame in frames]
    alone = Deinterlacer()
    for number in (4, 2, 3, 5):
        alone.set_before(frames[number - 1])
        assert np.array_equal(luma_of(alone(frames[number])), expected[number])


@pytest.mark.parametrize("pix_fmt", ["nv12", "yuv422p10le", "yuyv422", "gray", "rgb24"])
def test_every_pixel_format_is_de_interlaced(pix_fmt: str) -> None:
    to_rgb = RgbConverter()
    for moment in MOMENTS:
        image = to_rgb(frame_of(weave(moment), pix_fmt=pix_fmt))
    truth = RgbConverter()(frame_of(scene(moment)))
    assert to_rgb.conversions == ("de-interlaced",)
    assert error(image, truth) < 3 and combed_share(image[..., 1]) < 0.005


def test_pictures_of_a_gpu_are_not_handed_on_with_combs() -> None:
    to_rgb = RgbConverter()
    for moment in MOMENTS:
        frame = frame_of(weave(moment), pix_fmt="nv12")
        frame.colorspace = 1
        to_rgb(frame)
    assert to_rgb.planes(frame) is None and RgbConverter().planes(frame) is not None


def test_a_change_of_size_begins_anew() -> None:
    deinterlace = Deinterlacer()
    for size in ((192, 128), (128, 96), (192, 128), (16, 4)):
        for moment in range(2):
            frame = deinterlace(frame_of(weave(moment, size=size), "tff"))
            assert (frame.width, frame.height) == size
            assert size == (16, 4) or combed_share(luma_of(frame)) < 0.005


@pytest.mark.parametrize("size", [(8, 8), (16, 14), (17, 15), (1, 1)])
def test_tiny_pictures_are_no_failure(size: tuple[int, int]) -> None:
    luma = np.full(size[::-1], 100, np.uint8)
    assert measure_combing(frame_of(luma), frame_of(luma)).combed == 0
    assert Deinterlacer()(frame_of(luma)) is not None


def test_a_flagged_file_is_de_interlaced_at_its_own_times(tmp_path: Path) -> None:
    frames = list(FileSource(write_interlaced(tmp_path / "a.mp4")).frames())
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(12)])
    assert {frame.conversions for frame in frames} == {("de-interlaced",)}
    assert max(combed_share(frame.image[..., 1]) for frame in frames) < 0.01


def test_a_file_whose_flags_lie_is_de_interlaced(tmp_path: Path) -> None:
    frames = list(FileSource(write_interlaced(tmp_path / "a.mp4", flagged=False)).frames())
    assert max(combed_share(frame.image[..., 1]) for frame in frames) < 0.01


def test_off_shows_a_file_as_it_is_stored(tmp_path: Path) -> None:
    frames = list(FileSource(write_interlaced(tmp_path / "a.mp4"), deinterlace="off").frames())
    assert min(combed_share(frame.image[..., 1]) for frame in frames) > 0.03
    assert {frame.conversions for frame in frames} == {()}


@pytest.mark.parametrize("flagged", [True, False])
def test_the_rate_of_fields_doubles_frames_and_their_numbers(tmp_path: Path, flagged: bool) -> None:
    path = write_interlaced(tmp_path / "a.mp4", flagged=flagged)
    source = FileSource(path, deinterlace="field-rate")
    assert (source.rate_hz, source.frames_total) == (50, 24)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(24))
    assert [frame.pts_s for frame in frames] == pytest.approx([n / 50 for n in range(24)])
    assert [frame.stamp_s for frame in frames] == pytest.approx([n / 50 for n in range(24)])
    truth = RgbConverter()(frame_of(scene(4.5)))
    assert error(frames[9].image, truth) < 3 and error(frames[8].image, truth) > 4


def test_the_rate_of_fields_changes_nothing_of_progressive_video(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", count=5)
    source = FileSource(path, deinterlace="field-rate")
    plain = FileSource(path)
    assert source.rate_hz == plain.rate_hz
    assert [frame.index for frame in source.frames()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("mode", ["auto", "field-rate"])
def test_pictures_after_a_seek_and_in_the_review_are_the_same(tmp_path: Path, mode: Mode) -> None:
    path = write_interlaced(tmp_path / "a.mp4", count=14)
    frames = list(FileSource(path, deinterlace=mode).frames())
    later = list(FileSource(path, deinterlace=mode, start_s=6 / 25).frames())
    pictures = PictureFile(path)
    assert [frame.index for frame in later] == [frame.index for frame in frames[-len(later) :]]
    for frame, same in zip(later, frames[-len(later) :], strict=True):
        found = pictures.at(same.stamp_s or 0.0)
        assert np.array_equal(frame.image, same.image)
        assert found is not None and np.array_equal(found.image, same.image)
    pictures.close()


def test_progressive_pictures_that_are_shown_twice_are_found_twice_in_the_review(tmp_path: Path) -> None:
    """Film in a file that says it is interlaced."""
    path = write_interlaced(tmp_path / "a.mp4", of=scene)
    frames = list(FileSource(path, deinterlace="field-rate").frames())
    pictures = PictureFile(path, deinterlace="field-rate")
    found = [pictures.at(frame.stamp_s or 0.0) for frame in frames]
    assert len(found) == 24 and all(one is not None for one in found)
    assert all(np.array_equal(one.image, frame.image) for one, frame in zip(found, frames, strict=True) if one)
    pictures.close()


@pytest.mark.parametrize("read", [read_live, read_all])
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_live_pictures_are_de_interlaced(tmp_path: Path, read: Callable[..., Iterator[Frame]], mode: Mode) -> None:
    path = write_interlaced(tmp_path / "a.ts")
    reader = Reader(av.open(str(path)), threading.Event(), name="a")
    frames = list(read(reader, name="a", silence_s=30.0, deinterlace=mode))
    assert frames and {frame.conversions for frame in frames} == {("de-interlaced",) if mode == "auto" else ()}
    assert (max(combed_share(frame.image[..., 1]) for frame in frames) > 0.03) == (mode == "off")


def test_a_stream_is_de_interlaced_without_a_delay(tmp_path: Path) -> None:
    """Each picture comes out of its own packet: none waits for the one after it."""
    path = write_interlaced(tmp_path / "a.ts", flagged=False)
    with av.open(str(path)) as container:
        to_rgb = RgbConverter()
        for count, packet in enumerate(container.demux(video=0)):
            images = [to_rgb(picture) for picture in packet.decode()]
            assert len(images) == 1 or count > 9

"""RGB by FFmpeg's filter: the scaler's bytes, in memory that is used again."""

from collections.abc import Callable

import av
import av.error
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from realtime_polyp.nv12 import MATRICES
from realtime_polyp.sources import picture, rgb_filter
from realtime_polyp.sources.deinterlace import SimpleFilter
from realtime_polyp.sources.picture import RgbConverter, _matrix
from realtime_polyp.sources.rgb_filter import RgbFilter

BT709, UNTAGGED, BT601, SMPTE170M = 1, 2, 5, 6
UNKNOWN, LIMITED, FULL = 0, 1, 2


def noise(size: tuple[int, int], pix_fmt: str, matrix: int, colour_range: int, seed: int = 0) -> av.VideoFrame:
    frame = av.VideoFrame(*size, pix_fmt)
    frame.colorspace, frame.color_range = matrix, colour_range
    rng = np.random.default_rng(seed)
    for plane in frame.planes:
        plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
    return frame


def by_scaler(frame: av.VideoFrame) -> np.ndarray:
    scaled = VideoReformatter().reformat(
        frame, frame.width, frame.height, "rgb24", src_colorspace=_matrix(frame), dst_color_range=FULL, threads=1
    )
    return scaled.to_ndarray()


@pytest.mark.parametrize("size", [(64, 48), (98, 66), (720, 576), (1280, 720), (1920, 1080)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize("matrix", [BT709, UNTAGGED, BT601, SMPTE170M])
@pytest.mark.parametrize("colour_range", [UNKNOWN, LIMITED, FULL])
def test_the_bytes_are_those_of_the_scaler(size: tuple[int, int], pix_fmt: str, matrix: int, colour_range: int) -> None:
    frame = noise(size, pix_fmt, matrix, colour_range)
    rgb = RgbFilter(least_bytes=0)(frame, MATRICES[_matrix(frame) or 0])
    assert rgb is not None and np.array_equal(rgb.to_ndarray(), by_scaler(frame))


@pytest.mark.parametrize(("size", "is_filtered"), [((1920, 1080), False), ((3840, 2160), True)])
def test_large_pictures_alone_are_filtered(
    size: tuple[int, int], is_filtered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, opened = noise(size, "yuv420p", BT709, LIMITED), []
    monkeypatch.setattr(
        rgb_filter, "SimpleFilter", lambda *given, **named: opened.append(1) or SimpleFilter(*given, **named)
    )
    to_rgb = RgbConverter(deinterlace="off")
    assert all(np.array_equal(to_rgb(frame), by_scaler(frame)) for _ in range(2))
    assert len(opened) == is_filtered  # once for both pictures


def test_a_stream_that_changes_its_kind_has_the_right_colours_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "RgbFilter", lambda: RgbFilter(least_bytes=0))
    to_rgb = RgbConverter(deinterlace="off")
    kinds = [
        ((64, 48), "yuv420p", BT709, LIMITED),
        ((64, 48), "yuv420p", BT601, LIMITED),
        ((64, 48), "yuv420p", BT601, FULL),
        ((96, 64), "yuv420p", BT601, FULL),
        ((96, 64), "yuv422p", BT601, LIMITED),  # not the filter's
        ((95, 63), "yuv420p", BT601, LIMITED),  # neither
        ((64, 48), "yuvj420p", BT709, FULL),
        ((64, 48), "yuv420p", BT709, LIMITED),
    ]
    for seed, kind in enumerate(kinds):
        frame = noise(*kind, seed)
        assert np.array_equal(to_rgb(frame), by_scaler(frame)), kind


@pytest.mark.parametrize(
    ("size", "pix_fmt", "matrix"),
    [((65, 48), "yuv420p", BT709), ((64, 47), "yuv420p", BT709), ((64, 48), "yuv444p", BT709)]
    + [((64, 48), "yuv420p10le", BT709), ((64, 48), "yuv420p", 9), ((64, 48), "rgb24", 0)],
)
def test_other_kinds_are_left_to_the_scaler(size: tuple[int, int], pix_fmt: str, matrix: int) -> None:
    assert RgbFilter(least_bytes=0)(noise(size, pix_fmt, matrix, LIMITED), "bt709") is None


def test_a_filter_that_refuses_leaves_the_picture_to_the_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise av.error.FilterNotFoundError(1, "no such filter")

    monkeypatch.setattr(rgb_filter, "SimpleFilter", refuse)
    monkeypatch.setattr(picture, "RgbFilter", lambda: RgbFilter(least_bytes=0))
    frame = noise((64, 48), "yuv420p", BT709, LIMITED)
    assert np.array_equal(RgbConverter(deinterlace="off")(frame), by_scaler(frame))


def test_the_memory_of_a_converted_picture_is_used_again_once_it_is_released() -> None:
    to_rgb, frame = RgbFilter(least_bytes=0), noise((640, 480), "yuv420p", BT709, LIMITED)
    assert len(places_of(lambda: to_rgb(frame, "bt709"))) == 1


def places_of(convert: Callable[[], av.VideoFrame | None]) -> set[int]:
    """Addresses of pictures that are released one by one, while others take what the allocator has free: without a pool
    there are several."""
    places, others = set(), list[av.VideoFrame]()
    for _ in range(8):
        rgb = convert()
        assert rgb is not None
        places.add(rgb.planes[0].buffer_ptr)
        del rgb
        others.append(noise((640, 480), "rgb24", 0, FULL))
    return places


def test_a_picture_that_is_held_keeps_its_pixels() -> None:
    to_rgb = RgbFilter(least_bytes=0)
    frames = [noise((64, 48), "yuv420p", BT709, LIMITED, seed) for seed in range(6)]
    held = [to_rgb(frame, "bt709") for frame in frames]
    for frame, rgb in zip(frames, held, strict=True):
        assert rgb is not None and np.array_equal(rgb.to_ndarray(), by_scaler(frame))

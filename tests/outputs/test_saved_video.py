"""The saved video: colours that every player shows right, proportions that are kept, a container as its name says."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import Picture, number_of, numbered, write_clip

import run_live
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.outputs import OutputError, VideoWriter
from realtime_polyp.outputs.base import OutputSpec
from realtime_polyp.outputs.paths import check_outputs
from realtime_polyp.outputs.video_picture import fit
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result
from realtime_polyp.sources import FileSource

BARS = [(220, 220, 220), (220, 220, 16), (16, 220, 220), (16, 220, 16), (220, 16, 220), (220, 16, 16), (16, 16, 220)]
BT709, BT601_625, BT601_525 = (1, 1, 1), (5, 5, 6), (6, 6, 6)  # matrix, primaries, transfer
LIMITED, FULL = 1, 2


def bars(_: int, size: tuple[int, int]) -> Picture:
    """Colour bars (h, w, 3) of size (w, h), with their edges between pairs of pixels, as chroma is stored."""
    image = np.full((size[1], size[0], 3), 16, np.uint8)
    for place, colour in enumerate(BARS):
        image[:, size[0] * place // len(BARS) // 2 * 2 :] = colour
    return image


def save(path: Path, images: list[Picture], **options: object) -> Path:
    writer = VideoWriter(path, rate_hz=Fraction(25), caption=False, **options)  # type: ignore[arg-type]
    for index, image in enumerate(images):
        field = FieldOfView(0, 0, image.shape[1], image.shape[0])
        writer.write(Result(Frame(index, index / 25, 0.0, image), field, NO_DETECTIONS, (), None))
    writer.close()
    return path


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def psnr_db(image: Picture, truth: Picture) -> float:
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - truth) ** 2)))


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(
    ("name", "size", "tags"),
    [
        ("a.mp4", (640, 480), BT601_525),
        ("a.mkv", (720, 576), BT601_625),
        ("a.mov", (1280, 720), BT709),
        ("a.mp4", (1920, 1080), BT709),
        ("a.mkv", (1280, 720), BT709),
        ("a.m4v", (98, 66), BT601_525),
    ],
)
def test_colour_bars_come_back(
    name: str, size: tuple[int, int], tags: tuple[int, int, int], full_range: bool, tmp_path: Path
) -> None:
    image = bars(0, size)
    path = save(tmp_path / name, [image] * 2, full_range=full_range)
    frame = decoded(path)[-1]
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == tags
    assert frame.color_range == (FULL if full_range else LIMITED)
    assert psnr_db(frame.to_ndarray(format="rgb24"), image) >= 40
    assert psnr_db([shown.image for shown in FileSource(path).frames()][-1], image) >= 40


def test_the_stored_values_are_the_standards_own(tmp_path: Path) -> None:
    """Green 220 between 16 and 220, by hand: BT.709 luma 155 of 16..235; BT.601 133; of 0..255 luma is 162 and 136."""
    for size, full_range, luma in (((1280, 720), False, 155), ((720, 576), False, 133), ((1280, 720), True, 162)):
        green = np.full((*size[::-1], 3), (16, 220, 16), np.uint8)
        frame = decoded(save(tmp_path / "a.mp4", [green], full_range=full_range))[0]
        assert abs(int(np.frombuffer(frame.planes[0], np.uint8)[0]) - luma) <= 1


@pytest.mark.parametrize("colour", [(1, LIMITED), (1, FULL), (5, LIMITED), (5, FULL)])
@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_a_recording_s_colours_are_the_saved_ones(
    size: tuple[int, int], colour: tuple[int, int], tmp_path: Path
) -> None:
    """Whatever its matrix and range: both files are read by FFmpeg's own conversion."""
    source = write_clip(tmp_path / "in.mp4", count=2, size=size, colour=colour, draw=bars, options={"qp": "4"})
    path = save(tmp_path / "a.mp4", [frame.image for frame in FileSource(source).frames()])
    saved, truth = (decoded(one)[-1].to_ndarray(format="rgb24") for one in (path, source))
    assert psnr_db(saved, truth) >= 40


def shape_of(image: Picture) -> tuple[int, int, int, int]:
    """top, left, height and width of what is not black."""
    rows, columns = ((image.max(axis=2) > 40).any(axis=axis).nonzero()[0] for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    ("size", "place"),
    [
        ((640, 480), (0, 0, 480, 640)),
        ((1280, 720), (60, 0, 360, 640)),
        ((1024, 576), (60, 0, 360, 640)),
        ((320, 480), (0, 160, 480, 320)),
        ((96, 72), (0, 0, 480, 640)),
        ((719, 577), (0, 20, 480, 598)),
    ],
)
def test_after_a_change_of_size_proportions_are_kept(
    size: tuple[int, int], place: tuple[int, int, int, int], tmp_path: Path
) -> None:
    grey = [np.full((*one[::-1], 3), 200, np.uint8) for one in ((640, 480), size, (640, 480))]
    frames = decoded(save(tmp_path / "a.mp4", grey))
    found = [shape_of(frame.to_ndarray(format="rgb24")) for frame in frames]
    assert found == [(0, 0, 480, 640), place, (0, 0, 480, 640)]


def test_after_a_change_of_pixel_aspect_proportions_are_kept(tmp_path: Path) -> None:
    """4:3 and 16:9 of 720 x 576 stored pixels: 768 x 576 and 1024 x 576 as shown, so 768 x 432 in the first size."""
    joined = tmp_path / "joined.ts"
    white: Callable[..., Picture] = lambda _, size: np.full((*size[::-1], 3), 220, np.uint8)  # noqa: E731
    pieces = [
        write_clip(tmp_path / f"{number}.ts", size=(720, 576), count=2, aspect=aspect, times_ms=times_ms, draw=white)
        for number, (aspect, times_ms) in enumerate(((Fraction(16, 15), [0, 100]), (Fraction(64, 45), [200, 300])))
    ]
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    path = save(tmp_path / "a.mp4", [frame.image for frame in FileSource(joined).frames()])
    found = [shape_of(frame.to_ndarray(format="rgb24")) for frame in decoded(path)]
    assert found == [(0, 0, 576, 768)] * 2 + [(72, 0, 432, 768)] * 2


def test_an_odd_size_is_padded_and_never_scaled() -> None:
    image = np.random.default_rng(0).integers(0, 256, (73, 97, 3), np.uint8)
    assert np.array_equal(fit(image, (74, 98))[:73, :97], image)
    assert fit(image, (2, 2)).shape == fit(image[:1, :1], (2, 2)).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("name", "format", "brand"),
    [
        ("a.mp4", "mov", b"ftypiso"),
        ("A.M4V", "mov", b"ftypiso"),
        ("recording", "mov", b"ftypiso"),
        ("12:30.mov", "mov", b"ftypqt  "),
        ("a.MKV", "matroska", b"matroska"),
    ],
)
def test_the_container_follows_the_name(name: str, format: str, brand: bytes, tmp_path: Path) -> None:
    path = save(tmp_path / name, [numbered(number) for number in range(5)])
    assert brand in path.read_bytes()[:64]
    with av.open(str(path)) as container:
        assert format in container.format.name
    frames = list(FileSource(path).frames())
    assert [number_of(frame.image) for frame in frames] == list(range(5))
    assert [frame.pts_s for frame in frames] == pytest.approx([index / 25 for index in range(5)], abs=1e-3)


@pytest.mark.parametrize("name", ["a.avi", "A.AVI", "a.webm", "a.mp4.part", "a.ts", "2026-05-04.10"])
def test_another_name_is_one_sentence_before_anything_begins(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    said = f"cannot write video to {path}: its name ends in {path.suffix}; use .mp4, .m4v, .mov or .mkv"
    for refused in (lambda: VideoWriter(path), lambda: check_outputs([], [OutputSpec(save=path)])):
        with pytest.raises(OutputError) as error:
            refused()
        assert str(error.value) == said
    # The source is not there either: the name is looked at first.
    assert run_live.main(["--source", str(tmp_path / "nowhere.mp4"), "--headless", "--save", str(path)]) == 2
    assert capfd.readouterr().err == f"realtime-polyp: {said}\n"
    assert list(tmp_path.iterdir()) == []

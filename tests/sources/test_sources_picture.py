import struct
from enum import Enum
from fractions import Fraction
from pathlib import Path

import av
import av.sidedata.sidedata
import cv2
import numpy as np
import pytest
from media import CORNERS, corner_colours, numbered, write_clip

from realtime_polyp.image_files import load_image
from realtime_polyp.sources import FileSource, picture
from realtime_polyp.sources.picture import RgbConverter

BT709, BT601, UNTAGGED = 1, 5, 2
LIMITED, FULL = 1, 2
WEIGHTS = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114)}  # of red and of blue, ITU-R BT.709 and BT.601
COLOURS = [(200, 80, 60), (255, 255, 255), (0, 0, 0), (30, 160, 90), (128, 128, 128), (250, 10, 10)]


def yuv_of(rgb: tuple[int, int, int], matrix: int, full: bool) -> list[int]:
    """The textbook's way, in 8 bits."""
    red_weight, blue_weight = WEIGHTS[matrix]
    red, green, blue = (value / 255 for value in rgb)
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = [(blue - luma) / 2 / (1 - blue_weight), (red - luma) / 2 / (1 - red_weight)]
    offset, luma_span, chroma_span = (0, 255, 255) if full else (16, 219, 224)
    found = [offset + luma_span * luma, *(128 + chroma_span * c for c in chroma)]
    return [min(255, max(0, round(value))) for value in found]


def flat_frame(yuv: list[int], size: tuple[int, int], pix_fmt: str, matrix: int, colour_range: int) -> av.VideoFrame:
    frame = av.VideoFrame(*size, pix_fmt)
    frame.colorspace, frame.color_range = matrix, colour_range
    for plane, value in zip(frame.planes, yuv, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


@pytest.mark.parametrize("size", [(64, 48), (97, 65)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p"])
@pytest.mark.parametrize("matrix", [BT709, BT601])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
def test_colours_come_out_right(size: tuple[int, int], pix_fmt: str, matrix: int, colour_range: int) -> None:
    full = colour_range == FULL or pix_fmt == "yuvj420p"
    to_rgb = RgbConverter()
    for colour in COLOURS:
        image = to_rgb(flat_frame(yuv_of(colour, matrix, full), size, pix_fmt, matrix, FULL if full else LIMITED))
        assert image.shape == (size[1], size[0], 3)
        assert np.abs(image.astype(int) - colour).max() <= 3


@pytest.mark.parametrize(("size", "matrix"), [((720, 576), BT601), ((1280, 720), BT709), ((1440, 1080), BT709)])
def test_untagged_pictures_are_taken_for_what_their_size_suggests(size: tuple[int, int], matrix: int) -> None:
    colour = (200, 80, 60)
    image = RgbConverter()(flat_frame(yuv_of(colour, matrix, False), size, "yuv420p", UNTAGGED, 0))
    assert np.abs(image[::50, ::50].astype(int) - colour).max() <= 3


@pytest.mark.parametrize("matrix", [0, 3, 8, 11, 12, 14])
def test_matrices_that_the_scaler_does_not_know_are_no_failure(matrix: int) -> None:
    image = RgbConverter()(flat_frame(yuv_of((128, 128, 128), BT601, False), (64, 48), "yuv420p", matrix, LIMITED))
    assert np.abs(image.astype(int) - 128).max() <= 3


@pytest.mark.parametrize("matrix", [BT709, BT601])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
def test_tags_survive_a_file(tmp_path: Path, matrix: int, colour_range: int) -> None:
    path = write_clip(tmp_path / "a.mp4", count=1, size=(192, 128), colour=(matrix, colour_range), options={"qp": "4"})
    image = next(FileSource(path).frames()).image
    for corner, colour in corner_colours(image).items():
        assert np.abs(np.subtract(colour, CORNERS[corner])).max() <= 10, corner


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_quarter_turns_are_applied(tmp_path: Path, degrees: int, name: str) -> None:
    path = write_clip(tmp_path / name, count=2, rotation=degrees)
    source = FileSource(path)
    image = next(source.frames()).image
    plain = next(FileSource(write_clip(tmp_path / f"plain-{name}", count=2)).frames()).image
    expected = np.rot90(plain, degrees // 90)  # counterclockwise, as FFmpeg counts
    assert source.size == (expected.shape[1], expected.shape[0])
    assert image.shape == expected.shape and image.flags.c_contiguous
    assert np.abs(image.astype(int) - expected).max() <= 2


def test_mirroring_is_applied(tmp_path: Path) -> None:
    plain = next(FileSource(write_clip(tmp_path / "plain.mp4", count=1)).frames()).image
    hflip = next(FileSource(write_clip(tmp_path / "a.mp4", count=1, hflip=True)).frames()).image
    assert np.array_equal(hflip, plain[:, ::-1])


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(Fraction(136, 135), (96, 64)), (Fraction(0), (96, 64)), (Fraction(50), (96, 64)), (Fraction(16, 15), (102, 64))],
)
def test_only_believable_pixel_shapes_are_applied(aspect: Fraction, size: tuple[int, int]) -> None:
    frame = flat_frame([100, 128, 128], (96, 64), "yuv420p", BT601, LIMITED)
    to_rgb = RgbConverter(aspect)
    assert to_rgb.size(frame) == size
    assert to_rgb(frame).shape == (size[1], size[0], 3)


def test_pictures_own_their_memory() -> None:
    """Frames outlive the decoder's buffers and the scaler's: a later picture must not show through an earlier one."""
    to_rgb = RgbConverter()
    first = to_rgb(flat_frame([40, 128, 128], (128, 64), "yuv420p", BT601, LIMITED))
    before = first.copy()
    for _ in range(20):
        to_rgb(flat_frame([200, 128, 128], (128, 64), "yuv420p", BT601, LIMITED))
    assert np.array_equal(first, before)


def exif(orientation: int, order: str) -> bytes:
    """A JPEG segment APP1 with one tag. order: "<" or ">"."""
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    tag = struct.pack(f"{order}HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    content = b"Exif\0\0" + tiff + tag
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def jpeg(number: int) -> bytes:
    found, data = cv2.imencode(".jpg", numbered(number)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert found
    return data.tobytes()


def write_mjpeg(path: Path, segment: bytes, count: int = 3) -> Path:
    """A clip whose every picture is a JPEG with this segment."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number in range(count):
            picture = jpeg(number)
            packet = av.Packet(picture[:2] + segment + picture[2:])
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.avi", "a.mov"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_of_jpeg_frames_is_applied(tmp_path: Path, name: str, orientation: int) -> None:
    """As OpenCV shows the same JPEG as a still."""
    segment = exif(orientation, "<>"[orientation % 2])
    source = FileSource(write_mjpeg(tmp_path / name, segment))
    images = [frame.image for frame in source.frames()]
    still = tmp_path / "still.jpg"
    still.write_bytes(jpeg(0)[:2] + segment + jpeg(0)[2:])
    expected = load_image(still)
    assert len(images) == 3 and source.size == (expected.shape[1], expected.shape[0])
    assert source.size == ((96, 64) if orientation < 5 else (64, 96))
    assert corner_near(images[0], expected) and source.warning is None


def corner_near(image: np.ndarray, expected: np.ndarray) -> bool:
    found, wanted = corner_colours(image), corner_colours(expected)
    return image.shape == expected.shape and all(
        np.abs(np.subtract(found[corner], wanted[corner])).max() <= 12 for corner in CORNERS
    )


@pytest.mark.parametrize("segment", [b"", exif(77, "<"), b"\xff\xe1\0\x0aExif\0\0II", b"\xff\xe2\0\x08ICC_PR"])
def test_damaged_exif_changes_nothing(tmp_path: Path, segment: bytes) -> None:
    images = [frame.image for frame in FileSource(write_mjpeg(tmp_path / "a.avi", segment)).frames()]
    assert len(images) == 3 and corner_near(images[0], numbered(0))


def test_side_data_that_pyav_does_not_know_is_no_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever its number: here PyAV is made to know none but the orientation's."""
    only = Enum("only", {"DISPLAYMATRIX": 6})
    monkeypatch.setattr(av.sidedata.sidedata, "Type", only)
    monkeypatch.setattr(picture, "SideDataType", only)
    monkeypatch.setattr(picture, "_UNKNOWN_SIDE_DATA", sorted(set(range(128)) - {6}))
    path = write_clip(tmp_path / "a.mp4", count=2, rotation=90)  # libx264 adds unregistered SEI
    assert FileSource(path).size == (64, 96)

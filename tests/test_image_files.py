"""Image files: the size is checked before a pixel is decoded; what is read is what OpenCV reads."""

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import numbered

from realtime_polyp.image_files import MAX_FILE_BYTES, ImageError, check_picture_size, is_image, load_image
from realtime_polyp.sources import ImageFolderSource, SourceError, open_source
from trainers.data.stills import read_image, read_mask


def _png(width: int, height: int) -> bytes:
    """A PNG of one colour: small, whatever it claims."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def _tiff(order: str, width: int, height: int, *more: tuple[int, int]) -> bytes:
    tags = [(256, width), (257, height), *more]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)


def _bigtiff(width: int, height: int) -> bytes:
    entries = b"".join(struct.pack("<HHQQ", tag, 16, 1, value) for tag, value in ((256, width), (257, height)))
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2) + entries + bytes(8)


def _jpeg(width: int, height: int) -> bytes:
    comment = b"\xff\xfe" + struct.pack(">H", 4) + b"\xff\xc0"  # a frame's marker inside a comment is none
    return b"\xff\xd8" + comment + b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def _webp(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + bytes(4) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + sides


CLAIMS = {
    "a.png": (_png(60000, 60000), "60000 x 60000 px; at most 67 megapixels and 16384 px a side are read"),
    "b.png": (_png(2**31 - 1, 2**31 - 1), "2147483647 x 2147483647 px"),
    "c.png": (_png(20000, 10), "20000 x 10 px"),
    "d.png": (_png(0, 10), "its size is unknown"),
    "a.jpg": (_jpeg(65000, 65000), "65000 x 65000 px"),
    "a.bmp": (_bmp(50000, -50000), "50000 x 50000 px"),
    "a.tif": (_tiff("<", 50000, 50000), "50000 x 50000 px"),
    "b.tif": (_tiff(">", 50000, 50000), "50000 x 50000 px"),
    "c.tif": (_bigtiff(50000, 50000), "50000 x 50000 px"),
    "d.tif": (_tiff("<", 64, 64, (322, 2**24), (323, 64)), "16777216 x 64 px"),  # one tile
    "e.png": (_webp(16000, 16000), "16000 x 16000 px"),
}


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_small_file_that_claims_a_huge_picture_is_not_decoded(tmp_path: Path, name: str) -> None:
    content, message = CLAIMS[name]
    (tmp_path / name).write_bytes(content)
    for read in (load_image, read_image, read_mask):
        with pytest.raises((ImageError, FileNotFoundError), match=message):
            read(tmp_path / name)
    with pytest.raises(SourceError, match=f"{name}.*{message}"):
        ImageFolderSource(tmp_path)
    with pytest.raises(SourceError, match=f"{name} is a still that cannot be read: .*{message}"):
        open_source(str(tmp_path / name))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.png", "wb") as file:
        file.write(_png(8, 8))
        file.truncate(6 * 10**9)
    tracemalloc.start()
    with pytest.raises(ImageError, match="it has 6,000 MB; at most 268 MB are read"):
        load_image(tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 10**6 < MAX_FILE_BYTES
    tracemalloc.stop()


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "tif", "webp"])
def test_what_is_read_is_what_opencv_reads(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    cv2.imwrite(str(path), numbered(5, (53, 37)))
    assert is_image(path.read_bytes()[:12])
    assert np.array_equal(load_image(path), cv2.imread(str(path))[..., ::-1])
    assert np.array_equal(load_image(path, grey=True), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_file_cut_anywhere_is_an_image_error_or_an_image(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    cv2.imwrite(str(path), numbered(5, (53, 37)))
    content, told = path.read_bytes(), 0
    for end in [*range(40), *range(40, len(content), max(1, len(content) // 40))]:
        path.write_bytes(content[:end])
        try:
            assert load_image(path).shape == (37, 53, 3)
        except ImageError as error:
            told += 1
            assert str(error).startswith(("it is damaged", "it is not a", "it is empty", "its size is unknown"))
    assert told >= 20


def test_what_is_no_image_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("RIFF, but text")
    for name, message in {
        "pipe.png": "not a regular file",
        "text.png": "it is not a JPEG, PNG, BMP, TIFF or WebP",
        "none.png": "no such file",
    }.items():
        with pytest.raises(ImageError, match=message):
            load_image(tmp_path / name)


def test_the_largest_picture_is_allowed() -> None:
    check_picture_size(8192, 8192)
    check_picture_size(16384, 4096)
    with pytest.raises(ImageError):
        check_picture_size(8193, 8192)

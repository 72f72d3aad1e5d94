"""Reads image files. The size is checked before decoding: a file of 100 kB can decode to gigabytes."""

import struct
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 2**26
"""Pixels of the largest picture that is decoded, still or video: 8192 x 8192."""
MAX_SIDE_PX = 16384
"""Longest side of such a picture, px."""
MAX_FILE_BYTES = 2**28
"""Largest image file that is read, bytes: enough for the largest picture without compression."""

_JPEG_SIZES = {0xC0 + n for n in range(16)} - {0xC4, 0xC8, 0xCC}  # markers that start a frame and hold its size
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 256, 257, 322, 323


class ImageError(ValueError):
    """The file cannot be read as an image. The message gives the reason, without the name of the file."""


def load_image(path: Path, *, grey: bool = False) -> NDArray[np.uint8]:
    """Read a JPEG, PNG, BMP, TIFF or WebP as (H, W, 3) uint8 RGB, or (H, W) grey, rotated as its EXIF says.

    Raises ImageError for a file that is not an image, is damaged, or is too large; a large one is not decoded.
    """
    content = _read(path)
    check_picture_size(*_stored_size(content))
    try:
        found = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    except cv2.error:
        found = None
    if found is None:
        raise ImageError("it is damaged")
    return np.asarray(found if grey else cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)


def check_image_file(path: Path) -> None:
    """Raise ImageError for a file that is not an image or is too large. Only the header is parsed."""
    check_picture_size(*_stored_size(_read(path)))


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) px as stored, from the header alone. Raises ImageError for a file that is not an image."""
    return _stored_size(_read(path))


def check_picture_size(width: int, height: int) -> None:
    """Raise ImageError for a picture with no pixels or too many. width, height: px."""
    if width < 1 or height < 1:
        raise ImageError("its size is unknown")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE_PX:
        raise ImageError(
            f"{width} x {height} px; at most {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE_PX} px a side are read"
        )


def is_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes (12 or more) is a JPEG, PNG, BMP, TIFF or WebP."""
    return _format_of(head) is not None


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        info = path.stat()
        if not S_ISREG(info.st_mode):
            raise ImageError("it is not a regular file")
        if info.st_size > MAX_FILE_BYTES:
            raise ImageError(f"it has {info.st_size / 1e6:,.0f} MB; at most {MAX_FILE_BYTES / 1e6:,.0f} MB are read")
        return np.fromfile(path, np.uint8)  # cv2.imread fails on non-ASCII paths on Windows
    except OSError as error:
        raise ImageError(str(error.strerror or error).lower()) from error


def _stored_size(content: NDArray[np.uint8]) -> tuple[int, int]:
    """Return (width, height) px from the header."""
    data = memoryview(content)  # type: ignore[arg-type]  # an array is a buffer
    read_size = _format_of(bytes(data[:12]))
    if read_size is None:
        raise ImageError("it is empty" if not len(data) else "it is not a JPEG, PNG, BMP, TIFF or WebP")
    try:
        return read_size(data)
    except (struct.error, IndexError, OverflowError) as error:
        raise ImageError("it is damaged: its header is cut off") from error


def _format_of(head: bytes) -> Callable[[memoryview], tuple[int, int]] | None:
    if head[:4] == b"RIFF":
        return _webp_size if head[8:12] == b"WEBP" else None
    return next((read_size for magic, read_size in _FORMATS.items() if head.startswith(magic)), None)


def _png_size(data: memoryview) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp_size(data: memoryview) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # the height is negative if the top row is stored first


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    place = 2
    while True:
        while data[place] != 0xFF:
            place += 1
        while data[place] == 0xFF:
            place += 1
        marker, place = data[place], place + 1
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, place + 3)
            return width, height
        if marker and marker not in _JPEG_WITHOUT_LENGTH:
            place += struct.unpack_from(">H", data, place)[0]


def _webp_size(data: memoryview) -> tuple[int, int]:
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return width, height


def _tiff_size(data: memoryview) -> tuple[int, int]:
    """Return the size of the first page. A tile may be larger than the page: it must fit too."""
    order = "<" if data[0] == ord("I") else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    entry, value_at, count_format, first = (20, 12, "Q", 8) if big else (12, 8, "H", 4)
    start = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, first)[0]
    count = struct.unpack_from(order + count_format, data, start)[0]
    start += struct.calcsize(order + count_format)
    tags: dict[int, int] = {}
    for place in range(start, start + min(count, 4096) * entry, entry):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        if kind in _TIFF_TYPES:
            tags.setdefault(tag, struct.unpack_from(order + _TIFF_TYPES[kind], data, place + value_at)[0])
    check_picture_size(tags.get(_TIFF_TILE_WIDTH, 1), tags.get(_TIFF_TILE_HEIGHT, 1))
    return tags.get(_TIFF_WIDTH, 0), tags.get(_TIFF_HEIGHT, 0)


_FORMATS = {
    b"\xff\xd8\xff": _jpeg_size,
    b"\x89PNG\r\n\x1a\n": _png_size,
    b"BM": _bmp_size,
    b"II*\0": _tiff_size,
    b"MM\0*": _tiff_size,
    b"II+\0": _tiff_size,
    b"MM\0+": _tiff_size,
}

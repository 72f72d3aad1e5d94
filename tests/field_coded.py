"""Field-coded (PAFF) H.264 with uncompressed macroblocks: FFmpeg's encoders write no such streams."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

RATE = 25  # pictures a second; each is two packets


class Bits:
    """Writes numbers bit by bit."""

    def __init__(self) -> None:
        self._bits, self._bytes = "", b""

    def put(self, *values: tuple[int, int]) -> "Bits":
        """Write (value, number of bits) pairs."""
        self._bits += "".join(f"{value:0{bits}b}" for value, bits in values if bits)
        return self

    def golomb(self, *values: int) -> "Bits":
        for value in values:
            length = (value + 1).bit_length()
            self.put((0, length - 1), (value + 1, length))
        return self

    def align(self) -> "Bits":
        self._bits += "0" * (-len(self._bits) % 8)
        self._bytes += bytes(int(self._bits[at : at + 8], 2) for at in range(0, len(self._bits), 8))
        self._bits = ""
        return self

    def raw(self, data: bytes) -> "Bits":
        self._bytes += data
        return self

    def end(self) -> bytes:
        return self.put((1, 1)).align()._bytes


def field_packets(images: Sequence[NDArray[np.uint8]]) -> list[bytes]:
    """Encode pictures (H, W, 3) RGB, W a multiple of 16 and H of 32; each gives two packets, the top field first."""
    height, width = images[0].shape[:2]
    sets = _unit(7, 3, _sps(width, height)) + _unit(8, 3, _pps())
    packets = []
    for number, image in enumerate(images):
        planes = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p").to_ndarray()
        for bottom in (0, 1):
            is_first = number % 12 == 0 and not bottom
            data = _slice(planes, width, height, number % 12, bottom, is_first=is_first)
            delimiter = _unit(9, 0, bytes([0x10])) + (sets if is_first else b"")
            packets.append(delimiter + _unit(5 if is_first else 1, 1, data))
    return packets


def write_field_coded(path: Path, images: Sequence[NDArray[np.uint8]]) -> Path:
    """Write a field-coded file of 25 pictures per second in the container that its name tells."""
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(field_packets(images)))
    with av.open(str(raw)) as given, av.open(str(path), "w") as kept:
        stream = given.streams.video[0]
        out = kept.add_stream_from_template(stream)
        for number, packet in enumerate(one for one in given.demux(stream) if one.size):
            _stamp(packet, number)
            packet.stream = out
            kept.mux(packet)
    raw.unlink()
    return path


def _stamp(packet: Packet, number: int) -> None:
    packet.time_base = Fraction(1, 2 * RATE)
    packet.pts = packet.dts = number
    packet.duration = 1


def _unit(kind: int, reference: int, data: bytes) -> bytes:
    out, zeros = bytearray([reference << 5 | kind]), 0
    for byte in data:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = 0 if byte else zeros + 1
    return b"\0\0\0\1" + bytes(out)


def _sps(width: int, height: int) -> bytes:
    bits = Bits().put((77, 8), (0, 8), (30, 8)).golomb(0, 0, 0, 4, 1).put((0, 1))
    bits.golomb(width // 16 - 1, height // 32 - 1).put((0, 1), (0, 1), (1, 1), (0, 1), (1, 1))
    timing = ((1, 32), (2 * RATE, 32), (1, 1))
    return bits.put((0, 1), (0, 1), (0, 1), (0, 1), (1, 1), *timing, (0, 1), (0, 1), (0, 1), (0, 1)).end()


def _pps() -> bytes:
    bits = Bits().golomb(0, 0).put((0, 1), (0, 1)).golomb(0, 0, 0).put((0, 1), (0, 2)).golomb(0, 0, 0)
    return bits.put((1, 1), (0, 1), (0, 1)).end()


def _slice(planes: NDArray[np.uint8], width: int, height: int, number: int, bottom: int, *, is_first: bool) -> bytes:
    area = width * height
    flat = planes.reshape(-1)
    luma = flat[:area].reshape(height, width)[bottom::2]
    blue, red = (one.reshape(height // 2, width // 2)[bottom::2] for one in np.split(flat[area : area * 3 // 2], 2))
    bits = Bits().golomb(0, 7, 0).put((number, 4), (1, 1), (bottom, 1))
    bits.golomb(0) if is_first else None
    bits.put((2 * number + bottom, 8)).put(*([(0, 1)] * (2 if is_first else 1))).golomb(0, 1)
    for y in range(height // 32):
        for x in range(width // 16):
            bits.golomb(25).align().raw(luma[16 * y : 16 * y + 16, 16 * x : 16 * x + 16].tobytes())
            for plane in (blue, red):
                bits.raw(plane[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].tobytes())
    return bits.end()

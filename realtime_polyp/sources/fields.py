"""Which packets of an H.264 stream hold the second field of a picture.

Interlaced H.264 may store the two fields of a picture one after the other (PAFF), and most containers then hold a
packet for each. FFmpeg's decoder joins them again: one picture for two packets. Other codecs' fields share a packet.
The few bits that tell are read from the stream's headers (ITU-T H.264, 7.3.2.1 and 7.3.3); nothing is decoded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from av.packet import Packet
from av.video.stream import VideoStream

_SLICES, _SPS = (1, 5), 7  # types of NAL units
_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # profiles
_HEAD_BYTES = 64  # of a NAL unit: more than the fields that are read
_MOST_BYTES = 1 << 16  # of a packet, before its first slice


@dataclass(frozen=True)
class _Sps:
    """What a slice's header is read with."""

    frame_number_bits: int
    has_fields: bool
    has_planes: bool


class FieldPairs:
    """Tells the second fields of a stream, packet by packet in the order of the file."""

    def __init__(self, stream: VideoStream) -> None:
        self._is_h264 = stream.codec_context.name == "h264"
        extra = bytes(stream.codec_context.extradata or b"") if self._is_h264 else b""
        self._length_bytes = (extra[4] & 3) + 1 if len(extra) > 6 and extra[0] == 1 else 0  # 0: start codes
        self._sps: _Sps | None = None
        self._first: tuple[int, int] | None = None  # frame number and parity of a field that waits for its second
        if self._is_h264:
            self._read_sps([extra[8:]] if self._length_bytes else _split_by_codes(extra))

    @property
    def may_occur(self) -> bool:
        """Whether the stream may hold single fields, as far as is known."""
        return self._is_h264 and (self._sps is None or self._sps.has_fields)

    def is_second(self, packet: "Packet[VideoStream]") -> bool:
        """Whether the packet holds the second field of the picture before it."""
        if not self.may_occur or not packet.size:
            return False
        try:
            field = self._field_of(bytes(memoryview(packet)[:_MOST_BYTES]))
        except IndexError:  # a damaged header
            field = None
        is_second = field is not None and self._first == (field[0], 1 - field[1])
        self._first = None if is_second else field
        return is_second

    def _field_of(self, data: bytes) -> tuple[int, int] | None:
        """Return frame number and parity of a packet's first field; None for a whole frame."""
        units = list(_split_by_length(data, self._length_bytes) if self._length_bytes else _split_by_codes(data))
        self._read_sps(units)
        unit = next((one for one in units if one and one[0] & 31 in _SLICES), None)
        return None if unit is None or self._sps is None else _field_of_slice(_Bits(unit[1:]), self._sps)

    def _read_sps(self, units: "list[bytes] | Iterator[bytes]") -> None:
        for unit in units:
            if unit and unit[0] & 31 == _SPS:
                self._sps = _parse_sps(_Bits(unit[1:]))


class _Bits:
    """Reads a NAL unit bit by bit. Raises IndexError at its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data.replace(b"\0\0\3", b"\0\0"), 0

    def read(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def golomb(self) -> int:
        """Read an Exp-Golomb code without a sign."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed_golomb(self) -> int:
        value = self.golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)


def _split_by_codes(data: bytes) -> Iterator[bytes]:
    """Yield the beginnings of the NAL units of a byte stream."""
    at = data.find(b"\0\0\1")
    while at >= 0:
        end = data.find(b"\0\0\1", at + 3)
        yield data[at + 3 : min(at + 3 + _HEAD_BYTES, len(data) if end < 0 else end)]
        at = end


def _split_by_length(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the beginnings of the NAL units of a packet in MP4's form."""
    at = 0
    while at + length_bytes < len(data):
        length = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        yield data[at : at + min(_HEAD_BYTES, length)]
        at += max(1, length)


def _parse_sps(bits: _Bits) -> _Sps | None:
    """Read a sequence parameter set; None if it is damaged."""
    try:
        profile = bits.read(24) >> 16
        bits.golomb()
        has_planes = profile in _WITH_CHROMA and _skip_chroma(bits)
        frame_number_bits = bits.golomb() + 4
        _skip_order(bits)
        bits.golomb(), bits.read(1)  # reference frames
        bits.golomb(), bits.golomb()  # size
        return _Sps(frame_number_bits, not bits.read(1), has_planes)
    except IndexError:
        return None


def _skip_chroma(bits: _Bits) -> bool:
    """Pass over chroma format and scaling lists; returns whether the colour planes are coded apart."""
    is_444 = bits.golomb() == 3
    has_planes = is_444 and bool(bits.read(1))
    bits.golomb(), bits.golomb(), bits.read(1)
    if bits.read(1):
        for place in range(12 if is_444 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if place < 6 else 64)
    return has_planes


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = after = 8
    for _ in range(size):
        after = (last + bits.signed_golomb()) % 256 if after else 0
        last = after or last


def _skip_order(bits: _Bits) -> None:
    """Pass over how the order of the pictures is coded."""
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.read(1), bits.golomb(), bits.golomb()
        for _ in range(min(255, bits.golomb())):
            bits.golomb()


def _field_of_slice(bits: _Bits, sps: _Sps) -> tuple[int, int] | None:
    bits.golomb(), bits.golomb(), bits.golomb()
    bits.read(2 if sps.has_planes else 0)
    number = bits.read(sps.frame_number_bits)
    is_field = sps.has_fields and bits.read(1)
    return (number, bits.read(1)) if is_field else None

"""A stream that begins after its file was opened: the picture goes on."""

from pathlib import Path

import av
import pytest
from media import number_of, write_clip

from realtime_polyp.sources import FileSource
from trainers.video.labels import read_clock

_PACKET_BYTES, _VIDEO, _LATE = 188, 0x100, 0x155  # of a transport stream; the second PID is in no table


def add_late_stream(path: Path, out: Path) -> Path:
    """Repeat the video's packets under another PID in the last quarter of a transport stream."""
    data, late = path.read_bytes(), bytearray()
    for begin in range(0, len(data), _PACKET_BYTES):
        packet = data[begin : begin + _PACKET_BYTES]
        late += packet
        if (packet[1] & 0x1F) << 8 | packet[2] == _VIDEO and begin > 3 * len(data) // 4:
            late += bytes([packet[0], packet[1] & 0xE0 | _LATE >> 8, _LATE & 0xFF]) + packet[3:]
    out.write_bytes(late)
    return out


def test_a_stream_that_begins_late_is_passed_over(tmp_path: Path) -> None:
    path = add_late_stream(write_clip(tmp_path / "a.ts", count=200), tmp_path / "late.ts")
    with av.open(str(path)) as container, pytest.raises(IndexError):  # PyAV itself ends here
        assert len(container.streams) == 1
        list(container.demux(container.streams.video[0]))
    assert read_clock(path).count == 200
    source = FileSource(path)
    assert [number_of(frame.image) for frame in source.frames()] == [number % 64 for number in range(200)]

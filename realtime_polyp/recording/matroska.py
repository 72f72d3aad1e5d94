"""Finds the end of a Matroska file that was cut short, which has neither an index nor a duration (RFC 9559)."""

import os
from collections.abc import Iterator
from pathlib import Path

_CLUSTER = b"\x1f\x43\xb6\x75"
_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xE7, 0xA3, 0xA0, b"\xa1"
_LONGEST_NUMBER = 8  # bytes; in pictures, anything may look like the beginning of a cluster
_BEFORE_TIMESTAMP = (0xBF, 0xEC, 0xA7, 0xAB)  # a checksum, nothing, its place, the size of the one before
_TAIL_BYTES = (1 << 20, 16 << 20, 256 << 20)  # a cluster of 250 ms is found in the first of these


def last_time_s(path: Path) -> float | None:
    """The time of the last complete frame of a file whose unit is 1 ms, s; None: it has none. Raises OSError."""
    size = os.path.getsize(path)
    for tail in _TAIL_BYTES:
        with path.open("rb") as file:
            file.seek(max(0, size - tail))
            data = file.read()
        times = [time_ms for at in _clusters(data) for time_ms in _frames(data, at)]
        if times:
            return max(times) / 1000
        if tail >= size:
            break
    return None


def _clusters(data: bytes) -> Iterator[int]:
    """Where the clusters begin."""
    at = data.find(_CLUSTER)
    while at >= 0:
        yield at
        at = data.find(_CLUSTER, at + 1)


def _frames(data: bytes, at: int) -> Iterator[int]:
    """The times of the complete frames of the cluster at a position, ms; none where it is not one."""
    start = at + len(_CLUSTER)
    length, width = _number(data, start)
    at = start + width
    end = len(data) if length is None else min(len(data), at + length)
    base_ms: int | None = None
    while width and at + 2 <= end:
        kind, (length, width) = data[at], _number(data, at + 1)
        body = at + 1 + width
        if not width or length is None or body + length > len(data):
            return
        if kind == _TIMESTAMP:
            if length > _LONGEST_NUMBER:
                return
            base_ms = int.from_bytes(data[body : body + length], "big")
        elif base_ms is None:
            if kind not in _BEFORE_TIMESTAMP:
                return
        elif kind == _SIMPLE_BLOCK:
            yield base_ms + int.from_bytes(data[body + 1 : body + 3], "big", signed=True)
        elif kind == _BLOCK_GROUP and data[body : body + 1] == _BLOCK:
            _, inner = _number(data, body + 1)
            block = body + 1 + inner
            yield base_ms + int.from_bytes(data[block + 1 : block + 3], "big", signed=True)
        at = body + length


def _number(data: bytes, at: int) -> tuple[int | None, int]:
    """An element's size and how many bytes that takes; None for "unknown"; 0 bytes where it is none."""
    if at >= len(data) or not data[at]:
        return None, 0
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width

"""GIF files whose pictures have no delay: they are shown 0.1 s each, as browsers do.

FFmpeg tells the pictures of a GIF apart by the block that holds their delay. Without it, all are taken for one.
"""

_IMAGE, _EXTENSION, _CONTROL = 0x2C, 0x21, 0xF9
_CONTROL_BLOCK = b"\x21\xf9\x04\x00\x0a\x00\x00\x00"  # a delay of 10 hundredths of a second
_HEAD_BYTES, _IMAGE_BYTES = 13, 10


def add_delays(data: bytes) -> bytes | None:
    """Return a GIF file with a delay for every picture; None if each has one, or the file is damaged."""
    try:
        places = _pictures_without_delay(data)
    except IndexError:
        return None
    parts = [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]
    return _CONTROL_BLOCK.join(parts) if places else None


def _pictures_without_delay(data: bytes) -> list[int]:
    """Return where such pictures begin. Raises IndexError at an early end of the file."""
    at, has_delay, found = _HEAD_BYTES + _table_bytes(data[10]), False, list[int]()
    while at < len(data) and data[at] in (_IMAGE, _EXTENSION):
        if data[at] == _EXTENSION:
            has_delay = has_delay or data[at + 1] == _CONTROL
            at = _after_blocks(data, at + 2)
            continue
        if not has_delay:
            found.append(at)
        has_delay = False
        at = _after_blocks(data, at + _IMAGE_BYTES + _table_bytes(data[at + _IMAGE_BYTES - 1]) + 1)
    return found


def _table_bytes(flags: int) -> int:
    """Return the size of the colour table that follows, from its flags."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Return the place after a chain of blocks, each of which begins with its length."""
    while data[at]:
        at += 1 + data[at]
    return at + 1

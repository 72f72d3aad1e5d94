"""Yields only the key pictures of a video file: they are decoded without the others, so a whole file takes seconds."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av.error

from realtime_polyp.packets import Frame
from realtime_polyp.sources.opening import open_file
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.pieces import PieceClock
from realtime_polyp.sources.reader import Reader

_ERRORS_ALLOWED = 3  # consecutive


def key_frames(
    path: Path, start_s: float = 0.0, end_s: float | None = None, *, allow_playlists: bool = False
) -> Iterator[Frame]:
    """Yield the key pictures between two times, s; their indices count key pictures only.

    Raises SourceError for a file that cannot be opened or has no video. A damaged part has none.
    """
    stop = threading.Event()
    container = open_file(path, allow_playlists=allow_playlists)
    reader, to_rgb = Reader(container, stop, name=str(path)), RgbConverter()
    reader.stream.codec_context.skip_frame = "NONKEY"
    errors = index = 0
    clock = PieceClock(reader)
    try:
        while errors < _ERRORS_ALLOWED:
            try:
                packet = reader.packet()
                if packet is not None:
                    clock.add_packet(packet)
                pictures = reader.decode(packet) if packet is None or packet.is_keyframe else []
                errors = 0
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                errors += 1
                continue
            for picture in pictures:
                pts_s = clock.at(picture)
                if end_s is not None and pts_s >= end_s:
                    return
                to_rgb.set_aspect(reader.take_aspect(picture))
                to_rgb.set_before(None)
                if pts_s >= start_s:
                    yield Frame(index, pts_s, time.monotonic(), to_rgb(picture), continues=False)
                    index += 1
            if packet is None:
                return
    finally:
        reader.free()

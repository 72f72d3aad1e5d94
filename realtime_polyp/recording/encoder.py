"""Encodes the pictures of a source that sends them raw: nearly lossless, after the display, before the models."""

import io
import os
import threading
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.video_picture import PIXEL_FORMAT, Colours, YuvConverter, fit, pad_to_even
from realtime_polyp.packets import Frame
from realtime_polyp.recording.clock import SessionClock
from realtime_polyp.recording.packets import RecentPackets, StoredPacket
from realtime_polyp.telemetry.priority import lower_thread_priority

if TYPE_CHECKING:
    from realtime_polyp.sources.reader import Reader

_NICENESS = 5  # the models of a live source have the lowest priority, and the display the usual one
_QUEUED_S, _MOST_QUEUED = 0.4, 16  # pictures that wait are lost in a crash; 16 of HD take 100 MB
_KEY_EVERY_MS = 1000
_MS = Fraction(1, 1000)

# Hardware encoders that take planes from memory, by FFmpeg's names, with options for nearly lossless H.264.
_HARDWARE: dict[str, dict[str, str]] = {
    "h264_nvenc": {"preset": "p3", "rc": "constqp", "qp": "14", "delay": "0", "zerolatency": "1"},
    "h264_qsv": {"preset": "veryfast", "global_quality": "14", "async_depth": "1"},
    "h264_videotoolbox": {"q:v": "85", "realtime": "1"},
    "h264_amf": {"quality": "speed", "rc": "cqp", "qp_i": "14", "qp_p": "14"},
}
_SOFTWARE = "libx264"
_FEW_CORES = 4


def open_encoder(size: tuple[int, int], rate_hz: Fraction) -> VideoStream:
    """Open the first hardware encoder that works here, else libx264. size: (width, height), even, px.

    Returns a stream of a file that is never written: it is the form in which PyAV hands an encoder's parameters on.
    """
    for name, options in _HARDWARE.items():
        try:
            _open(name, options, size, rate_hz).codec_context.encode(_black(size))  # some open and cannot encode
            return _open(name, options, size, rate_hz)
        except (av.error.FFmpegError, ValueError):  # ValueError: this build of FFmpeg lacks it
            continue
    preset = "ultrafast" if (os.cpu_count() or 1) <= _FEW_CORES else "superfast"
    options = {"preset": preset, "tune": "zerolatency", "crf": "12" if preset == "ultrafast" else "14", "bf": "0"}
    return _open(_SOFTWARE, options, size, rate_hz)


# What follows pictures of these codecs in one file, by FFmpeg's names. The H.264 has a number of its own for its
# parameters: else a player that seeks back to earlier pictures would decode them with the later ones.
_SAME_CODEC: dict[str, tuple[str, dict[str, str]]] = {
    "h264": (
        _SOFTWARE,
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "crf": "14",
            "bf": "0",
            "x264-params": "sps-id=9:repeat-headers=1",
        },
    ),
    "mjpeg": ("mjpeg", {"qmin": "2", "qmax": "4"}),
    "mpeg2video": ("mpeg2video", {"qmin": "2", "qmax": "4", "g": "12"}),
}


def open_same_codec(codec: str, size: tuple[int, int], rate_hz: Fraction) -> VideoStream:
    """Open an encoder whose pictures may follow those of this codec in one file. Raises ValueError if there is none."""
    if codec not in _SAME_CODEC:
        raise ValueError(f"pictures cannot be encoded as {codec}")
    name, options = _SAME_CODEC[codec]
    return _open(name, options, size, rate_hz, headers_in_packets=True)


def _open(
    name: str,
    options: dict[str, str],
    size: tuple[int, int],
    rate_hz: Fraction,
    *,
    headers_in_packets: bool = False,
) -> VideoStream:
    container = av.open(io.BytesIO(), "w", format="avi" if headers_in_packets else "matroska")
    stream = cast(VideoStream, container.add_stream(name, rate=rate_hz, options=options))
    stream.width, stream.height, stream.pix_fmt = *size, PIXEL_FORMAT
    stream.codec_context.time_base, stream.codec_context.sample_aspect_ratio = _MS, Fraction(1)
    _colours(name, size).tag(stream.codec_context)
    container.start_encoding()  # opens the encoder
    return stream


def _colours(encoder: str, size: tuple[int, int]) -> Colours:
    """JPEG is of full range."""
    return Colours.of_size(*size, full_range=encoder == "mjpeg")


def _black(size: tuple[int, int]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.zeros((size[1], size[0], 3), np.uint8), format="rgb24")
    frame = frame.reformat(format=PIXEL_FORMAT)
    frame.pts, frame.time_base = 0, _MS
    return frame


class EncodedPackets:
    """Encodes the pictures that are captured, on a thread of its own. A picture that finds the queue full is left out,
    unless it can wait: stills come slowly, but several at once.

    size: (width, height) of the first picture, px; others are fitted into it. rate_hz: nominal. live: the source is.
    waits: every picture can wait, not only stills.
    keep_ms, folder: see `RecentPackets`. codec: that of earlier pictures in the same file; None: the best there is.
    hand_over: takes each packet in place of `recent`. Raises FFmpegError or ValueError where no encoder opens.
    """

    is_encoded = True

    def __init__(
        self,
        size: tuple[int, int],
        rate_hz: Fraction,
        *,
        live: bool,
        waits: bool = False,
        keep_ms: int = 0,
        folder: Path | None = None,
        codec: str | None = None,
        hand_over: Callable[[StoredPacket], None] | None = None,
    ) -> None:
        self.recent, self.dropped = RecentPackets(keep_ms, folder), 0
        self._take_packet = hand_over or self.recent.add
        self.error: Exception | None = None
        self._size = _even(size)
        self._stream = open_same_codec(codec, self._size, rate_hz) if codec else open_encoder(self._size, rate_hz)
        self._encoder = self._stream.codec_context
        self._to_yuv = YuvConverter(*self._size, _colours(self._encoder.name, self._size))
        self._queue: deque[tuple[Image, int]] = deque()
        self._changed = threading.Condition()
        self._waits = waits
        self._finishing = self._busy = False
        self._capacity = max(4, min(_MOST_QUEUED, round(_QUEUED_S * rate_hz)))
        self._clock = SessionClock(live=live, period_s=float(1 / rate_hz))
        self._last_ms, self._key_ms = -1, -_KEY_EVERY_MS
        self._thread = threading.Thread(target=self._run, name="encode original", daemon=True)
        self._thread.start()

    def fits(self, reader: "Reader | None", size: tuple[int, int]) -> bool:
        return not self.error and reader is None and _even(size) == self._size

    def add_stream(self, container: OutputContainer) -> VideoStream:
        stream: VideoStream = container.add_stream_from_template(self._stream, opaque=True)
        return stream

    def place(self, frame: Frame) -> float | None:
        now_s = self._clock.at(frame.pts_s, frame.captured_s)
        with self._changed:
            if self._waits or frame.is_still:
                self._changed.wait_for(lambda: len(self._queue) < self._capacity or self._finishing or self.error)
            if self.error:
                return None
            if self._finishing or len(self._queue) >= self._capacity:
                self.dropped += 1
                return None
            time_ms = max(self._last_ms + 1, round(now_s * 1000))
            self._last_ms = time_ms
            self._queue.append((frame.image, time_ms))
            self._changed.notify_all()
            return time_ms

    def describe(self) -> dict[str, Any]:
        return {"how": "encoded", "codec": self._encoder.name}

    def settle(self, within_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not (self._queue or self._busy) or self.error, within_s)

    def finish(self) -> None:
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        self._thread.join()
        self.recent.close()

    def _run(self) -> None:
        lower_thread_priority(_NICENESS)
        try:
            while (item := self._next()) is not None:
                self._hand_over(self._encoder.encode(self._frame_of(*item)))
            self._hand_over(self._encoder.encode(None))
        except Exception as error:  # noqa: BLE001 - the recorder reports it, and the session goes on
            with self._changed:
                self.error = error
                self._queue.clear()
                self._changed.notify_all()

    def _next(self) -> tuple[Image, int] | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue or self._finishing)
            self._busy = bool(self._queue)
            return self._queue.popleft() if self._queue else None

    def _frame_of(self, image: Image, time_ms: int) -> av.VideoFrame:
        frame = self._to_yuv(fit(pad_to_even(image), self._size[::-1]))
        frame.pts, frame.time_base = time_ms, _MS
        if time_ms - self._key_ms >= _KEY_EVERY_MS:
            frame.pict_type, self._key_ms = PictureType.I, time_ms
        return frame

    def _hand_over(self, packets: "list[av.Packet[Any]]") -> None:
        for packet in packets:
            time_ms = packet.pts or 0
            dts_ms = time_ms if packet.dts is None else packet.dts
            stored = StoredPacket(bytes(packet), time_ms, dts_ms, packet.duration or 0, packet.is_keyframe)
            self._take_packet(stored)


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] + size[0] % 2, size[1] + size[1] % 2

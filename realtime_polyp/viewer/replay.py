"""Keeps the last seconds of a live picture, to be seen again while it goes on. Without Qt.

Pictures are made smaller and compressed on a thread of low priority. Where it has no time, pictures are left out of the
replay and never of the live picture.
"""

import queue
import threading
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.geometry import shrink
from realtime_polyp.outputs.overlay import Shapes
from realtime_polyp.packets import Frame
from realtime_polyp.telemetry.priority import lower_thread_priority

_WIDTH_PX, _QUALITY = 800, 85
_CLOSEST_S = 1 / 31  # more pictures per second are not kept
_WAITING = 2


@dataclass(frozen=True)
class Kept:
    """One moment of the live picture.

    Attributes:
        at_s: when it was captured, time.monotonic().
        jpeg: the picture, smaller.
        shapes: the overlay that was painted over it, source px.
        width: of the source's picture, px.
    """

    at_s: float
    jpeg: bytes
    shapes: Shapes
    width: int

    def image(self) -> Image:
        """Decode the picture (h, w, 3) RGB."""
        pixels = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None  # encoded here
        return np.ascontiguousarray(pixels[..., ::-1])


class ReplayBuffer:
    """Holds what was shown in the last `length_s` seconds."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._kept: deque[Kept] = deque()
        self._lock = threading.Lock()
        self._waiting: queue.Queue[tuple[Frame, Shapes] | None] = queue.Queue(_WAITING)
        self._last_s = -float("inf")
        self._thread: threading.Thread | None = None

    def add(self, frame: Frame, shapes: Shapes) -> None:
        """Keep what is on the screen now; returns at once."""
        if frame.captured_s - self._last_s < _CLOSEST_S:
            return
        self._last_s = frame.captured_s
        if self._thread is None:
            self._thread = threading.Thread(target=self._compress, name="replay", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((frame, shapes))
        except queue.Full:
            pass  # this picture is left out of the replay

    def moments(self) -> list[Kept]:
        """What was shown, in order."""
        with self._lock:
            return list(self._kept)

    def close(self) -> None:
        """End the thread; nothing more is kept."""
        if self._thread is None:
            return
        while True:
            try:
                self._waiting.put_nowait(None)
                return
            except queue.Full:
                try:
                    self._waiting.get_nowait()
                except queue.Empty:
                    continue

    def _compress(self) -> None:
        lower_thread_priority()
        while (item := self._waiting.get()) is not None:
            frame, shapes = item
            height, width = frame.image.shape[:2]
            small = frame.image
            if width > _WIDTH_PX:
                small = shrink(frame.image, (max(1, round(height * _WIDTH_PX / width)), _WIDTH_PX))
            _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            kept = Kept(frame.captured_s, jpeg.tobytes(), shapes, width)
            with self._lock:
                self._kept.append(kept)
                while self._kept[0].at_s < kept.at_s - self._length_s:
                    self._kept.popleft()

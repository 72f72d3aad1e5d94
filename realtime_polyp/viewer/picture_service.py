"""Decodes pictures of a file on a thread of their own: for steps back, and small ones for the timeline.

The player's own reader is never touched, and nobody waits: who asks gets the picture later.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.geometry import shrink
from realtime_polyp.outputs.video_picture import unfit
from realtime_polyp.packets import Frame
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.telemetry.priority import lower_thread_priority

THUMBNAIL_PX = 200
_STEP_MEMORY_BYTES, _THUMBNAIL_MEMORY_BYTES = 192 << 20, 24 << 20
_LOW = 5  # who rests the mouse on the timeline waits for the picture, so not the lowest
_FOUND_KEPT = 4
_THUMBNAILS_KEPT = 300  # 200 x 112 px: 20 MB

TimeInFile = Callable[[float], float | None]
"""See `SourceInfo.time_in_file`."""


class _Newest:
    """Does one piece of work after the other on a thread, always the one that was asked for last.

    work: called with what was asked for. It may raise SourceError, after which nothing more is done.
    """

    def __init__(self, work: Callable[[float], None], name: str, *, low_priority: bool) -> None:
        self._work, self._name, self._low = work, name, low_priority
        self._changed = threading.Condition()
        self._asked: float | None = None
        self._thread: threading.Thread | None = None
        self.is_over = False

    def ask(self, time_s: float) -> None:
        """Start on this unless something newer is asked for before its turn."""
        with self._changed:
            self._asked = time_s
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        with self._changed:
            self.is_over = True
            self._changed.notify()

    def _run(self) -> None:
        if self._low:
            lower_thread_priority(_LOW)
        while True:
            with self._changed:
                while self._asked is None and not self.is_over:
                    self._changed.wait()
                if self.is_over or self._asked is None:
                    return
                time_s, self._asked = self._asked, None
            try:
                self._work(time_s)
            except SourceError:
                self.is_over = True


class StepPictures:
    """Finds the picture of a frame; see `stepping.PicturesOf`. path: the file; the rest: see `SourceInfo`."""

    def __init__(self, path: Path, time_in_file: TimeInFile = float, deinterlace: Mode = "auto") -> None:
        self._path, self._time_in_file, self._deinterlace = path, time_in_file, deinterlace
        self._file: PictureFile | None = None
        self._found: OrderedDict[float, Image | None] = OrderedDict()
        self._asked_s: float | None = None
        self._worker = _Newest(self._find, "pictures", low_priority=False)

    def __call__(self, frame: Frame) -> Image | None:
        """Return the picture, or None while it is being decoded. Raises LookupError where there is none."""
        if frame.pts_s in self._found:
            image = self._found[frame.pts_s]
            if image is None:
                raise LookupError(frame.pts_s)
            return unfit(image, frame.image.shape[:2])  # a session's picture may be fitted into another size
        if self._worker.is_over:
            raise LookupError(frame.pts_s)
        if self._asked_s != frame.pts_s:
            self._asked_s = frame.pts_s
            self._worker.ask(frame.pts_s)
        return None

    def close(self) -> None:
        self._worker.close()

    def _find(self, time_s: float) -> None:
        self._file = self._file or PictureFile(
            self._path, memory_bytes=_STEP_MEMORY_BYTES, deinterlace=self._deinterlace
        )
        file_s = self._time_in_file(time_s)
        picture = None if file_s is None else self._file.at(file_s)
        self._found[time_s] = picture.image if picture else None
        while len(self._found) > _FOUND_KEPT:
            self._found.popitem(last=False)


class Thumbnails:
    """Small pictures of a recording, at low priority.

    on_ready: called on the worker's thread when a thumbnail is there.
    """

    def __init__(self, path: Path, on_ready: Callable[[], None], time_in_file: TimeInFile = float) -> None:
        self._path, self._on_ready, self._time_in_file = path, on_ready, time_in_file
        self._file: PictureFile | None = None
        self._kept: OrderedDict[float, Image] = OrderedDict()
        self._worker = _Newest(self._make, "thumbnails", low_priority=True)

    def at(self, time_s: float) -> Image | None:
        """The picture (h, w, 3) that is shown at a time, or None until `on_ready` was called."""
        if time_s in self._kept:
            return self._kept[time_s]
        if not self._worker.is_over:
            self._worker.ask(time_s)
        return None

    def close(self) -> None:
        self._worker.close()

    def _make(self, time_s: float) -> None:
        self._file = self._file or PictureFile(self._path, memory_bytes=_THUMBNAIL_MEMORY_BYTES, threads="SLICE")
        file_s = self._time_in_file(time_s)
        picture = None if file_s is None else self._file.shown_at(file_s)
        if picture is None:
            return
        height, width = picture.image.shape[:2]
        size = (max(1, round(height * THUMBNAIL_PX / width)), THUMBNAIL_PX)
        self._kept[time_s] = np.ascontiguousarray(shrink(picture.image, size))
        while len(self._kept) > _THUMBNAILS_KEPT:
            self._kept.popitem(last=False)
        self._on_ready()

"""Makes the small pictures of the polyps of a recording, on a thread of its own at low priority."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.video_picture import unfit
from realtime_polyp.review.actions import Box
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.viewer.picture_service import TimeInFile
from realtime_polyp.viewer.polyp_entries import PolypEntry, crop

_MEMORY_BYTES = 24 << 20
_LOW = 5
_Key = tuple[float, Box]


class PolypPictures:
    """Call `at` for an entry as often as needed; `on_ready` is called on the worker's thread when a picture is there.

    path: file with the picture. time_in_file: see `SourceInfo`. size_at: (height, width) px of the frame at a time,
    which may be fitted into another size in the file.
    """

    def __init__(
        self,
        path: Path,
        on_ready: Callable[[], None],
        time_in_file: TimeInFile = float,
        size_at: Callable[[float], tuple[int, int] | None] = lambda time_s: None,
    ) -> None:
        self._path, self._on_ready, self._time_in_file = path, on_ready, time_in_file
        self._size_at, self._sizes = size_at, dict[_Key, tuple[int, int] | None]()
        self._made: dict[_Key, Image | None] = {}
        self._asked: queue.SimpleQueue[_Key | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def at(self, entry: PolypEntry) -> Image | None:
        """The small picture (72, 96, 3) of an entry, or None until it is there."""
        key = (entry.at_s, entry.box)
        if key not in self._made:
            self._made[key] = None
            self._sizes[key] = self._size_at(entry.at_s)
            self._asked.put(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="polyp pictures", daemon=True)
                self._thread.start()
        return self._made[key]

    def close(self) -> None:
        """Make no more pictures, also none that were asked for."""
        self._is_closed = True
        self._asked.put(None)

    def _run(self) -> None:
        lower_thread_priority(_LOW)
        try:
            file = PictureFile(self._path, memory_bytes=_MEMORY_BYTES, threads="SLICE")
        except SourceError:
            return
        while (key := self._asked.get()) is not None and not self._is_closed:
            try:
                file_s = self._time_in_file(key[0])
                picture = None if file_s is None else file.shown_at(file_s)
            except SourceError:
                break
            if picture is not None:
                size = self._sizes[key]
                self._made[key] = crop(picture.image if size is None else unfit(picture.image, size), key[1])
                self._on_ready()
        file.close()

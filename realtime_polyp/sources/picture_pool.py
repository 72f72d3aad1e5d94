"""Memory of pictures that is used again, so that a day of video takes no more of it than a minute."""

import mmap
import sys
from collections import deque

import numpy as np

from realtime_polyp.field_of_view import Image

_IDLE_PICTURES = 4
"""Kept for the next pictures; those beyond go back to the system."""


class PicturePool:
    """Copies pictures into memory that earlier pictures no longer need.

    A copy owns its memory for as long as it, or any view of it, is referred to; then the memory serves the next
    picture of the same size. Copies may be released on any thread.

    Why not leave it to the allocator: glibc takes blocks of this size from the heap, where small blocks between them
    keep it from giving pages back, and the process grows by tens of MB at a time. Mapping each picture anew costs more
    than the whole conversion: 1080p, one thread of a 2-core AVX512 CPU: 0.8 ms with the pool, 0.7 ms without, 2.9 ms
    with new pages for each picture.
    """

    def __init__(self) -> None:
        self._idle: deque[mmap.mmap] = deque(maxlen=_IDLE_PICTURES)

    def copy(self, picture: Image) -> Image:
        """Return a contiguous copy of a picture (H, W, 3) uint8."""
        copied = np.asarray(_Lease(self._idle, self._take(picture.nbytes), picture.shape))
        np.copyto(copied, picture)
        return copied

    def _take(self, size_bytes: int) -> mmap.mmap:
        while True:
            try:
                memory = self._idle.popleft()
            except IndexError:
                return _new_pages(size_bytes)
            if len(memory) == size_bytes:  # else of an earlier size of the stream
                return memory


class _Lease:
    """Lends memory to the array that `np.asarray` makes of it, and to all its views; takes it back after the last."""

    def __init__(self, idle: "deque[mmap.mmap]", memory: mmap.mmap, shape: tuple[int, ...]) -> None:
        self._idle, self._memory = idle, memory
        address = np.frombuffer(memory, np.uint8).ctypes.data
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": "|u1", "data": (address, False)}

    def __del__(self) -> None:
        self._idle.append(self._memory)


def _new_pages(size_bytes: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size_bytes)
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

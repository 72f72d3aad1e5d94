"""Bytes that are kept on the disk for a while, in a file without a name: nothing is left of it after a crash."""

import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

LARGEST_BYTES = 4 << 30
"""The most that is kept at a time."""


@dataclass(frozen=True)
class Spilled:
    """Bytes on the disk. They can be loaded until LARGEST_BYTES more were written."""

    file: "SpillFile"
    at: int
    size: int

    def __len__(self) -> int:
        return self.size

    def load(self) -> bytes:
        """Raises OSError."""
        return self.file.load(self.at, self.size)


class SpillFile:
    """Written around in a circle. folder: on the disk to use. Raises OSError."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - open as long as it is used
        self._lock = threading.Lock()
        self._at = 0

    def put(self, data: bytes) -> Spilled:
        """Raises OSError, such as for a full disk."""
        with self._lock:
            if self._at + len(data) > 2 * LARGEST_BYTES:
                self._at = 0
            self._file.seek(self._at)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            place = Spilled(self, self._at, len(data))
            self._at += len(data)
            return place

    def load(self, at: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(at)
            data = self._file.read(size)
        if len(data) != size:
            raise OSError(os.strerror(5))
        return data
